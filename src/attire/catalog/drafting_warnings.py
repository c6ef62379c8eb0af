"""Words of a taxonomy that people should look at: placeholders, rare values, doubtful arities, near-duplicates, and
values that may be kinds of others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from rapidfuzz.distance import OSA, Indel
from rapidfuzz.process import cdist

from attire.catalog.row_words import CheckedProduct
from attire.errors import first_ids, shown
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy, key_label

# Folded words that say that nothing is known, or that it is none of the others. "none" is missing: it is a value.
SAYING_NOTHING = """
    ?, -, ., unknown, undefined, unspecified, not specified, not known, not available, not applicable, not defined,
    not mentioned, n a, na, nan, null, nil, tbd, tba, to be decided, no info, no information, no data, missing, blank,
    empty, default, dummy, test, xxx, other, others, misc, miscellaneous, various, none of these, none of the above,
    not listed, etc, unbekannt, sonstige, sonstiges, andere, keine angabe, nicht angegeben, inconnu, autre, autres,
    non renseigné, otro, otros, desconocido, altro, sconosciuto
"""
PLACEHOLDERS = frozenset(map(str.strip, SAYING_NOTHING.split(",")))
VARIANTS = {"gray": "grey"}  # differ in a letter of a short word, as "shirt" and "short" do
# Products with several values that make arity many doubtful: of those with a label, at most a hundredth, or if there
# are only a few, a tenth.
FEW, SHARE, SHARE_OF_FEW = 3, 0.01, 0.1
COMPARED = 3000  # words of a key that are compared with each other, the first ones
SHORT, LONG = 4, 7  # letters of a part from which one letter may be left out or swapped, and from which any edit counts
EXAMPLES = 4  # words in a message
NOT_KINDS = {"no", "non", "not", "without", "and", "or", "with"}  # in what precedes a word: "Analogue and Digital"
Kind = Literal["placeholder", "no label", "one product", "arity", "near-duplicates", "kinds"]

# What the words of each kind have in common, and what to do.
TITLES: dict[Kind, str] = {
    "placeholder": "words that say nothing",
    "no label": "words that no product has",
    "one product": "words of a single product",
    "arity": "keys whose arity many rests on few products",
    "near-duplicates": "pairs of nearly the same words",
    "kinds": "pairs of which the first may be a kind of the second",
}
ADVICE: dict[Kind, str] = {
    "placeholder": "Nothing can be learned from them: move them to 'retired', and their cells count as unknown.",
    "no label": "Nothing can be learned about them. Remove or retire them, unless their products are still to come.",
    "one product": "A model cannot learn them. Make them aliases of other words, or retire them.",
    "arity": 'Fix these products, or set arity = "one".',
    "near-duplicates": "If both mean the same, make one of them an alias of the other.",
    "kinds": "Where it is, make the second its parent under 'parents' of the key. Nothing sets parents by itself.",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """How products use a taxonomy.

    values: products by (key, value), and by ("", category); labelled: products with a label, by key; several: ids of
    products with several values, by key.
    """

    values: Mapping[tuple[str, str], int] = field(default_factory=dict)
    labelled: Mapping[str, int] = field(default_factory=dict)
    several: Mapping[str, Sequence[str]] = field(default_factory=dict)


class DraftingWarning(NamedTuple):
    """Words of a key, or of the category (`CATEGORY`), to look at, or the key itself (no words)."""

    kind: Kind
    key: str
    words: tuple[str, ...]
    detail: str = ""

    def __str__(self) -> str:
        words = " and ".join(f"'{shown(word)}'" for word in self.words)
        return " ".join(filter(None, [key_label(self.key), words, f"({self.detail})" if self.detail else ""]))


def drafting_warnings(taxonomy: Taxonomy, usage: Usage | None = None) -> list[DraftingWarning]:
    """What to look at in a taxonomy; without `usage` only the words themselves are judged."""
    words = {CATEGORY: taxonomy.categories, **{name: key.values for name, key in taxonomy.keys.items()}}
    found = []
    for name, of_key in words.items():
        placeholders = (word for word in of_key if _says_nothing(word))
        found += [DraftingWarning("placeholder", name, (word,)) for word in placeholders]
        found += [DraftingWarning("near-duplicates", name, pair) for pair in near_duplicates(of_key)]
    for name, key in taxonomy.keys.items():
        found += [DraftingWarning("kinds", name, pair) for pair in kinds(key.values) if pair[0] not in key.parents]
    if usage is not None:
        found += _of_usage(taxonomy, words, usage)
    return sorted(found, key=lambda warning: [*TITLES].index(warning.kind))


def usage_of(products: Iterable[CheckedProduct]) -> Usage:
    """How these products use their taxonomy."""
    values: Counter[tuple[str, str]] = Counter()
    labelled: Counter[str] = Counter()
    several: dict[str, list[str]] = defaultdict(list)
    for product in products:
        values.update([("", product.category)] if product.category else [])
        labelled.update(product.labels.keys())
        for key, words in product.labels.items():
            values.update((key, word) for word in words)
            if len(words) > 1:
                several[key].append(product.id)
    return Usage(values, labelled, several)


def near_duplicates(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of words that a typing mistake, a plural, or another order or spacing of their parts may explain.

    The distance is the number of edited or swapped letters (optimal string alignment). Words that differ in the first
    letter of a part, in digits, or in one letter of a short part ("shirt", "short") differ on purpose.
    """
    compared = words[:COMPARED]
    parts = [[VARIANTS.get(part, part) for part in fold(word).split()] for word in compared]
    texts = ["".join(sorted(of_word)) for of_word in parts]
    distances = cdist(texts, texts, scorer=OSA.distance, score_cutoff=2, dtype=np.uint8)
    pairs = np.argwhere(np.triu(distances <= 2, 1)).tolist()
    return [(compared[left], compared[right]) for left, right in pairs if _alike(parts[left], parts[right])]


def kinds(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a word that ends with another one, such as Navy Blue, and that word: the longest such one."""
    word_of = {tuple(fold(word).split()): word for word in words}
    found = []
    for parts, word in word_of.items():
        start = next((start for start in range(1, len(parts)) if parts[start:] in word_of), 0)
        if start and NOT_KINDS.isdisjoint(parts[:start]):
            found.append((word, word_of[parts[start:]]))
    return found


def summary(warnings: Iterable[DraftingWarning]) -> list[str]:
    """A line per kind: how many there are, and the first ones."""
    kinds: dict[Kind, list[DraftingWarning]] = defaultdict(list)
    for warning in warnings:
        kinds[warning.kind].append(warning)
    return [
        f"{TITLES[kind]}: {len(found):,}, such as {', '.join(map(str, found[:EXAMPLES]))}"
        for kind, found in kinds.items()
    ]


def _says_nothing(word: str) -> bool:
    return fold(word) in PLACEHOLDERS or fold(word).startswith("other ")


def _alike(left: Sequence[str], right: Sequence[str]) -> bool:
    if len(left) != len(right):
        return _nearly_equal("".join(left), "".join(right))
    return all(map(_nearly_equal, sorted(left), sorted(right)))


def _nearly_equal(left: str, right: str) -> bool:
    if left == right:
        return True
    shorter = min(len(left), len(right))
    if shorter < SHORT or left[0] != right[0] or any(map(str.isdigit, left + right)):
        return False
    return OSA.distance(left, right) == 1 and (
        shorter >= LONG or Indel.distance(left, right) == 1 or sorted(left) == sorted(right)
    )


def _of_usage(taxonomy: Taxonomy, words: Mapping[str, Sequence[str]], usage: Usage) -> Iterable[DraftingWarning]:
    for name, of_key in words.items():
        if name != CATEGORY and not usage.labelled.get(name):
            yield DraftingWarning("no label", name, ())
            continue
        counts = {word: usage.values.get(("" if name == CATEGORY else name, word), 0) for word in of_key}
        yield from (DraftingWarning("no label", name, (word,)) for word, count in counts.items() if not count)
        single = (word for word, count in counts.items() if count == 1 and not _says_nothing(word))
        yield from (DraftingWarning("one product", name, (word,)) for word in single)
    for name, key in taxonomy.keys.items():
        several, labelled = usage.several.get(name, ()), usage.labelled.get(name, 0)
        share = SHARE_OF_FEW if len(several) <= FEW else SHARE
        if key.arity == "many" and labelled and len(several) <= share * labelled:
            ids = first_ids(several, FEW)
            detail = f"{len(several):,} of {labelled:,} products have several{f': {ids}' if ids else ''}"
            yield DraftingWarning("arity", name, (), detail)
