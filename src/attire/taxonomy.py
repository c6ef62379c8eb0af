"""The words a catalog may use: categories, attribute keys, and each key's values.

A taxonomy is edited by people, as `taxonomy.toml`::

    version = 1
    categories = ["Shirts", "Tshirts"]

    [category_aliases]
    "T-shirt" = "Tshirts"

    [keys.neck]
    arity = "one"                      # a product has one neck; "many" allows several values
    categories = ["Tshirts"]           # where the key applies; elsewhere it is never a class
    values = ["Round Neck", "Polo Collar"]

    [keys.neck.aliases]
    "crew" = "Round Neck"

All values of all keys form one flat axis of length K, in file order: `columns["neck"]` is the key's slice of it.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import tomlkit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attire.errors import TaxonomyError, did_you_mean

Arity = Literal["one", "many"]
SEPARATOR = "|"  # joins several values in one cell, so no value may contain it


def fold(text: str) -> str:
    """The form in which two spellings of one word are equal: case, spaces and punctuation do not count.

    >>> fold(" Three-Quarter  Sleeves ") == fold("three quarter sleeves")
    True
    """
    return re.sub(r"[\W_]+", " ", text.casefold()).strip() or text.strip().casefold()


class Key(BaseModel):
    """One attribute key: its values in order, how many of them a product may have, and where it applies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arity: Arity = "one"
    categories: tuple[str, ...]
    values: tuple[str, ...] = Field(min_length=1)
    title: str = ""
    titles: dict[str, str] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)

    @cached_property
    def lookup(self) -> dict[str, str]:
        """Folded spelling (of a value, a title or an alias) -> value."""
        return _lookup(self.values, self.aliases, {title: value for value, title in self.titles.items()})


class Taxonomy(BaseModel):
    """Categories, keys, values, and which key applies to which category. Immutable; equal content, equal `digest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    categories: tuple[str, ...] = Field(min_length=1)
    category_aliases: dict[str, str] = Field(default_factory=dict)
    keys: dict[str, Key] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        problems = [*_clashes("categories", self.categories, self.category_aliases)]
        for name, key in self.keys.items():
            problems += _clashes(f"keys.{name}", key.values, key.aliases)
            problems += [
                f"keys.{name}.categories: '{c}' is not a category{did_you_mean(c, self.categories)}"
                for c in key.categories
                if c not in self.categories
            ]
            problems += [f"keys.{name}.titles: '{v}' is not a value" for v in key.titles if v not in key.values]
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    def __eq__(self, other: object) -> bool:
        # pydantic would compare the cached arrays below, and an array has no truth value.
        return isinstance(other, Taxonomy) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Each key's slice of the flat value axis."""
        stops = np.cumsum([len(key.values) for key in self.keys.values()]).tolist()
        return {
            name: slice(stop - len(self.keys[name].values), stop) for name, stop in zip(self.keys, stops, strict=True)
        }

    @cached_property
    def width(self) -> int:
        """K, the length of the flat value axis."""
        return sum(len(key.values) for key in self.keys.values())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """int64[A]: the first column of each key, for `np.add.reduceat` and its kin."""
        return np.array([c.start for c in self.columns.values()], dtype=np.int64)

    @cached_property
    def key_of_column(self) -> NDArray[np.int64]:
        """int64[K]: the index of the key that each column belongs to."""
        return np.repeat(np.arange(len(self.keys)), [len(key.values) for key in self.keys.values()])

    @cached_property
    def applies(self) -> NDArray[np.bool_]:
        """bool[C, A]: whether each key applies to each category."""
        return np.array([[c in key.categories for key in self.keys.values()] for c in self.categories], dtype=bool)

    @cached_property
    def one(self) -> NDArray[np.bool_]:
        """bool[A]: which keys take exactly one value."""
        return np.array([key.arity == "one" for key in self.keys.values()], dtype=bool)

    @cached_property
    def category_index(self) -> dict[str, int]:
        """Category -> its place in `categories`."""
        return {name: i for i, name in enumerate(self.categories)}

    @cached_property
    def column_index(self) -> dict[tuple[str, str], int]:
        """(key, value) -> column of the flat value axis."""
        pairs = ((name, value) for name, key in self.keys.items() for value in key.values)
        return {pair: i for i, pair in enumerate(pairs)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, comments aside."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def _category_lookup(self) -> dict[str, str]:
        return _lookup(self.categories, self.category_aliases)

    def category(self, text: str) -> str:
        """The category that `text` spells; raises `TaxonomyError` with the closest one."""
        found = self._category_lookup.get(fold(text))
        if found is None:
            raise TaxonomyError(
                f"category='{text}' is not one of {len(self.categories)} categories"
                f"{did_you_mean(text, self.categories)} Add it or an alias in taxonomy.toml."
            )
        return found

    def key(self, name: str) -> Key:
        """The key of that name; raises `TaxonomyError` with the closest one."""
        if name not in self.keys:
            raise TaxonomyError(f"'{name}' is not one of {len(self.keys)} keys{did_you_mean(name, self.keys)}")
        return self.keys[name]

    def value(self, key: str, text: str) -> str:
        """The value of `key` that `text` spells; raises `TaxonomyError` with the closest one."""
        words = self.key(key)
        found = words.lookup.get(fold(text))
        if found is None:
            hint = did_you_mean(text, [*words.values, *words.titles.values(), *words.aliases])
            raise TaxonomyError(
                f"{key}='{text}' is not one of {len(words.values)} values{hint} Add it or an alias in taxonomy.toml."
            )
        return found

    @classmethod
    def parse(cls, content: Mapping[str, object], where: str) -> Taxonomy:
        """Check `content` (a parsed TOML or JSON document); `where` names it in errors."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'taxonomy'}: {e['msg']}" for e in error.errors()]
            raise TaxonomyError(f"{where} is not a valid taxonomy:\n  " + "\n  ".join(lines)) from None

    @classmethod
    def read(cls, path: str | Path) -> Taxonomy:
        """Read `taxonomy.toml`; raises `TaxonomyError` with every fault in it."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TaxonomyError(f"cannot read the taxonomy {path}: {error}") from None
        return cls.parse(content, str(path))

    def to_toml(self, heading: str = "", counts: Mapping[tuple[str, str], int] | None = None) -> str:
        """The taxonomy as TOML for people; `counts[key, value]` (`counts["", category]`) become comments."""
        counts = counts or {}
        document = tomlkit.document()
        for line in heading.splitlines():
            document.add(tomlkit.comment(line))
        document.add("version", tomlkit.item(self.version))
        document.add("categories", _lines(self.categories, {c: counts.get(("", c)) for c in self.categories}))
        if self.category_aliases:
            document.add("category_aliases", tomlkit.item(self.category_aliases))
        keys = tomlkit.table(is_super_table=True)
        for name, key in self.keys.items():
            table = tomlkit.table()
            if key.title:
                table.add("title", key.title)
            table.add("arity", key.arity)
            table.add("categories", tomlkit.item(list(key.categories)))
            table.add("values", _lines(key.values, {v: counts.get((name, v)) for v in key.values}))
            for part in ("aliases", "titles"):
                if getattr(key, part):
                    table.add(part, tomlkit.item(getattr(key, part)))
            keys.add(name, table)
        document.add("keys", keys)
        return tomlkit.dumps(document)


def _lines(words: Iterable[str], counts: Mapping[str, int | None]) -> tomlkit.items.Array:
    """A TOML array with one word a line, its count as a comment."""
    array = tomlkit.array()
    for word in words:
        count = counts[word]
        array.add_line(word, comment=None if count is None else f"{count:,}")
    array.add_line(indent="")
    return array


def _lookup(words: Iterable[str], *aliases: Mapping[str, str]) -> dict[str, str]:
    found = {fold(alias): word for table in aliases for alias, word in table.items()}
    return found | {fold(word): word for word in words}


def _clashes(where: str, words: Iterable[str], aliases: Mapping[str, str]) -> Iterable[str]:
    """Problems of one word list: two words that fold to one, separators inside words, aliases that lead nowhere."""
    seen: dict[str, str] = {}
    for word in words:
        if not word.strip() or SEPARATOR in word:
            yield f"{where}: '{word}' is empty or contains '{SEPARATOR}', which joins several values in one cell"
        if other := seen.get(fold(word)):
            yield f"{where}: '{word}' and '{other}' differ only in case, spaces or punctuation; keep one"
        seen[fold(word)] = word
    for alias, word in aliases.items():
        if word not in seen.values():
            yield f"{where}: alias '{alias}' leads to '{word}', which is not there{did_you_mean(word, seen.values())}"
        elif seen.get(fold(alias), word) != word:
            yield f"{where}: alias '{alias}' of '{word}' is also the value '{seen[fold(alias)]}'"
