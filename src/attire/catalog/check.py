"""Check the rows of a feed against a taxonomy: resolve words, merge rows of one product, and report faults by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from attire.catalog.feed_row import Row
from attire.errors import TaxonomyError, did_you_mean, shown
from attire.taxonomy import CATEGORY, Taxonomy

KEY = "@key"  # stands for an unknown key among unknown words; no key can have this name
COMPARISONS = 20_000_000  # budget of word comparisons for "did you mean" hints: about 2 seconds


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of one row of the feed."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True, slots=True)
class CheckedProduct:
    """A product in the words of the taxonomy. `row` is the first row with its id; None if the feed does not name it.

    `unresolved` has the words of keys (and `CATEGORY`) without a label here, because one of them is not known.
    """

    row: int | None
    id: str
    group: str
    category: str | None
    labels: dict[str, tuple[str, ...]]
    images: tuple[str, ...]
    title: str
    unresolved: dict[str, tuple[str, ...]] = field(default_factory=dict)


class UnknownWord(NamedTuple):
    """A word of a product that is not in the taxonomy: a value of `key`, or a category (`CATEGORY`) or key (`KEY`)."""

    key: str
    word: str
    id: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of `check`: products made from the rows without problems, and the problems of the other rows.

    `unknown` are the words that were left out instead of being a problem.
    """

    products: list[CheckedProduct]
    problems: list[Problem]
    unknown: set[UnknownWord] = field(default_factory=set)


def check(rows: Sequence[Row], taxonomy: Taxonomy, *, leave_out: bool = False, known: Container[str] = ()) -> Checked:
    """Resolve every word of `rows`, and merge rows with the same id: later rows may add photos and missing labels.

    An unknown word is a problem of its row. With `leave_out`, the row is taken without the label instead. Products
    whose ids are `known` need not name photos.
    """
    unknown: set[UnknownWord] | None = set() if leave_out else None
    problems = [] if leave_out else list(_unknown_keys(rows, taxonomy))
    words = _Words(taxonomy)
    products: dict[str, CheckedProduct] = {}
    for row in rows:
        product, faults = _resolve(row, words, unknown, row.id in known)
        first = products.get(row.id)
        if first is not None:
            faults += _clashes(first, product)
        if faults:
            problems += [Problem(row.number, fault) for fault in faults]
        else:
            products[row.id] = product if first is None else _merge(first, product)
    return Checked(list(products.values()), sorted(problems, key=lambda problem: problem.row), unknown or set())


def stray_labels(products: Iterable[CheckedProduct], taxonomy: Taxonomy) -> Counter[str]:
    """The number of labels, per key, of products whose category rules the key out.

    They are kept as part of the feed, but training ignores them.
    """
    return Counter(
        key
        for product in products
        for key in product.labels
        if product.category and product.category not in taxonomy.keys[key].applies_to
    )


def summarise(problems: Sequence[Problem], limit: int = 20) -> str:
    """One line for each of the `limit` most frequent faults, with its first rows and the number of the others."""
    rows: dict[str, list[int]] = defaultdict(list)
    for problem in problems:
        rows[problem.message].append(problem.row)
    lines = []
    for message, numbers in sorted(rows.items(), key=lambda item: (-len(item[1]), item[1][0]))[:limit]:
        others = numbers[1:]
        listed = ", ".join(map(str, others[:3])) + (", ..." if len(others) > 3 else "")
        suffix = f" (and {len(others):,} more {'row' if len(others) == 1 else 'rows'}: {listed})" if others else ""
        lines.append(f"  row {numbers[0]}: {message}{suffix}")
    if len(rows) > limit:
        lines.append(f"  ... further faults not shown: {len(rows) - limit:,}")
    return "\n".join(lines)


def _unknown_keys(rows: Sequence[Row], taxonomy: Taxonomy) -> Iterator[Problem]:
    """A problem for each key that the taxonomy lacks, at the first row with a label for it."""
    seen: set[str] = set()
    for row in rows:
        for key, words in row.labels.items():
            if words and key not in taxonomy.keys and key not in seen:
                seen.add(key)
                hint = did_you_mean(key, taxonomy.keys)
                message = f"'{shown(key)}' is not one of {len(taxonomy.keys):,} keys{hint}"
                yield Problem(row.number, f"{message} Add it to taxonomy.toml, or --ignore it.")


class _Words:
    """Looks up the words of a feed in a taxonomy, with a cache: a feed repeats its words, misspelt ones too."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._cache: dict[tuple[str | None, str], tuple[str | None, str]] = {}
        self._comparisons = 0

    def find(self, key: str | None, text: str) -> tuple[str | None, str]:
        """The value of `key` (None: the category) with the spelling `text`, and ""; or None and the fault."""
        if (key, text) not in self._cache:
            self._cache[key, text] = self._look_up(key, text)
        return self._cache[key, text]

    def _look_up(self, key: str | None, text: str) -> tuple[str | None, str]:
        taxonomy, hint = self.taxonomy, self._comparisons < COMPARISONS
        try:
            return taxonomy.category(text, hint=hint) if key is None else taxonomy.value(key, text, hint=hint), ""
        except TaxonomyError as error:
            self._comparisons += len(taxonomy.categories if key is None else taxonomy.keys[key].values)
            return None, f"{error} Add it or an alias in taxonomy.toml."


def _resolve(
    row: Row, words: _Words, unknown: set[UnknownWord] | None, may_lack_photos: bool
) -> tuple[CheckedProduct, list[str]]:
    """The row in the words of the taxonomy, as far as they are known, and its faults.

    Unknown words are added to `unknown`; they are faults if it is None.
    """
    category, fault = words.find(None, row.category) if row.category else (None, "")
    unresolved: dict[str, tuple[str, ...]] = {}
    if fault and unknown is not None:
        unknown.add(UnknownWord(CATEGORY, row.category, row.id))
        unresolved[CATEGORY] = (row.category,)
        fault = ""
    faults = [
        "the id is empty. Every product needs one." if not row.id else "",
        "it names no photo." if not row.images and not may_lack_photos else "",
        fault,
    ]
    labels: dict[str, tuple[str, ...]] = {}
    for name, texts in row.labels.items():
        if not texts:
            continue
        if name not in words.taxonomy.keys:  # without `unknown`, it is reported once for the whole feed
            if unknown is not None:
                unknown.add(UnknownWord(KEY, name, row.id))
            continue
        results = [words.find(name, text) for text in texts]
        if unknown is None:
            faults += [fault for _, fault in results]
        elif missing := {text for text, (value, _) in zip(texts, results, strict=True) if value is None}:
            unknown.update(UnknownWord(name, text, row.id) for text in missing)
            unresolved[name] = texts  # the other values too: the unknown word may be another word for any value
            continue
        values = tuple(dict.fromkeys(value for value, _ in results if value is not None))
        if len(values) > 1 and words.taxonomy.keys[name].arity == "one":
            several = "', '".join(values)
            faults.append(f"{name} takes one value, got '{shown(several)}'. Set arity = \"many\" in taxonomy.toml?")
        elif values:
            labels[name] = values
    product = CheckedProduct(row.number, row.id, row.group, category, labels, row.images, row.title, unresolved)
    return product, [fault for fault in faults if fault]


def _clashes(first: CheckedProduct, later: CheckedProduct) -> list[str]:
    """How a later row of a product contradicts the earlier rows, or that it adds nothing."""
    where = f"id '{shown(first.id)}' is already in row {first.row}"
    before, now = _contents(first), _contents(later)
    faults = [
        f"{where} with {name}='{shown('|'.join(before[name]))}', here '{shown('|'.join(now[name]))}'. "
        "Fix one of the rows."
        for name in before.keys() & now.keys()
        if set(before[name]) != set(now[name])
    ]
    if later.images and set(later.images) <= set(first.images):
        faults.append(f"{where} with the same photos. Remove one of the rows, or give it an id of its own.")
    return sorted(faults)


def _contents(product: CheckedProduct) -> dict[str, tuple[str, ...]]:
    """The non-empty fields of a row."""
    texts = {"category": product.category, "title": product.title, "group": product.group}
    return {name: (text,) for name, text in texts.items() if text} | product.labels


def _merge(first: CheckedProduct, later: CheckedProduct) -> CheckedProduct:
    category, labels = first.category or later.category, later.labels | first.labels
    unresolved = later.unresolved | first.unresolved
    known = labels.keys() | ({CATEGORY} if category else set())
    return replace(
        first,
        group=first.group or later.group,
        category=category,
        labels=labels,
        unresolved={key: words for key, words in unresolved.items() if key not in known},
        images=tuple(dict.fromkeys((*first.images, *later.images))),
        title=first.title or later.title,
    )
