"""Terminal output that is safe for untrusted text, such as words of a feed and file names.

Brackets are not treated as markup, and control characters are replaced by visible ones: otherwise a word of a feed
could recolour, clear or retitle the terminal, or hide the end of its line. The linter forbids rich's own consoles and
its markup functions everywhere else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

# ASCII controls except tab and line feed, C1 controls (ISO 6429), characters that change the text direction ("Trojan
# Source"), Unicode line separators, and lone surrogates, which cannot be encoded.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
PICTURES = 0x2400  # start of Unicode's Control Pictures, in the order of the ASCII controls
DELETE, PICTURE_OF_DELETE = "\x7f", "\u2421"


def visible(text: str) -> str:
    """Replace each character that could control a terminal by a visible one.

    >>> visible("red\\x1b[31m")
    'red␛[31m'
    """
    return CONTROL.sub(_picture, text)


def _picture(control: re.Match[str]) -> str:
    character = control[0]
    if character < " ":
        return chr(PICTURES + ord(character))
    return PICTURE_OF_DELETE if character == DELETE else "\ufffd"


class Console(rich.console.Console):
    """A console on stdout (or stderr, with `stderr=True`) that prints text literally."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Replace control characters before the layout, so that the width is right."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Replace control characters in everything that is printed or logged, including tables and bars."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def take_any_text() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
