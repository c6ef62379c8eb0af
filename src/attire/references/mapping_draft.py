"""Draft a mapping.toml for people to edit, and draft it again without losing what they edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from attire.errors import TaxonomyError, shown
from attire.parents import ancestors
from attire.progress import track
from attire.references.mapping import Mapping as ShopMapping
from attire.references.mapping import Target, Targets
from attire.references.matching import age, canonical, gender, nearest, spaced, tokens, without
from attire.references.reference import Reference, Shop
from attire.references.vocabulary import GOOGLE_COLUMNS, Vocabulary
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy
from attire.toml_text import bare, quoted

SHARE = 0.5  # of a key's values that a column must have if their names differ
COMMON = 0.25  # of a key's categories that must have such a column
HEADING = """\
# Which {shop} category, column and value each own word is. Edit it, and use it with:
#     attire fill BUNDLE FEED --as {to} --mapping THIS_FILE --images PHOTOS --out OUT
# Lines that start with # are words without a match, with the nearest names: remove the # of the right one, or write
# another. "" leaves a word out. attire taxonomy map keeps all of these lines when it is run again, adds words that are
# new, and completes a line that has only an id or a name. (It does not keep comments.)
"""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """An own word without a match, and what is nearest to it: targets of a word, or columns of a key."""

    word: str
    nearest: tuple[Target, ...] = ()


@dataclass(slots=True)
class MappingDraft:
    """A mapping and the words that are not in it: categories, keys, and values by key and column.

    by_values: the keys whose column has another name.
    """

    mapping: ShopMapping
    categories: list[Unmapped] = field(default_factory=list)
    keys: list[Unmapped] = field(default_factory=list)
    values: dict[tuple[str, str], list[Unmapped]] = field(default_factory=dict)
    by_values: set[str] = field(default_factory=set)

    def to_toml(self) -> str:
        """The content of mapping.toml."""
        to = self.mapping.to
        lines = [HEADING.format(shop=to.capitalize(), to=to), f"to = {quoted(to)}", "", "[categories]"]
        lines += _entries(self.mapping.categories)
        lines += _comments(self.categories)
        for key, columns in self.mapping.keys.items():
            if not columns:
                lines += ["", f"[keys.{bare(key)}]"]
            for column, targets in columns.items():
                note = "  # matched by its values: is it right?" if key in self.by_values else ""
                lines += ["", f"[keys.{bare(key)}.{bare(column)}]{note}", *_entries(targets)]
                lines += _comments(self.values.get((key, column), []))
        if self.keys:
            lines += ["", "# Keys without a match. After removing a #, draft again: it adds the values."]
        for unmapped in self.keys:
            lines += [f"# [keys.{bare(unmapped.word)}.{bare(column.name)}]" for column in unmapped.nearest]
            lines += [] if unmapped.nearest else [f"# [keys.{bare(unmapped.word)}]"]
        return "\n".join([*lines, ""])


def _entries(targets: Mapping[str, Target]) -> list[str]:
    return [f"{quoted(word)} = {_inline(target)}" for word, target in targets.items()]


def _inline(target: Target) -> str:
    if not target.id:
        return quoted(target.name)
    return f"{{ id = {quoted(target.id)}, name = {quoted(target.name)} }}"


def _comments(words: Sequence[Unmapped]) -> Iterator[str]:
    for unmapped in words:
        for target in unmapped.nearest or (Target(),):
            yield f"# {quoted(unmapped.word)} = {_inline(target)}"


def draft_mapping(
    taxonomy: Taxonomy, reference: Reference, to: Shop, earlier: ShopMapping | None = None
) -> MappingDraft:
    """Match the words of a taxonomy with those of a shop; what `earlier` says about a word or key stays.

    Names match without regard to case, punctuation, number and British spelling, and so do aliases and titles. A value
    also matches without the words of its key ("Round Neck" and "Round"). A key that has no column of its name is
    matched with one that has at least half of its values, and that a quarter of its categories have. A value without a
    match gets that of its parent, which is true of it too.

    Raises `TaxonomyError` if the reference has no categories of the shop, or if `earlier` names an id and a name that
    do not belong together.
    """
    if not reference.categories[to]:
        raise TaxonomyError(f"--reference has no categories of {to.capitalize()}. Give its files too.")
    vocabulary = Vocabulary(reference, to)
    draft = MappingDraft(ShopMapping(to=to))
    categories = draft.mapping.categories
    kept = earlier or ShopMapping(to=to)
    known = {category.id: Target(id=category.id, name=category.path) for category in vocabulary.categories.all}
    categories |= {word: _completed(target, known, word) for word, target in kept.categories.items()}
    written = set(map(fold, categories))
    for name in track(taxonomy.categories, "matching categories", "categories"):
        if fold(name) in written:
            continue
        found = vocabulary.category(_spellings(taxonomy, CATEGORY, name))
        if found is not None:
            categories[name] = known[found.id]
        else:
            nearby = (known[category.id] for category in vocabulary.categories.candidates(name))
            draft.categories.append(Unmapped(name, tuple(nearby)))
    _Keys(taxonomy, vocabulary, draft, kept).add()
    return draft


class _Keys:
    """Adds the keys and their values to a draft."""

    def __init__(self, taxonomy: Taxonomy, vocabulary: Vocabulary, draft: MappingDraft, kept: ShopMapping) -> None:
        self.taxonomy, self.vocabulary, self.draft, self.kept = taxonomy, vocabulary, draft, kept
        self.category_of = draft.mapping.category_of

    def add(self) -> None:
        keys = self.draft.mapping.keys
        chosen = {name: [*columns] for name, columns in self.kept.keys.items()}
        new = [name for name in self.taxonomy.keys if name not in chosen]
        chosen |= {name: columns for name in new if (columns := self._bybare(name))}
        taken = {column for columns in chosen.values() for column in columns}
        by_values = [(*match, name) for name in new if name not in chosen for match in self._by_values(name)]
        for _, column, name in sorted(by_values, key=lambda match: -match[0]):
            if name not in chosen and column not in taken:
                chosen[name] = [column]
                taken.add(column)
                self.draft.by_values.add(name)
        for name in dict.fromkeys((*self.taxonomy.keys, *chosen)):
            if name not in chosen:
                self.draft.keys.append(Unmapped(name, tuple(self._candidates(name))))
                continue
            keys[name] = {column: self._values(name, column) for column in chosen[name]}

    def _columns(self, name: str, least: float = 0.0) -> dict[str, str]:
        """The columns for products of the categories to which the key applies, at least a share of them."""
        own = (self.category_of.get(fold(category)) for category in self.taxonomy.keys[name].categories)
        return self.vocabulary.columns([target.id for target in own if target is not None], least)

    def _names(self, name: str) -> list[str]:
        titles = [self.taxonomy.keys[name].title, *(titles.get(name) for titles in self.taxonomy.key_titles.values())]
        aliases = [alias for alias, key in self.taxonomy.key_aliases.items() if key == name]
        return [name, *filter(None, titles), *aliases]

    def _bybare(self, name: str) -> list[str]:
        forms = set(map(canonical, self._names(name)))
        if self.vocabulary.shop == "google":
            return [
                column
                for column, names in GOOGLE_COLUMNS.items()
                if forms & {canonical(column), *names} or self._people(name, column)
            ]
        return [column for column, title in self._columns(name).items() if canonical(title) in forms]

    def _by_values(self, name: str) -> Iterator[tuple[int, str]]:
        """The columns of Shopify that have enough of the key's values, and how many."""
        if self.vocabulary.shop == "google":
            return
        values = self.taxonomy.keys[name].values
        for column in self._columns(name, COMMON):
            count = sum(self._value(name, value, column) is not None for value in values)
            if count >= max(2, SHARE * len(values)):
                yield count, column

    def _people(self, name: str, column: str) -> bool:
        """Whether the column is about people, and so are most of the key's values."""
        words = {"gender": gender, "age": age}.get(self.vocabulary.kind(column))
        values = self.taxonomy.keys[name].values
        return words is not None and sum(map(bool, map(words, values))) >= max(2, SHARE * len(values))

    def _candidates(self, name: str) -> Iterator[Target]:
        columns = [*self._columns(name).items()]
        for position in nearest(name, [spaced(title) for _, title in columns]):
            yield Target(name=columns[position][0])

    def _values(self, name: str, column: str) -> Targets:
        """The targets of all values of a key: first those that are kept."""
        options = self.vocabulary.targets(column) or ()
        known = {target.id: target for target in options if target.id}
        kept = self.kept.keys.get(name, {}).get(column, {})
        targets = {word: _completed(target, known, word) for word, target in kept.items()}
        written = set(map(fold, targets))
        unmapped = []
        key = self.taxonomy.keys.get(name)
        values, parents = (key.values, key.parents) if key else ((), {})
        for value in values:
            if fold(value) in written:
                continue
            found = (self._value(name, word, column) for word in (value, *ancestors(value, parents)))
            target = next(filter(None, found), None)
            if target is not None:
                targets[value] = target
            else:
                nearby = nearest(value, [spaced(option.name) for option in options])
                unmapped.append(Unmapped(value, tuple(options[position] for position in nearby)))
        if unmapped:
            self.draft.values[name, column] = unmapped
        return targets

    def _value(self, name: str, value: str, column: str) -> Target | None:
        """The target of a value in a column, None if there is no match."""
        if self.vocabulary.free(column):
            return Target(name=value)
        forms = _spellings(self.taxonomy, name, value)
        by_form = self.vocabulary.by_form(column)
        context = {word for text in (*self._names(name), column.partition("(")[0]) for word in tokens(text)}
        for form in [*map(canonical, forms), *(without(form, context) for form in forms)]:
            if form in by_form:
                return by_form[form]
        people = {"gender": gender, "age": age}.get(self.vocabulary.kind(column))
        if people is None:
            return None
        wanted = {word for form in forms if (word := people(form))}
        return next((target for target in self.vocabulary.targets(column) or () if people(target.name) in wanted), None)


def _spellings(taxonomy: Taxonomy, key: str, word: str) -> list[str]:
    """A value of a key, or a category (`CATEGORY`), with its titles and aliases."""
    return [word, *(spelling for spelling, other in taxonomy.other_spellings(key) if other == word)]


def _completed(target: Target, known: Mapping[str, Target], word: str) -> Target:
    """The target with the id or name that it lacks; raises `TaxonomyError` if they do not belong together."""
    if target.id in known:
        found = known[target.id]
        if target.name and canonical(target.name) != canonical(found.name):
            raise TaxonomyError(
                f"the mapping of '{shown(word)}' has the id {shown(target.id)}, which is '{shown(found.name)}', but "
                f"the name '{shown(target.name)}'. Remove the wrong one of the two."
            )
        return found
    if target.id or not target.name:
        return target
    matches = [found for found in known.values() if canonical(found.name) == canonical(target.name)]
    return matches[0] if len(matches) == 1 else target
