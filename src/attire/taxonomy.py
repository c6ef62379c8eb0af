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

    [keys.neck.titles.de]              # in another language; [category_titles.de] and [key_titles.de] do the same
    "Round Neck" = "Rundhals"

    [keys.colour.parents]              # a value that is a kind of another value of the key
    "Navy Blue" = "Blue"

The values of all keys form one flat axis of length K, in file order; `columns["neck"]` is the slice of one key.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from attire.errors import TaxonomyError, did_you_mean, listed, shown
from attire.parents import ancestors, faults
from attire.records import read_toml
from attire.spellings import HINTS, Spellings, add_aliases, fold, spellings, unfit
from attire.spellings import SEPARATOR as SEPARATOR
from attire.toml_text import bare, quoted, table, word_list, words_array

Arity = Literal["one", "many"]
CATEGORY = "@category"  # stands for the category where a key is expected; no key can have this name
Titles = dict[str, dict[str, str]]  # language -> word -> title
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # a language tag, such as de or pt-BR


def added(default: Any) -> Any:
    """A field that earlier bundles lack. It is not written if it is empty, so that their digests stay the same."""
    return Field(default_factory=default, exclude_if=operator.not_)


def key_label(key: str) -> str:
    """The key as people read it: `CATEGORY` is "category"."""
    return "category" if key == CATEGORY else key


class Key(BaseModel):
    """An attribute key: its values in order, how many a product may have, and the categories to which it applies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arity: Arity = "one"
    categories: tuple[str, ...]
    values: tuple[str, ...] = Field(min_length=1)
    title: str = ""
    titles: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)
    retired: tuple[str, ...] = added(tuple)
    parents: dict[str, str] = added(dict)

    @cached_property
    def spellings(self) -> Spellings:
        """The spellings of values, aliases and titles."""
        return spellings(self.values, self.other_spellings(), self.retired)

    @cached_property
    def applies_to(self) -> frozenset[str]:
        """`categories` as a set."""
        return frozenset(self.categories)

    @cached_property
    def own_titles(self) -> dict[str, str]:
        """value -> title, of titles without a language: how people see the value."""
        return {value: title for value, title in self.titles.items() if isinstance(title, str)}

    @cached_property
    def titles_by_language(self) -> Titles:
        """language -> value -> title."""
        return {language: titles for language, titles in self.titles.items() if not isinstance(titles, str)}

    @cached_property
    def retired_words(self) -> frozenset[str]:
        """`retired`, folded."""
        return frozenset(map(fold, self.retired))

    def other_spellings(self) -> Iterator[tuple[str, str]]:
        """Aliases and titles, each with its value."""
        return chain(self.aliases.items(), _pairs({"": self.own_titles, **self.titles_by_language}, self.values))


class Taxonomy(BaseModel):
    """Categories, keys, values, and which key applies to which category.

    Immutable. Taxonomies with equal content have equal `digest`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    categories: tuple[str, ...] = Field(min_length=1)
    category_aliases: dict[str, str] = Field(default_factory=dict)
    keys: dict[str, Key] = Field(default_factory=dict)
    key_aliases: dict[str, str] = added(dict)
    category_titles: Titles = added(dict)
    key_titles: Titles = added(dict)
    retired_categories: tuple[str, ...] = added(tuple)
    retired_keys: tuple[str, ...] = added(tuple)

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        categories = frozenset(self.categories)
        problems = [f"categories: {problem}" for problem in self.category_spellings.problems]
        problems += [f"keys: {problem}" for problem in self.key_spellings.problems]
        problems += _unlisted("category_titles", self.category_titles, categories, "a category")
        problems += _unlisted("key_titles", self.key_titles, self.keys.keys(), "a key")
        for name, key in self.keys.items():
            if reason := unfit(name):
                problems.append(f"keys: '{shown(name)}' {reason}")
            where = f"keys.{shown(name)}"
            problems += [f"{where}: {problem}" for problem in key.spellings.problems]
            for category in (category for category in key.categories if category not in categories):
                hint = did_you_mean(category, categories) if len(problems) < HINTS else "."
                problems.append(f"{where}.categories: '{shown(category)}' is not a category{hint}")
            values = frozenset(key.values)
            problems += _unlisted(f"{where}.titles", {"": key.own_titles, **key.titles_by_language}, values, "a value")
            problems += [f"{where}.parents: {problem}" for problem in faults(key.parents, key.values, key.spellings)]
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

    def has_words_of(self, other: Taxonomy) -> bool:
        """Whether categories, keys and values are those of `other`, in its order, so that arrays with a column for each
        mean the same. Spellings, parents, and where keys apply, may differ."""
        return (self.categories, [*self.column_index]) == (other.categories, [*other.column_index])

    @cached_property
    def ancestors(self) -> NDArray[np.int64]:
        """int64[P, 2]: the column of each value with a parent, and that of one of its ancestors, in all P pairs."""
        pairs = [
            (self.column_index[name, value], self.column_index[name, ancestor])
            for name, key in self.keys.items()
            for value in key.values
            for ancestor in ancestors(value, key.parents)
        ]
        return np.array(pairs, dtype=np.int64).reshape(len(pairs), 2)

    @cached_property
    def roots(self) -> NDArray[np.int64]:
        """int64[K]: the column of each value's last ancestor; the column itself without a parent."""
        roots = np.arange(self.width)
        for column, ancestor in self.ancestors:  # a value's ancestors are in their order, so that the last one stays
            roots[column] = ancestor
        return roots

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, without comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def category_spellings(self) -> Spellings:
        """The spellings of categories, their aliases and titles."""
        return spellings(self.categories, self.other_spellings(CATEGORY), self.retired_categories)

    @cached_property
    def key_spellings(self) -> Spellings:
        """The spellings of keys: aliases and titles of a language. A key's name has to be written as it is."""
        found = {fold(name): name for name in self.keys}
        pairs = [*self.key_aliases.items(), *_pairs(self.key_titles, self.keys)]
        problems = add_aliases(found, frozenset(self.keys), pairs)
        words = {fold(spelling): name for spelling, name in pairs}
        for name in self.retired_keys:
            if name in self.keys or fold(name) in words:
                problems.append(f"retired '{shown(name)}' is also a key or an alias; keep one")
        return Spellings(words, problems)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages that have titles, sorted."""
        of_values = (key.titles_by_language for key in self.keys.values())
        return tuple(sorted({*chain(self.category_titles, self.key_titles, *of_values)}))

    def titles(self, key: str, language: str) -> Mapping[str, str]:
        """The titles of a key's values, or of categories (`CATEGORY`), in a language: word -> title."""
        titles = self.category_titles if key == CATEGORY else self.key(key).titles_by_language
        return titles.get(language, {})

    def parents(self, key: str) -> Mapping[str, str]:
        """The parents of a key's values: value -> parent. Categories (`CATEGORY`) have none."""
        return {} if key == CATEGORY else self.key(key).parents

    def other_spellings(self, key: str) -> Iterator[tuple[str, str]]:
        """Aliases and titles of a key's values, or of categories (`CATEGORY`), each with its word."""
        if key != CATEGORY:
            return self.key(key).other_spellings()
        return chain(self.category_aliases.items(), _pairs(self.category_titles, self.categories))

    def key_named(self, name: str) -> str | None:
        """The key with the given name, alias or title; None if there is none."""
        return name if name in self.keys else self.key_spellings.words.get(fold(name))

    def label_named(self, key: str, text: str) -> tuple[str, str] | None:
        """The (key, value) with these spellings; None if there is none."""
        name = self.key_named(key)
        value = None if name is None else self.keys[name].spellings.words.get(fold(text))
        return None if name is None or value is None else (name, value)

    def is_retired(self, key: str, word: str) -> bool:
        """Whether `word` was a value of `key`, or a category (`CATEGORY`), and stands for no label any more."""
        return fold(word) in (self._retired_category_words if key == CATEGORY else self.keys[key].retired_words)

    @cached_property
    def _retired_category_words(self) -> frozenset[str]:
        return frozenset(map(fold, self.retired_categories))

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
            others = (spelling for spelling, _ in definition.other_spellings())
            closest = did_you_mean(text, chain(definition.values, others)) if hint else "."
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
        categories = words_array(self.categories, {c: counts.get(("", c)) for c in self.categories})
        lines = [*(f"# {shown(line)}" for line in heading.splitlines()), "version = 1", f"categories = {categories}"]
        lines += word_list("retired_categories", self.retired_categories)
        lines += word_list("retired_keys", self.retired_keys)
        lines += [*table("category_aliases", self.category_aliases), *table("key_aliases", self.key_aliases)]
        for name, titles in (("category_titles", self.category_titles), ("key_titles", self.key_titles)):
            lines += _title_tables(name, titles)
        for name, key in self.keys.items():
            where = f"keys.{bare(name)}"
            lines += ["", f"[{where}]"]
            if key.title:
                lines.append(f"title = {quoted(key.title)}")
            lines.append(f'arity = "{key.arity}"')
            lines.append(f"categories = [{', '.join(map(quoted, key.categories))}]")
            lines.append(f"values = {words_array(key.values, {v: counts.get((name, v)) for v in key.values})}")
            lines += word_list("retired", key.retired)
            lines += table(f"{where}.parents", key.parents)
            lines += [*table(f"{where}.aliases", key.aliases), *table(f"{where}.titles", key.own_titles)]
            lines += _title_tables(f"{where}.titles", key.titles_by_language)
        return "\n".join([*lines, ""])


def _title_tables(name: str, titles: Titles) -> list[str]:
    """A TOML table of titles for each language."""
    return [line for language, words in titles.items() for line in table(f"{name}.{bare(language)}", words)]


def _pairs(titles: Titles, words: Iterable[str]) -> list[tuple[str, str]]:
    """Each title, in all languages, and its word; titles of words that are not listed are left out."""
    return [(titled[word], word) for titled in titles.values() for word in words if titled.get(word)]


def _unlisted(where: str, titles: Mapping[str, Mapping[str, str]], words: Iterable[str], kind: str) -> list[str]:
    """Faults of titles: names that are no language, and words that are not listed. "" stands for no language."""
    known = frozenset(words)
    problems = []
    for language, in_language in titles.items():
        if language and not LANGUAGE.fullmatch(language):
            problems.append(f"{where}: '{shown(language)}' is not a language; expected a tag such as de or pt-BR")
        problems += [f"{where}: '{shown(word)}' is not {kind}" for word in in_language if word not in known]
    return problems


def _fault(error: ErrorDetails) -> str:
    """The location and message of a pydantic error."""
    where = ".".join(shown(str(step)) for step in error["loc"])
    return f"{where}: {error['msg']}" if where else error["msg"].removeprefix("Value error, ")
