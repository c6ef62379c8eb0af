"""Write TOML that people edit: one word per line, and non-printable characters escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

BARE = re.compile(r"[A-Za-z0-9_-]+")  # TOML keys that need no quotes
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def words_array(words: Iterable[str], counts: Mapping[str, int | None]) -> str:
    """An array with one word per line, and its count as a comment."""
    comments = {word: "" if count is None else f" # {count:,}" for word, count in counts.items()}
    return "\n".join(["[", *(f"    {quoted(word)},{comments[word]}" for word in words), "]"])


def word_list(name: str, words: Iterable[str]) -> list[str]:
    """The line of an array; empty without words."""
    items = ", ".join(map(quoted, words))
    return [f"{name} = [{items}]"] if items else []


def table(name: str, content: Mapping[str, str]) -> list[str]:
    """The lines of a table; empty for an empty table."""
    return ["", f"[{name}]", *(f"{bare(key)} = {quoted(word)}" for key, word in content.items())] if content else []


def bare(name: str) -> str:
    """The name as a TOML key, in quotes if it needs them."""
    return name if BARE.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """The text as a TOML string."""
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(ESCAPES.get(c) or (c if c.isprintable() else _unicode_escape(c)) for c in text)


def _unicode_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"
