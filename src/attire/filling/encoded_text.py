"""The text of a feed, with edits of single spans that leave every other byte as it was."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import NamedTuple

from attire.catalog.sources.reading import read_text
from attire.errors import FeedError

# Codecs that read a byte order mark, with the marks and the codecs of the text after them.
MARKED = {
    "utf-8-sig": ((codecs.BOM_UTF8, "utf-8"),),
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
}
UNMARKED = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}  # what they read without a mark


class Span(NamedTuple):
    """A part of a text, from `start` up to `stop`, in characters."""

    start: int
    stop: int


class EncodedText:
    """A text file: `text` has its characters without the byte order mark."""

    def __init__(self, path: Path, encoding: str) -> None:
        """Raises `FeedError` if the file is not in `encoding`, or if that encoding has several bytes for one text."""
        self.text = read_text(path, encoding)
        content = path.read_bytes()
        name = codecs.lookup(encoding).name
        self._mark, self.codec = next(
            ((mark, codec) for mark, codec in MARKED.get(name, ()) if content.startswith(mark)),
            (b"", UNMARKED.get(name, name)),
        )
        if self._mark + self.text.encode(self.codec) != content:
            raise FeedError(
                f"{path}: its text can be written as {encoding} in several ways, so that single cells cannot be "
                "changed. Save it as UTF-8."
            )

    def writable(self, text: str) -> bool:
        """Whether the encoding has all characters of `text`."""
        try:
            text.encode(self.codec)
        except UnicodeEncodeError:
            return False
        return True

    def replaced(self, edits: dict[Span, str]) -> bytes:
        """The content of the file with the text of each span replaced. Spans do not overlap."""
        parts, end = [], 0
        for span in sorted(edits):
            parts += [self.text[end : span.start], edits[span]]
            end = span.stop
        return self._mark + "".join([*parts, self.text[end:]]).encode(self.codec)
