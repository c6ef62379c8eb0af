"""Parents of values: a value may be a kind of another value of its key, as Navy Blue is of Blue.

A parent is given as `parents[value]`; it may have a parent itself. The parents of a value, up to its root, which has
none, are its ancestors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attire.errors import did_you_mean, shown
from attire.spellings import HINTS, Spellings, fold

LISTED = 5  # words of a cycle in a message


def ancestors(value: str, parents: Mapping[str, str]) -> Iterator[str]:
    """The parent of `value`, the parent's parent, and so on.

    >>> list(ancestors("Light Navy", {"Light Navy": "Navy Blue", "Navy Blue": "Blue"}))
    ['Navy Blue', 'Blue']
    """
    while value in parents:
        value = parents[value]
        yield value


def with_ancestors(values: Iterable[str], parents: Mapping[str, str]) -> set[str]:
    """The values and all their ancestors: every value that is true of a product with these."""
    return {word for value in values for word in (value, *ancestors(value, parents))}


def faults(parents: Mapping[str, str], values: Iterable[str], spellings: Spellings) -> list[str]:
    """Words that are no values, and values that would be a kind of themselves. `spellings` are those of `values`."""
    known = frozenset(values)
    problems: list[str] = []
    for value, parent in parents.items():
        named = {value: f"'{shown(value)}'", parent: f"the parent '{shown(parent)}' of '{shown(value)}'"}
        for word in (word for word in named if word not in known):
            problems.append(f"{named[word]} is not a value{_instead(word, spellings, hint=len(problems) < HINTS)}")
    for cycle in _cycles(parents):
        if len(cycle) == 1:
            problems.append(f"'{shown(cycle[0])}' is its own parent; remove that line")
        else:
            more = ["..."] if len(cycle) > LISTED else []
            chain = " → ".join([*(f"'{shown(value)}'" for value in cycle[:LISTED]), *more, f"'{shown(cycle[0])}'"])
            problems.append(f"each is the parent of the one before: {chain}; remove one of these lines")
    return problems


def _instead(word: str, spellings: Spellings, *, hint: bool) -> str:
    """The end of a message about a word that is no value."""
    value = spellings.words.get(fold(word))
    if value is not None:
        return f"; write '{shown(value)}'"
    return did_you_mean(word, spellings.words.values()) if hint else "."


def _cycles(parents: Mapping[str, str]) -> Iterator[list[str]]:
    """Each cycle once: values of which each one's parent is the next, and the last one's the first."""
    done: set[str] = set()
    for start in parents:
        chain: dict[str, None] = {}
        value = start
        while value in parents and value not in done and value not in chain:
            chain[value] = None
            value = parents[value]
        if value in chain:
            words = list(chain)
            yield words[words.index(value) :]
        done |= chain.keys()
