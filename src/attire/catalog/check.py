"""A feed's rows against a taxonomy: rows of one product merged, every word resolved, every fault with its row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from attire.catalog.rows import Row
from attire.errors import TaxonomyError, did_you_mean
from attire.taxonomy import Taxonomy

SHOWN = 20


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


@dataclass(slots=True)
class Checked:
    """`products` are those without a problem; `stray` counts, per key, labels where the category rules the key out.

    Stray labels are kept: they are what the feed says. Training does not learn from them.
    """

    products: list[CheckedProduct] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    stray: Counter[str] = field(default_factory=Counter)


def check(rows: Sequence[Row], taxonomy: Taxonomy) -> Checked:
    """Merge and resolve `rows`; a row with a problem is not among the products, nor is its product."""
    checked = Checked()
    unknown = {key: row.number for row in reversed(rows) for key in row.labels if key not in taxonomy.keys}
    for key, number in sorted(unknown.items(), key=lambda item: item[1]):
        hint = did_you_mean(key, taxonomy.keys)
        message = f"'{key}' is not one of {len(taxonomy.keys)} keys{hint} Add it to taxonomy.toml, or --ignore it."
        checked.problems.append(Problem(number, message))
    merged, clashes = _merge(rows)
    checked.problems += clashes
    for row in merged:
        problems = list(_resolve(row, taxonomy, checked))
        checked.problems += problems
    checked.problems.sort(key=lambda problem: problem.row)
    return checked


def summarise(problems: Sequence[Problem]) -> str:
    """One line for each different fault, the commonest first, with its number of rows and the first of them."""
    rows: dict[str, list[int]] = defaultdict(list)
    for problem in problems:
        rows[problem.message].append(problem.row)
    lines = []
    for message, numbers in sorted(rows.items(), key=lambda item: (-len(item[1]), item[1][0]))[:SHOWN]:
        others = (
            f" (and {len(numbers) - 1:,} more rows: {', '.join(map(str, numbers[1:4]))}, ...)" if numbers[1:] else ""
        )
        lines.append(f"  row {numbers[0]}: {message}{others}")
    if len(rows) > SHOWN:
        lines.append(f"  ... and {len(rows) - SHOWN:,} other faults")
    return "\n".join(lines)


def _merge(rows: Sequence[Row]) -> tuple[list[Row], list[Problem]]:
    """One row per product: later rows of an id may add photos, and what was left empty, but contradict nothing."""
    merged: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        if not row.id:
            problems.append(Problem(row.number, "the id is empty. Every product needs one."))
            continue
        first = merged.setdefault(row.id, row)
        if first is row:
            continue
        where = f"id '{row.id}' already stands in row {first.number}"
        if set(row.images) <= set(first.images):
            problems.append(
                Problem(row.number, f"{where}, with the same photos. Remove one, or give it an id of its own.")
            )
            continue
        before, now = _said(first), _said(row)
        clash = next((name for name in now if before.get(name, now[name]) != now[name]), None)
        if clash is not None:
            problems.append(Problem(row.number, f"{where} with {clash}={before[clash]!r}, now {now[clash]!r}."))
            continue
        merged[row.id] = replace(
            first,
            category=first.category or row.category,
            labels={**row.labels, **first.labels},
            images=tuple(dict.fromkeys((*first.images, *row.images))),
            title=first.title or row.title,
            group=first.group or row.group,
        )
    return list(merged.values()), problems


def _said(row: Row) -> dict[str, object]:
    """What the row says, without what it leaves open."""
    said: Mapping[str, object] = {"category": row.category, "title": row.title, "group": row.group, **row.labels}
    return {name: value for name, value in said.items() if value}


def _resolve(row: Row, taxonomy: Taxonomy, checked: Checked) -> list[Problem]:
    """Add the product to `checked`, or return what is wrong with it."""
    problems: list[str] = []
    category = None
    labels: dict[str, tuple[str, ...]] = {}
    try:
        category = taxonomy.category(row.category) if row.category else None
    except TaxonomyError as error:
        problems.append(str(error))
    for name, words in row.labels.items():
        if name not in taxonomy.keys:
            continue  # told once, for the whole feed
        try:
            values = tuple(dict.fromkeys(taxonomy.value(name, word) for word in words))
        except TaxonomyError as error:
            problems.append(str(error))
            continue
        if len(values) > 1 and taxonomy.keys[name].arity == "one":
            problems.append(f'{name} takes one value, got {", ".join(values)}. Set arity = "many" in taxonomy.toml?')
        elif values:
            labels[name] = values
    if not row.images:
        problems.append("it names no photo.")
    if problems:
        return [Problem(row.number, problem) for problem in problems]
    checked.stray.update(key for key in labels if category and category not in taxonomy.keys[key].categories)
    checked.products.append(CheckedProduct(row.number, row.id, row.group, category, labels, row.images, row.title))
    return []
