"""A feed's rows against a taxonomy: every word resolved, rows of one product merged, every fault with its row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attire.catalog.feed_row import Row
from attire.errors import TaxonomyError, did_you_mean, shown
from attire.taxonomy import Taxonomy

COMPARISONS = 20_000_000  # of an unknown word with a known one, until closest words are no longer looked up: 2 seconds


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row of the feed."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True, slots=True)
class CheckedProduct:
    """A product in the taxonomy's own words. `row` is the first one that names it."""

    row: int
    id: str
    group: str
    category: str | None
    labels: dict[str, tuple[str, ...]]
    images: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: products made of the rows without a problem, and the problems of all others.

    `stray` counts, per key, labels where the category rules the key out. They are kept, being what the feed says;
    training does not learn from them.
    """

    products: list[CheckedProduct]
    problems: list[Problem]
    stray: Counter[str]


def check(rows: Sequence[Row], taxonomy: Taxonomy) -> Checked:
    """Resolve every word of `rows`; merge rows that share an id, where later ones may add photos and what is open."""
    problems = list(_unknown_keys(rows, taxonomy))
    words = _Words(taxonomy)
    products: dict[str, CheckedProduct] = {}
    for row in rows:
        product, faults = _resolve(row, words)
        first = products.get(row.id)
        if first is not None:
            faults += _clashes(first, product)
        if faults:
            problems += [Problem(row.number, fault) for fault in faults]
        else:
            products[row.id] = product if first is None else _merge(first, product)
    stray = Counter(
        key
        for product in products.values()
        for key in product.labels
        if product.category and product.category not in taxonomy.keys[key].applies_to
    )
    return Checked(list(products.values()), sorted(problems, key=lambda problem: problem.row), stray)


def summarise(problems: Sequence[Problem], limit: int = 20) -> str:
    """One line for each of the `limit` commonest faults, with the number of its rows and the first of them."""
    rows: dict[str, list[int]] = defaultdict(list)
    for problem in problems:
        rows[problem.message].append(problem.row)
    lines = []
    for message, numbers in sorted(rows.items(), key=lambda item: (-len(item[1]), item[1][0]))[:limit]:
        more = numbers[1:]
        listed = ", ".join(map(str, more[:3])) + (", ..." if len(more) > 3 else "")
        others = f" (and {len(more):,} more {'row' if len(more) == 1 else 'rows'}: {listed})" if more else ""
        lines.append(f"  row {numbers[0]}: {message}{others}")
    if len(rows) > limit:
        lines.append(f"  ... further faults not shown: {len(rows) - limit:,}")
    return "\n".join(lines)


def _unknown_keys(rows: Sequence[Row], taxonomy: Taxonomy) -> Iterator[Problem]:
    """One problem for each key that the taxonomy lacks, at the first row that carries it."""
    seen: set[str] = set()
    for row in rows:
        for key, words in row.labels.items():
            if words and key not in taxonomy.keys and key not in seen:
                seen.add(key)
                hint = did_you_mean(key, taxonomy.keys)
                message = f"'{shown(key)}' is not one of {len(taxonomy.keys):,} keys{hint}"
                yield Problem(row.number, f"{message} Add it to taxonomy.toml, or --ignore it.")


class _Words:
    """The taxonomy's word for each of the feed's, found once: a feed repeats its words, and its misspelt ones too."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._found: dict[tuple[str | None, str], tuple[str | None, str]] = {}
        self._comparisons = 0

    def find(self, key: str | None, text: str) -> tuple[str | None, str]:
        """The value of the key (None: the category) that `text` spells, or None; and what is wrong where it is None."""
        if (key, text) not in self._found:
            self._found[key, text] = self._look_up(key, text)
        return self._found[key, text]

    def _look_up(self, key: str | None, text: str) -> tuple[str | None, str]:
        known, hint = self.taxonomy, self._comparisons < COMPARISONS
        try:
            return known.category(text, hint=hint) if key is None else known.value(key, text, hint=hint), ""
        except TaxonomyError as error:
            self._comparisons += len(known.categories if key is None else known.keys[key].values)
            return None, f"{error} Add it or an alias in taxonomy.toml."


def _resolve(row: Row, words: _Words) -> tuple[CheckedProduct, list[str]]:
    """The row in the taxonomy's words, as far as it has them, and what is wrong with it."""
    category, fault = words.find(None, row.category) if row.category else (None, "")
    faults = [
        "the id is empty. Every product needs one." if not row.id else "",
        "it names no photo." if not row.images else "",
        fault,
    ]
    labels: dict[str, tuple[str, ...]] = {}
    for name, texts in row.labels.items():
        if not texts or name not in words.taxonomy.keys:
            continue  # nobody said, or told once for the whole feed
        found = [words.find(name, text) for text in texts]
        faults += [fault for _, fault in found]
        values = tuple(dict.fromkeys(value for value, _ in found if value is not None))
        if len(values) > 1 and words.taxonomy.keys[name].arity == "one":
            several = "', '".join(values)
            faults.append(f"{name} takes one value, got '{shown(several)}'. Set arity = \"many\" in taxonomy.toml?")
        elif values:
            labels[name] = values
    product = CheckedProduct(row.number, row.id, row.group, category, labels, row.images, row.title)
    return product, [fault for fault in faults if fault]


def _clashes(first: CheckedProduct, later: CheckedProduct) -> list[str]:
    """How a later row of a product contradicts the earlier ones, or why it adds nothing."""
    where = f"id '{shown(first.id)}' is already in row {first.row}"
    before, now = _said(first), _said(later)
    faults = [
        f"{where} with {name}='{shown('|'.join(before[name]))}', here '{shown('|'.join(now[name]))}'. "
        "Fix one of the rows."
        for name in before.keys() & now.keys()
        if set(before[name]) != set(now[name])
    ]
    if later.images and set(later.images) <= set(first.images):
        faults.append(f"{where} with the same photos. Remove one of the rows, or give it an id of its own.")
    return sorted(faults)


def _said(product: CheckedProduct) -> dict[str, tuple[str, ...]]:
    """What a row says, without what it leaves open."""
    texts = {"category": product.category, "title": product.title, "group": product.group}
    return {name: (text,) for name, text in texts.items() if text} | product.labels


def _merge(first: CheckedProduct, later: CheckedProduct) -> CheckedProduct:
    return replace(
        first,
        group=first.group or later.group,
        category=first.category or later.category,
        labels=later.labels | first.labels,
        images=tuple(dict.fromkeys((*first.images, *later.images))),
        title=first.title or later.title,
    )
