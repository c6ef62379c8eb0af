"""The terminal, on which what people wrote into feeds and file names is shown and never obeyed.

Brackets are no markup here, and control characters are replaced by visible ones: a word of a feed could otherwise
recolour, clear or retitle the terminal, or hide the rest of its line. The linter refuses rich's own consoles, and what
of rich reads markup, everywhere else.
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

# The controls of ASCII but for tab and line feed, those of ISO 6429 (C1), what turns the direction of text (Unicode's
# "Trojan source"), other ends of lines, and halves of characters, which no terminal takes.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
PICTURES = 0x2400  # Unicode's pictures of the controls of ASCII, in their order
DELETE, PICTURE_OF_DELETE = "\x7f", "\u2421"


def visible(text: str) -> str:
    """The text with a visible character in place of each that could control a terminal.

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
    """A console on stdout, or with `stderr`, that prints every text as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as rich lays it out: already as wide as it is going to be."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The one way by which text comes to the terminal, whether printed, logged, or part of a table or bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def take_any_text() -> None:
    """Let stdout and stderr write an escape for a character that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
