"""Read and write the words of a bundle with the aliases, titles and parents of a taxonomy that was edited since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from attire.parents import ancestors
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy, Titles


def with_spellings_of(own: Taxonomy, other: Taxonomy) -> Taxonomy:
    """The words of `own`, also with the names, aliases, titles and parents that `other` has for them.

    A spelling that `own` has already keeps its meaning there, and words that `other` merged get nothing from it. If
    `other` has parents for a key, they replace those of `own`. Raises `TaxonomyError` if a title would be ambiguous.
    """
    content = own.model_dump()
    content["category_aliases"] |= _aliases(own, CATEGORY, other, CATEGORY)
    content["category_titles"] = _titles(own, CATEGORY, other, CATEGORY, own.category_titles)
    content["key_titles"] = {language: dict(titles) for language, titles in own.key_titles.items()}
    for name, key in own.keys.items():
        target = other.key_named(name)
        if target is None:
            continue
        content["keys"][name]["aliases"] |= _aliases(own, name, other, target)
        content["keys"][name]["titles"] |= _titles(own, name, other, target, key.titles_by_language)
        if parents := _parents(own, name, other, target):
            content["keys"][name]["parents"] = parents
        if target not in own.keys:
            content["key_aliases"][target] = name
        for language, titles in other.key_titles.items():
            if titles.get(target):
                content["key_titles"].setdefault(language, {})[name] = titles[target]
    return Taxonomy.parse(content, "the bundle's taxonomy with these spellings")


def _words(taxonomy: Taxonomy, key: str) -> tuple[Iterable[str], Mapping[str, str]]:
    """The words of a key, or the categories (`CATEGORY`), and all their folded spellings."""
    if key == CATEGORY:
        return taxonomy.categories, taxonomy.category_spellings.words
    return taxonomy.keys[key].values, taxonomy.keys[key].spellings.words


def _meant(own: Taxonomy, key: str, other: Taxonomy, target: str) -> dict[str, str]:
    """Words of `other`, each with the single word of `own` that it stands for."""
    known = _words(other, target)[1]
    pairs = [(known[fold(word)], word) for word in _words(own, key)[0] if fold(word) in known]
    count = Counter(theirs for theirs, _ in pairs)
    return {theirs: word for theirs, word in pairs if count[theirs] == 1}


def _aliases(own: Taxonomy, key: str, other: Taxonomy, target: str) -> dict[str, str]:
    """New spellings of words of `own`."""
    meant, known = _meant(own, key, other, target), _words(own, key)[1]
    names = ((word, word) for word in meant)
    aliases = other.category_aliases if target == CATEGORY else other.keys[target].aliases
    pairs = chain(names, aliases.items())
    return {spelling: meant[word] for spelling, word in pairs if word in meant and fold(spelling) not in known}


def _parents(own: Taxonomy, key: str, other: Taxonomy, target: str) -> dict[str, str]:
    """The parents that `other` has, in the words of `own`; an ancestor that `own` lacks is skipped."""
    meant, parents = _meant(own, key, other, target), other.parents(target)
    nearest = {
        word: next((meant[up] for up in ancestors(theirs, parents) if up in meant), "")
        for theirs, word in meant.items()
    }
    return {word: parent for word, parent in nearest.items() if parent}


def _titles(own: Taxonomy, key: str, other: Taxonomy, target: str, before: Titles) -> Titles:
    """The titles `before`, and those of `other`, which take precedence."""
    meant = _meant(own, key, other, target)
    theirs = other.category_titles if target == CATEGORY else other.keys[target].titles_by_language
    return {
        language: before.get(language, {})
        | {meant[word]: title for word, title in theirs.get(language, {}).items() if word in meant}
        for language in dict.fromkeys((*before, *theirs))
    }
