"""Edits single members of a JSON object. The text of all other members stays as it is."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but typeshed lacks it
from typing import Any

from attire.filling.encoded_text import Span, replaced
from attire.filling.feed_editor import Words

SPACE = re.compile(r"[ \t\r\n]*")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
DECODER = json.JSONDecoder()
Kinds = Mapping[str, type]  # the usual kind of the values of a member: list, dict, float (any number) or str


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


def kinds(objects: Iterable[Mapping[str, Any]]) -> Kinds:
    """The most frequent kind of the values that each member has in these objects."""
    counts: dict[str, Counter[type]] = defaultdict(Counter)
    for content in objects:
        for name, value in content.items():
            if value not in (None, "", []):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                counts[name][type(value) if isinstance(value, list | dict) else float if number else str] += 1
    return {name: count.most_common(1)[0][0] for name, count in counts.items()}


def with_members(text: str, json_of: Mapping[str, str]) -> str:
    """The text of an object with members set to JSON; missing ones are added at its end. Names are JSON strings."""
    values, end = members(text)
    changed, added = {}, []
    for name, value in json_of.items():
        if (span := values.get(json.loads(name))) is not None:
            changed[span] = value
        else:
            added.append(f"{name}: {value}")
    if added:
        last = max((span.stop for span in values.values()), default=end)
        # An edit of the last value ends where the new names start, and comes before them.
        changed[Span(last, last)] = ("" if not values else ", ") + ", ".join(added)
    return replaced(text, changed)


class MemberEditor:
    """Writes words as members of objects, as the kind of value that the member has elsewhere."""

    def __init__(self, kinds: Kinds, separator: str, dumped: Callable[[Any], str] = json.dumps) -> None:
        """`separator` joins several words of a member that is a text; `dumped` turns a value to JSON."""
        self.kinds, self.separator, self.dumped = kinds, separator, dumped

    def edited(self, text: str, words_of: Mapping[str, Words]) -> str:
        """The text of the object with these members set to words."""
        before = json.loads(text)
        return with_members(
            text, {self.dumped(name): self._json(name, words, before.get(name)) for name, words in words_of.items()}
        )

    def _json(self, name: str, words: Words, before: Any) -> str:
        """The JSON of `words`: a list or number if the value was one, or if most values of the member are."""
        kind = list if isinstance(before, list) else self.kinds.get(name, str)
        if kind is list:
            return self.dumped(list(words))
        if kind is float and len(words) == 1 and NUMBER.fullmatch(words[0]):
            return words[0]
        return self.dumped(self.separator.join(words))
