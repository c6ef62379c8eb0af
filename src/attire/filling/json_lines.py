"""Edits single values of JSON Lines. Lines without an edit, and all other values of a line, stay as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from attire.catalog.sources import SourceOptions
from attire.filling.encoded_text import EncodedText, was_changed
from attire.filling.feed_editor import Report, RowEdit, Words
from attire.filling.json_members import MemberEditor, kinds, members, with_members


class JsonLines:
    """A `FeedEditor` for JSON Lines. Keys are members of each line, or of the object in `options.attributes`."""

    def __init__(self, feed: Path, options: SourceOptions) -> None:
        self.file = EncodedText(feed, options.encoding)
        self.feed, self.options = feed, options

    def refusal(self, row: int, column: str, words: Words) -> str:  # noqa: ARG002
        """Nothing is refused: JSON can escape every character."""
        return ""

    def write(self, edits: Iterable[RowEdit], report: Report, out: Path) -> None:  # noqa: ARG002
        """Write the feed with the edited values. A missing name is added at the end of its object."""
        remaining = iter(edits)
        edit = next(remaining, None)
        try:
            with self.file.copying(out) as write:
                for number, line in enumerate(self.file.lines(), 1):
                    if edit is None or number != edit.row:
                        write(line)
                        continue
                    write(self._edited(line, edit.cells))
                    edit = next(remaining, None)
        except (ValueError, LookupError) as error:
            raise was_changed(self.feed) from error
        if edit is not None:
            raise was_changed(self.feed)

    def _edited(self, line: str, words_of: Mapping[str, Words]) -> str:
        column = self.options.attributes
        inner = {key: words for key, words in words_of.items() if column and key != self.options.category}
        outer = {key: words for key, words in words_of.items() if key not in inner}
        line = self._lines_editor.edited(line, outer) if outer else line
        if not inner:
            return line
        text = self._attributes(line)
        if text.startswith('"'):  # the object is in a string
            content = self._dumped(self._objects_editor.edited(json.loads(text), inner))
        else:
            content = self._objects_editor.edited(text, inner)
        return with_members(line, {self._dumped(column): content})

    def _attributes(self, line: str) -> str:
        """The text of the object in the column of attributes, or of the string that it is in."""
        span = members(line)[0].get(self.options.attributes)
        text = "null" if span is None else line[slice(*span)]
        before = json.loads(text)
        is_blank = before is None or (isinstance(before, str) and before.strip() in self.options.empty)
        if not is_blank:
            return text
        return '"{}"' if self._lines_editor.kinds.get(self.options.attributes) is str else "{}"

    @cached_property
    def _lines_editor(self) -> MemberEditor:
        return MemberEditor(kinds(self._objects()), self.options.separator, self._dumped)

    @cached_property
    def _objects_editor(self) -> MemberEditor:
        attributes = (json.loads(self._attributes(line)) for line in self.file.lines() if line.strip())
        contents = (json.loads(content) if isinstance(content, str) else content for content in attributes)
        return MemberEditor(kinds(contents), self.options.separator, self._dumped)

    def _objects(self) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self.file.lines() if line.strip())

    def _dumped(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if self.file.writable(text) else json.dumps(value)
