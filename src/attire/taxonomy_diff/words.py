"""Which words of a taxonomy a new one adds, removes, renames, merges, splits or retires."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from attire.catalog.row_words import KEY
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Key, Taxonomy

Kind = Literal[
    "added", "removed", "renamed", "merged", "split", "retired", "arity", "parent", "parent no more", "applies",
    "applies no more",
]  # fmt: skip
OF_NO_COLUMN = ("renamed", "parent", "parent no more")  # changes after which a bundle answers as before


class Change(NamedTuple):
    """A change of values of a key, of categories (`CATEGORY`) or of keys (`KEY`).

    `before` and `after` are the words. Of arity they are the arities; of `parent` and `parent no more`, a value and its
    parent; of `applies` and `applies no more`, `after` has the categories. A removed word counts as split if several
    new words contain it. `old_keys` are the old names of the key: several, if keys were merged.
    """

    kind: Kind
    key: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    old_keys: tuple[str, ...] = ()


def changes(old: Taxonomy, new: Taxonomy) -> list[Change]:
    """What changes from `old` to `new`: categories, keys, then each key."""

    def category(word: str) -> str | None:
        return new.category_spellings.words.get(fold(word))

    found = list(_of_words(CATEGORY, old.categories, new.categories, category, new))
    found += _of_words(KEY, tuple(old.keys), tuple(new.keys), new.key_named, new)
    sources: dict[str, list[str]] = defaultdict(list)
    for name in old.keys:
        if (target := new.key_named(name)) is not None:
            sources[target].append(name)
    for name, names in sources.items():
        of_key = _of_key(name, [old.keys[source] for source in names], new)
        found += [change._replace(old_keys=tuple(names)) for change in of_key]
        applied = {category(word) for source in names for word in old.keys[source].categories}
        applies = new.keys[name].applies_to
        if more := tuple(word for word in new.categories if word in applies - applied):
            found.append(Change("applies", name, (), more))
        if fewer := tuple(word for word in new.categories if word in applied - applies):
            found.append(Change("applies no more", name, (), fewer))
    return found


def _of_key(name: str, before: Sequence[Key], new: Taxonomy) -> Iterator[Change]:
    key = new.keys[name]
    values = tuple(dict.fromkeys(value for old in before for value in old.values))
    yield from _of_words(name, values, key.values, lambda word: key.spellings.words.get(fold(word)), new)
    arities = tuple(dict.fromkeys(old.arity for old in before))
    if arities != (key.arity,):
        yield Change("arity", name, arities, (key.arity,))
    yield from _of_parents(name, before, key)


def _of_parents(name: str, before: Sequence[Key], key: Key) -> Iterator[Change]:
    """Parents that values got and lost. A value that is gone, or became its parent, has none to lose."""
    words = key.spellings.words
    pairs = (pair for old in before for pair in old.parents.items())
    was = dict.fromkeys((words.get(fold(value)), words.get(fold(parent), parent)) for value, parent in pairs)
    now = key.parents.items()
    yield from (Change("parent", name, (value,), (parent,)) for value, parent in now if (value, parent) not in was)
    for value, parent in was:
        if value is not None and value != parent and (value, parent) not in now:
            yield Change("parent no more", name, (value,), (parent,))


def _of_words(
    key: str, before: Sequence[str], after: Sequence[str], target_of: Callable[[str], str | None], new: Taxonomy
) -> Iterator[Change]:
    sources: dict[str, list[str]] = defaultdict(list)
    gone = []
    for word in before:
        target = target_of(word)
        if target is None:
            gone.append(word)
        else:
            sources[target].append(word)
    for target, words in sources.items():
        if len(words) > 1:
            yield Change("merged", key, tuple(words), (target,))
        elif words != [target]:
            yield Change("renamed", key, tuple(words), (target,))
    added = [word for word in after if word not in sources]
    parts = _parts(gone, added)
    for word in gone:
        if word in new.retired_keys if key == KEY else new.is_retired(key, word):
            yield Change("retired", key, (word,), ())
        elif len(parts[word]) > 1:
            yield Change("split", key, (word,), tuple(parts[word]))
        else:
            yield Change("removed", key, (word,), ())
    split_into = {part for change in parts.values() if len(change) > 1 for part in change}
    yield from (Change("added", key, (), (word,)) for word in added if word not in split_into)


def _parts(gone: Sequence[str], added: Sequence[str]) -> Mapping[str, list[str]]:
    """For each word that is gone, the added words that have all its parts, such as Ankle Boots for Boots."""
    tokens = {word: set(fold(word).split()) for word in (*gone, *added)}
    return {word: [other for other in added if tokens[word] < tokens[other]] for word in gone}
