"""Words of a taxonomy and their spellings: which texts can be words, and which spellings mean the same word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from attire.errors import did_you_mean, shown

SEPARATOR = "|"  # between several values in one cell, so no value may contain it
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # except white space; lone surrogates
MARKS = re.compile(r"[\W_]+")
SURROGATE = "\ud800"  # the first surrogate
HINTS = 20  # maximum number of faults for which the closest word is looked up


class Spellings(NamedTuple):
    """`words` maps each folded spelling to its word; `problems` lists invalid words and ambiguous spellings."""

    words: dict[str, str]
    problems: list[str]


def fold(text: str) -> str:
    """Normalise a word so that spellings that differ only in case, spaces or punctuation are equal.

    >>> fold(" Three-Quarter  Sleeves ") == fold("three quarter sleeves")
    True
    """
    return MARKS.sub(" ", text.casefold()).strip() or text.strip().casefold()


def unfit(word: str) -> str:
    """Why `word` cannot be a category, key or value, as the predicate of a sentence about it; "" if it can."""
    if not word.strip():
        return "is empty"
    if SEPARATOR in word:
        return f"contains '{SEPARATOR}', which separates several values in one cell"
    return stray(word)


def stray(text: str) -> str:
    """Which invalid character `text` contains, as the predicate of a sentence about it; "" if there is none."""
    match = CONTROL.search(text)
    if match is None:
        return ""
    return f"contains {'a lone surrogate' if match[0] >= SURROGATE else 'a control character'}, {shown(match[0])}"


def spellings(words: Iterable[str], aliases: Iterable[tuple[str, str]], retired: Iterable[str] = ()) -> Spellings:
    """Collect the spellings of `words`; `aliases` are pairs of another spelling and its word.

    A `retired` word is no spelling of any word.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for word in words:
        if reason := unfit(word):
            problems.append(f"'{shown(word)}' {reason}")
        before = len(found)
        other = found.setdefault(fold(word), word)
        if len(found) == before:
            both = f"'{shown(word)}' and '{shown(other)}' differ only in case, spaces or punctuation; keep one"
            problems.append(f"'{shown(word)}' is listed twice" if other == word else both)
    problems += add_aliases(found, frozenset(words), aliases)
    for word in retired:
        if (known := found.get(fold(word))) is not None:
            problems.append(f"retired '{shown(word)}' is also a spelling of '{shown(known)}'; keep one")
    return Spellings(found, problems)


def add_aliases(found: dict[str, str], words: frozenset[str], aliases: Iterable[tuple[str, str]]) -> list[str]:
    """Add `aliases`, pairs of a spelling and its word, to the spellings that were `found`; the result lists faults."""
    problems: list[str] = []
    for alias, word in aliases:
        if word not in words:
            hint = did_you_mean(word, words) if len(problems) < HINTS else "."
            problems.append(f"alias '{shown(alias)}' refers to '{shown(word)}', which is not listed{hint}")
        elif (other := found.setdefault(fold(alias), word)) != word:
            problems.append(f"alias '{shown(alias)}' of '{shown(word)}' is also a spelling of '{shown(other)}'")
    return problems
