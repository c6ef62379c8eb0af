"""A feed's rows against a taxonomy: every word resolved, rows of one product merged, every fault with its row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attire.catalog.rows import Row
from attire.errors import TaxonomyError, did_you_mean
from attire.taxonomy import Taxonomy


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
    products: dict[str, CheckedProduct] = {}
    for row in rows:
        product, faults = _resolve(row, taxonomy)
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
        if product.category and product.category not in taxonomy.keys[key].categories
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
                message = f"'{key}' is not one of {len(taxonomy.keys)} keys{hint}"
                yield Problem(row.number, f"{message} Add it to taxonomy.toml, or --ignore it.")


def _resolve(row: Row, taxonomy: Taxonomy) -> tuple[CheckedProduct, list[str]]:
    """The row in the taxonomy's words, as far as it has them, and what is wrong with it."""
    faults: list[str] = []
    if not row.id:
        faults.append("the id is empty. Every product needs one.")
    if not row.images:
        faults.append("it names no photo.")
    category = None
    try:
        category = taxonomy.category(row.category) if row.category else None
    except TaxonomyError as error:
        faults.append(str(error))
    labels: dict[str, tuple[str, ...]] = {}
    for name, words in row.labels.items():
        if not words or name not in taxonomy.keys:
            continue  # nobody said, or told once for the whole feed
        values: dict[str, None] = {}
        for word in words:
            try:
                values[taxonomy.value(name, word)] = None
            except TaxonomyError as error:
                faults.append(str(error))
        if len(values) > 1 and taxonomy.keys[name].arity == "one":
            several = "', '".join(values)
            faults.append(f"{name} takes one value, got '{several}'. Set arity = \"many\" in taxonomy.toml?")
        elif values:
            labels[name] = tuple(values)
    return CheckedProduct(row.number, row.id, row.group, category, labels, row.images, row.title), faults


def _clashes(first: CheckedProduct, later: CheckedProduct) -> list[str]:
    """How a later row of a product contradicts the earlier ones, or why it adds nothing."""
    where = f"id '{first.id}' is already in row {first.row}"
    before, now = _said(first), _said(later)
    faults = [
        f"{where} with {name}='{'|'.join(before[name])}', here '{'|'.join(now[name])}'. Mend one of the rows."
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
