"""The log on standard error: one line a record, in which nothing that was sent can end a line or steer a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

from attire.errors import spelled_out


def log_to_stderr() -> None:
    """Workers are processes of their own, so each does this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    # force: the command line's own handler folds lines to the terminal's width
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("attire", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)


class Lines(logging.Formatter):
    """Spells out control characters; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return spelled_out(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return spelled_out(super().formatException(ei), kept="\n")
