"""The taxonomy of a catalog: categories, attribute keys, and the values of each key.

People edit it as `taxonomy.toml`::

    version = 1
    categories = ["Shirts", "Tshirts"]

    [category_aliases]
    "T-shirt" = "Tshirts"

    [keys.neck]
    arity = "one"                      # a product has one neck; "many" allows several values
    categories = ["Tshirts"]           # categories to which the key applies
    values = ["Round Neck", "Polo Collar"]

    [keys.neck.aliases]
    "crew" = "Round Neck"

The values of all keys form one flat axis of length K, in file order; `columns["neck"]` is the slice of one key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from attire.errors import TaxonomyError, did_you_mean, listed, shown
from attire.records import read_toml

Arity = Literal["one", "many"]
CATEGORY = "@category"  # stands for the category where a key is expected; no key can have this name
SEPARATOR = "|"  # between several values in one cell, so no value may contain it
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # except white space; lone surrogates
MARKS = re.compile(r"[\W_]+")
SURROGATE = "\ud800"  # the first surrogate
HINTS = 20  # maximum number of faults for which the closest word is looked up
BARE = re.compile(r"[A-Za-z0-9_-]+")  # TOML keys that need no quotes
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


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


def key_label(key: str) -> str:
    """The key as people read it: `CATEGORY` is "category"."""
    return "category" if key == CATEGORY else key


class Spellings(NamedTuple):
    """`words` maps each folded spelling to its word; `problems` lists invalid words and ambiguous spellings."""

    words: dict[str, str]
    problems: list[str]


class Key(BaseModel):
    """An attribute key: its values in order, how many a product may have, and the categories to which it applies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arity: Arity = "one"
    categories: tuple[str, ...]
    values: tuple[str, ...] = Field(min_length=1)
    title: str = ""
    titles: dict[str, str] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)

    @cached_property
    def spellings(self) -> Spellings:
        """The spellings of values, aliases and titles."""
        titles = ((self.titles[value], value) for value in self.values if self.titles.get(value))
        return _spellings(self.values, chain(self.aliases.items(), titles))

    @cached_property
    def applies_to(self) -> frozenset[str]:
        """`categories` as a set."""
        return frozenset(self.categories)


class Taxonomy(BaseModel):
    """Categories, keys, values, and which key applies to which category.

    Immutable. Taxonomies with equal content have equal `digest`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    categories: tuple[str, ...] = Field(min_length=1)
    category_aliases: dict[str, str] = Field(default_factory=dict)
    keys: dict[str, Key] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        categories = frozenset(self.categories)
        problems = [f"categories: {problem}" for problem in self.category_spellings.problems]
        for name, key in self.keys.items():
            if reason := unfit(name):
                problems.append(f"keys: '{shown(name)}' {reason}")
            where = f"keys.{shown(name)}"
            problems += [f"{where}: {problem}" for problem in key.spellings.problems]
            for category in (category for category in key.categories if category not in categories):
                hint = did_you_mean(category, categories) if len(problems) < HINTS else "."
                problems.append(f"{where}.categories: '{shown(category)}' is not a category{hint}")
            values = frozenset(key.values)
            unknown = (value for value in key.titles if value not in values)
            problems += [f"{where}.titles: '{shown(value)}' is not a value" for value in unknown]
        if problems:
            raise ValueError(listed(problems))
        return self

    def __eq__(self, other: object) -> bool:
        # pydantic would also compare the cached arrays below, whose comparison has no single truth value.
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
        """int64[A]: the first column of each key, for `np.add.reduceat` and similar functions."""
        return np.array([c.start for c in self.columns.values()], dtype=np.int64)

    @cached_property
    def key_of_column(self) -> NDArray[np.int64]:
        """int64[K]: the index of each column's key."""
        return np.repeat(np.arange(len(self.keys)), [len(key.values) for key in self.keys.values()])

    @cached_property
    def applies(self) -> NDArray[np.bool_]:
        """bool[C, A]: whether each key applies to each category."""
        return np.array([[c in key.applies_to for key in self.keys.values()] for c in self.categories], dtype=bool)

    @cached_property
    def one(self) -> NDArray[np.bool_]:
        """bool[A]: whether each key takes exactly one value."""
        return np.array([key.arity == "one" for key in self.keys.values()], dtype=bool)

    @cached_property
    def category_index(self) -> dict[str, int]:
        """Category -> index in `categories`."""
        return {name: i for i, name in enumerate(self.categories)}

    @cached_property
    def column_index(self) -> dict[tuple[str, str], int]:
        """(key, value) -> column of the flat value axis."""
        pairs = ((name, value) for name, key in self.keys.items() for value in key.values)
        return {pair: i for i, pair in enumerate(pairs)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, without comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def category_spellings(self) -> Spellings:
        """The spellings of categories and their aliases."""
        return _spellings(self.categories, self.category_aliases.items())

    def category(self, text: str, *, hint: bool = True) -> str:
        """The category with the spelling `text`; raises `TaxonomyError`, with the closest category if `hint`."""
        category = self.category_spellings.words.get(fold(text))
        if category is None:
            closest = did_you_mean(text, self.categories) if hint else "."
            raise TaxonomyError(f"category='{shown(text)}' is not one of {len(self.categories):,} categories{closest}")
        return category

    def key(self, name: str) -> Key:
        """The key with the given name; raises `TaxonomyError` with the closest name."""
        if name not in self.keys:
            closest = did_you_mean(name, self.keys)
            raise TaxonomyError(f"'{shown(name)}' is not one of {len(self.keys):,} keys{closest}")
        return self.keys[name]

    def value(self, key: str, text: str, *, hint: bool = True) -> str:
        """The value of `key` with the spelling `text`; raises `TaxonomyError`, with the closest value if `hint`."""
        definition = self.key(key)
        value = definition.spellings.words.get(fold(text))
        if value is None:
            spellings = (definition.values, definition.titles.values(), definition.aliases)
            closest = did_you_mean(text, chain(*spellings)) if hint else "."
            raise TaxonomyError(f"{key}='{shown(text)}' is not one of {len(definition.values):,} values{closest}")
        return value

    @classmethod
    def parse(cls, content: Mapping[str, object], where: str) -> Taxonomy:
        """Validate `content` (a parsed TOML or JSON document); `where` names the document in errors."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            raise TaxonomyError(f"{where} is not a valid taxonomy:\n  {listed([*map(_fault, faults)])}") from None

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read `taxonomy.toml`; raises `TaxonomyError` with all faults."""
        try:
            content = read_toml(Path(path))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TaxonomyError(f"cannot read the taxonomy {path}: {reason}.") from None
        return cls.parse(content, str(path))

    def to_toml(self, heading: str = "", counts: Mapping[tuple[str, str], int] | None = None) -> str:
        """The taxonomy as TOML; `counts[key, value]` and `counts["", category]` become comments."""
        counts = counts or {}
        categories = _words(self.categories, {c: counts.get(("", c)) for c in self.categories})
        lines = [*(f"# {shown(line)}" for line in heading.splitlines()), "version = 1", f"categories = {categories}"]
        lines += _table("category_aliases", self.category_aliases)
        for name, key in self.keys.items():
            table = f"keys.{_key(name)}"
            lines += ["", f"[{table}]"]
            if key.title:
                lines.append(f"title = {quoted(key.title)}")
            values = _words(key.values, {v: counts.get((name, v)) for v in key.values})
            lines.append(f'arity = "{key.arity}"')
            lines.append(f"categories = [{', '.join(map(quoted, key.categories))}]")
            lines.append(f"values = {values}")
            lines += [*_table(f"{table}.aliases", key.aliases), *_table(f"{table}.titles", key.titles)]
        return "\n".join([*lines, ""])


def _words(words: Iterable[str], counts: Mapping[str, int | None]) -> str:
    """A TOML array with one word per line, and its count as a comment."""
    comments = {word: "" if count is None else f" # {count:,}" for word, count in counts.items()}
    return "\n".join(["[", *(f"    {quoted(word)},{comments[word]}" for word in words), "]"])


def _table(name: str, content: Mapping[str, str]) -> list[str]:
    """The lines of a TOML table; empty for an empty table."""
    return ["", f"[{name}]", *(f"{_key(key)} = {quoted(word)}" for key, word in content.items())] if content else []


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """The text as a TOML string."""
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Escape text for a quoted TOML string, including non-printable characters, since people edit the file."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(ESCAPES.get(c) or (c if c.isprintable() else _unicode_escape(c)) for c in text)


def _unicode_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"


def _spellings(words: Iterable[str], aliases: Iterable[tuple[str, str]]) -> Spellings:
    """Collect the spellings of `words`; `aliases` are pairs of another spelling and its word."""
    spellings: dict[str, str] = {}
    problems: list[str] = []
    for word in words:
        if reason := unfit(word):
            problems.append(f"'{shown(word)}' {reason}")
        before = len(spellings)
        other = spellings.setdefault(fold(word), word)
        if len(spellings) == before:
            both = f"'{shown(word)}' and '{shown(other)}' differ only in case, spaces or punctuation; keep one"
            problems.append(f"'{shown(word)}' is listed twice" if other == word else both)
    known = frozenset(words)
    for alias, word in aliases:
        if word not in known:
            hint = did_you_mean(word, known) if len(problems) < HINTS else "."
            problems.append(f"alias '{shown(alias)}' refers to '{shown(word)}', which is not listed{hint}")
        elif (other := spellings.setdefault(fold(alias), word)) != word:
            problems.append(f"alias '{shown(alias)}' of '{shown(word)}' is also a spelling of '{shown(other)}'")
    return Spellings(spellings, problems)


def _fault(error: ErrorDetails) -> str:
    """The location and message of a pydantic error."""
    where = ".".join(shown(str(step)) for step in error["loc"])
    return f"{where}: {error['msg']}" if where else error["msg"].removeprefix("Value error, ")
