"""Edits single cells of a CSV or TSV. Delimiters, quotes and line ends of all other cells stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import polars as pl

from attire.catalog.sources import SourceOptions
from attire.errors import ConfigError
from attire.files import replace_bytes
from attire.filling.encoded_text import EncodedText, Span
from attire.filling.feed_editor import Edits, Words

LINE_END = re.compile(r"\r\n|\r|\n")


def spans(text: str, delimiter: str) -> Iterator[tuple[int, list[Span]]]:
    """The spans of the cells of each record, with the number of its first line, as `csv.reader(strict=True)` divides
    them. An empty line has no cells."""
    stop = re.escape(delimiter)
    cell = re.compile(rf'"[^"]*(?:""[^"]*)*"|[^{stop}\r\n]*')
    line, position = 1, 0
    while position < len(text):
        first, cells = line, []
        while True:
            match = cell.match(text, position)
            assert match is not None  # the pattern matches the empty text
            cells.append(Span(*match.span()))
            line += len(LINE_END.findall(match[0])) if match[0].startswith('"') else 0
            position = match.end()
            if text[position : position + 1] != delimiter:
                break
            position += 1
        if end := LINE_END.match(text, position):
            line, position = line + 1, end.end()
        elif position < len(text):
            raise ValueError(f"line {line}: expected '{delimiter}' after a quote.")
        yield first, [] if len(cells) == 1 and cells[0].start == cells[0].stop else cells


class DelimitedText:
    """A `FeedEditor` for CSV and TSV."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        self.file = EncodedText(feed, options.encoding)
        self.delimiter = options.delimiter or ("\t" if feed.suffix.lower() == ".tsv" else ",")
        self.separator, self.feed = options.separator, feed

    @cached_property
    def _records(self) -> dict[int, list[Span]]:
        try:
            return dict(spans(self.file.text, self.delimiter))
        except ValueError as error:
            raise ConfigError(f"{self.feed} was changed while it was filled: {error} Run the command again.") from None

    @cached_property
    def _columns(self) -> dict[str, int]:
        header = next(iter(self._records.values()))
        return {self._text(span).strip(): place for place, span in enumerate(header)}

    def _text(self, span: Span) -> str:
        cell = self.file.text[span.start : span.stop]
        return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell

    def refusal(self, row: int, column: str, words: Words) -> str:  # noqa: ARG002
        """Why the cell cannot hold `words`: the file's encoding may lack a character."""
        text = self.separator.join(words)
        return "" if self.file.writable(text) else f"has characters that {self.file.codec} lacks"

    def write(self, edits: Edits, report: pl.DataFrame, out: Path) -> None:  # noqa: ARG002
        """Write the feed with the edited cells."""
        changed = {}
        for row, cells in edits.items():
            for column, words in cells.items():
                span = self._records[row][self._columns[column]]
                changed[span] = self._quoted(self.separator.join(words), self.file.text[span.start : span.stop])
        replace_bytes(out, self.file.replaced(changed))

    def _quoted(self, text: str, before: str) -> str:
        """The cell with `text`; quoted if the cell was, or if it has to be."""
        needed = any(character in text for character in (self.delimiter, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if needed or before.startswith('"') else text
