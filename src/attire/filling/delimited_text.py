"""Edits single cells of a CSV or TSV. Delimiters, quotes and line ends of all other cells stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from attire.catalog.sources import SourceOptions
from attire.filling.encoded_text import EncodedText, Span, replaced, was_changed
from attire.filling.feed_editor import Report, RowEdit

LINE_END = re.compile(r"\r\n|\r|\n")


class Record(NamedTuple):
    """A record with the number of its first line, its text with the line end, and the spans of its cells."""

    number: int
    text: str
    cells: list[Span]


def records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """The records of a file, as `csv.reader(strict=True)` divides them. An empty line has no cells.

    Raises `ValueError` for text that `csv.reader` refuses.
    """
    stop = re.escape(delimiter)
    cell = re.compile(rf'"[^"]*(?:""[^"]*)*+"|(?!")[^{stop}\r\n]*')
    remaining = iter(lines)
    first = 1
    for line in remaining:
        text, count, position = line, 1, 0
        cells = []
        while True:
            match = cell.match(text, position)
            while match is None:  # a quoted cell goes on in the next line
                following = next(remaining, None)
                if following is None:
                    raise ValueError(f"line {first}: a quote is not closed.")
                text, count = text + following, count + 1
                match = cell.match(text, position)
            cells.append(Span(*match.span()))
            position = match.end()
            if text[position : position + 1] != delimiter:
                break
            position += 1
        if position < len(text) and not LINE_END.fullmatch(text, position):
            raise ValueError(f"line {first}: expected '{delimiter}' after a quote.")
        yield Record(first, text, [] if len(cells) == 1 and cells[0].start == cells[0].stop else cells)
        first += count


class DelimitedText:
    """A `FeedEditor` for CSV and TSV."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        self.file = EncodedText(feed, options.encoding)
        self.delimiter = options.delimiter or ("\t" if feed.suffix.lower() == ".tsv" else ",")
        self.separator, self.feed = options.separator, feed

    def refusal(self, row: int, column: str, words: tuple[str, ...]) -> str:  # noqa: ARG002
        """Why the cell cannot hold `words`: the file's encoding may lack a character."""
        text = self.separator.join(words)
        return "" if self.file.writable(text) else f"has characters that {self.file.codec} lacks"

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:  # noqa: ARG002
        """Write the feed with the edited cells."""
        remaining = iter(edits)
        edit = next(remaining, None)
        columns: dict[str, int] | None = None
        try:
            with self.file.copying(out) as write:
                for number, text, cells in records(self.file.lines(), self.delimiter):
                    if columns is None and cells:
                        columns = {_text(text, span).strip(): place for place, span in enumerate(cells)}
                    elif edit is not None and columns is not None and number == edit.row:
                        changed = {cells[columns[name]]: words for name, words in edit.cells.items()}
                        text = replaced(text, {span: self._cell(words, text, span) for span, words in changed.items()})
                        edit = next(remaining, None)
                    write(text)
        except (ValueError, LookupError) as error:
            raise was_changed(self.feed) from error
        if edit is not None:
            raise was_changed(self.feed)

    def _cell(self, words: tuple[str, ...], text: str, span: Span) -> str:
        """The cell with the words; quoted if the cell was, or if it has to be."""
        joined = self.separator.join(words)
        needed = any(character in joined for character in (self.delimiter, '"', "\r", "\n"))
        was_quoted = text.startswith('"', span.start) and span.stop > span.start
        return '"' + joined.replace('"', '""') + '"' if needed or was_quoted else joined


def _text(text: str, span: Span) -> str:
    cell = text[span.start : span.stop]
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
