"""Edits single values of JSON Lines. Lines without an edit, and all other values of a line, stay as they are."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from functools import cached_property
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but typeshed lacks it
from pathlib import Path
from typing import Any

import polars as pl

from attire.catalog.sources import SourceOptions
from attire.files import replace_bytes
from attire.filling.encoded_text import EncodedText, Span
from attire.filling.feed_editor import Edits, Words

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def members(text: str) -> tuple[dict[str, Span], int]:
    """The spans of the values of a JSON object by name, and the position of its closing brace. `text` is valid JSON."""
    spans: dict[str, Span] = {}
    position = _skip(text, text.index("{") + 1)
    while text[position] != "}":
        if text[position] == ",":
            position = _skip(text, position + 1)
        name, position = scanstring(text, position + 1, True)
        start = _skip(text, _skip(text, position) + 1)
        _, stop = DECODER.raw_decode(text, start)
        spans[name] = Span(start, stop)
        position = _skip(text, stop)
    return spans, position


def _skip(text: str, position: int) -> int:
    match = SPACE.match(text, position)
    assert match is not None  # the pattern matches the empty text
    return match.end()


class JsonLines:
    """A `FeedEditor` for JSON Lines."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        self.file = EncodedText(feed, options.encoding)
        self.separator = options.separator
        self._kinds: dict[str, type] = {}

    @cached_property
    def _lines(self) -> dict[int, Span]:
        spans, start = {}, 0
        for number, line in enumerate(io.StringIO(self.file.text, newline=""), 1):
            spans[number] = Span(start, start + len(line))
            start += len(line)
        return spans

    def refusal(self, row: int, column: str, words: Words) -> str:  # noqa: ARG002
        """Nothing is refused: JSON can escape every character."""
        return ""

    def write(self, edits: Edits, report: pl.DataFrame, out: Path) -> None:  # noqa: ARG002
        """Write the feed with the edited values. A missing name is added at the end of its object."""
        self._kinds = self._kinds_of({column for cells in edits.values() for column in cells})
        changed = {}
        for row, cells in edits.items():
            start, stop = self._lines[row]
            line = self.file.text[start:stop]
            values, end = members(line)
            added = []
            for column, words in cells.items():
                if column in values:
                    span = values[column]
                    before = DECODER.raw_decode(line, span.start)[0]
                    changed[Span(start + span.start, start + span.stop)] = self._json(column, words, before)
                else:
                    added.append(f"{self._dumped(column)}: {self._json(column, words, None)}")
            if added:
                end = max((span.stop for span in values.values()), default=end)
                # An edit of the last value ends where the new names start, and comes before them.
                changed[Span(start + end, start + end)] = "".join(f", {member}" for member in added)
        replace_bytes(out, self.file.replaced(changed))

    def _json(self, column: str, words: Words, before: Any) -> str:
        """The JSON of `words`: a list or number if the cell was one, or if most cells of the column are."""
        kind = list if isinstance(before, list) else self._kinds.get(column, str)
        if kind is list:
            return self._dumped(list(words))
        if kind is float and len(words) == 1 and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", words[0]):
            return words[0]
        return self._dumped(self.separator.join(words))

    def _dumped(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if self.file.writable(text) else json.dumps(value)

    def _kinds_of(self, columns: set[str]) -> dict[str, type]:
        """The most frequent kind of the values in each column: list, float (any number) or str."""
        counts: dict[str, Counter[type]] = {column: Counter() for column in columns}
        for start, stop in self._lines.values():
            line = self.file.text[start:stop]
            if not line.strip():
                continue
            for column, value in json.loads(line).items():
                if column in counts and value not in (None, "", []):
                    number = isinstance(value, int | float) and not isinstance(value, bool)
                    counts[column][list if isinstance(value, list) else float if number else str] += 1
        return {column: count.most_common(1)[0][0] for column, count in counts.items() if count}
