"""Run verbs and scripts in this process, because a process of its own takes seconds to import torch."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

import pytest

from attire.cli import app
from attire.cli.app import main


class Ended(NamedTuple):
    """How a command ended: its exit status, and what it printed."""

    status: object
    out: str
    err: str


def run(command: Callable[[], object]) -> Ended:
    """Run `command` as `main` does for a user, with its logging on stderr."""
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", threading.excepthook)
        patch.setattr(root, "handlers", [])  # pytest's own would keep `main` from setting up logging
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main(command)
    return Ended(end.value.code, out.getvalue(), err.getvalue())


def attire(*arguments: object) -> Ended:
    """Run a verb in the current directory."""
    return run(lambda: app([str(argument) for argument in arguments]))


def stdout_of(*arguments: object) -> str:
    """What a verb that succeeds prints."""
    ended = attire(*arguments)
    assert ended.status == 0, ended.err[-3000:]
    return ended.out
