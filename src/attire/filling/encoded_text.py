"""The text of a feed as lines, and a copy of it in which other lines stay the same to the byte."""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from attire.catalog.sources.reading import read_text
from attire.errors import ConfigError, FeedError
from attire.files import file_sha256

# Codecs that read a byte order mark, with the marks and the codecs of the text after them.
MARKED = {
    "utf-8-sig": ((codecs.BOM_UTF8, "utf-8"),),
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
}
UNMARKED = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}  # what they read without a mark
LONGEST_MARK = 4  # bytes


class Span(NamedTuple):
    """A part of a text, from `start` up to `stop`, in characters."""

    start: int
    stop: int


class EncodedText:
    """A text file, read and written line by line. Its byte order mark is kept, and is no part of the text."""

    def __init__(self, path: Path, encoding: str) -> None:
        """Raises `FeedError` if the file is not in `encoding`, or if that encoding has several bytes for one text."""
        try:
            name = codecs.lookup(encoding).name
            with path.open("rb") as file:
                start = file.read(LONGEST_MARK)
            self.path = path
            self._mark, self.codec = next(
                ((mark, codec) for mark, codec in MARKED.get(name, ()) if start.startswith(mark)),
                (b"", UNMARKED.get(name, name)),
            )
            copy = hashlib.sha256()
            with self._writing(copy.update) as write:
                for line in self.lines():
                    write(line)
        except (OSError, LookupError, UnicodeError):
            read_text(path, encoding)  # raises an error with the position
            raise
        if copy.hexdigest() != file_sha256(path):
            raise FeedError(
                f"{path}: its text can be written as {encoding} in several ways, so that single cells cannot be "
                "changed. Save it as UTF-8."
            )

    def lines(self) -> Iterator[str]:
        """The lines with their ends."""
        with self.path.open("rb") as file:
            file.seek(len(self._mark))
            yield from io.TextIOWrapper(file, encoding=self.codec, newline="")

    def writable(self, text: str) -> bool:
        """Whether the encoding has all characters of `text`."""
        try:
            text.encode(self.codec)
        except UnicodeEncodeError:
            return False
        return True

    @contextmanager
    def copying(self, out: Path) -> Iterator[Callable[[str], None]]:
        """Yield a function that writes text to `out`."""
        with out.open("wb") as file, self._writing(file.write) as write:
            yield write

    @contextmanager
    def _writing(self, target: Callable[[bytes], object]) -> Iterator[Callable[[str], None]]:
        encoder = codecs.getincrementalencoder(self.codec)()
        target(self._mark)

        def write(text: str) -> None:
            target(encoder.encode(text))

        yield write
        target(encoder.encode("", final=True))


def replaced(text: str, edits: dict[Span, str]) -> str:
    """The text with the text of each span replaced. Spans do not overlap."""
    parts, end = [], 0
    for span in sorted(edits):
        parts += [text[end : span.start], edits[span]]
        end = span.stop
    return "".join([*parts, text[end:]])


def was_changed(feed: Path) -> ConfigError:
    """The error for a feed that does not have the expected rows any more."""
    return ConfigError(f"{feed} was changed while it was filled. Run the command again.")
