"""Check the rows of a feed against a taxonomy: resolve words, merge rows of one product, and report faults by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from attire.catalog.feed_row import Row
from attire.catalog.row_words import CheckedProduct, RowReader, UnknownWord
from attire.errors import did_you_mean, shown
from attire.taxonomy import CATEGORY, Taxonomy


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of one row of the feed."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of `check`: products made from the rows without problems, and the problems of the other rows.

    `unknown` are the words that were left out instead of being a problem; `several` the fields (key and id) of products
    of the catalog that have several values of a key that takes one.
    """

    products: list[CheckedProduct]
    problems: list[Problem]
    unknown: set[UnknownWord] = field(default_factory=set)
    several: list[tuple[str, str]] = field(default_factory=list)


def check_known(rows: Sequence[Row], taxonomy: Taxonomy) -> Checked:
    """Resolve the words of a catalog's own products, whose taxonomy may have changed.

    Nothing is a problem: a field that does not fit the taxonomy has no label, and its words stay `unresolved`, so that
    they count as soon as they fit.
    """
    reader = RowReader(taxonomy, leave_out=True, keep_misfits=True)
    products = [reader.product(row, may_lack_photos=True)[0] for row in rows]
    return Checked(products, [], reader.unknown, reader.several)


def check(rows: Sequence[Row], taxonomy: Taxonomy, *, leave_out: bool = False, known: Container[str] = ()) -> Checked:
    """Resolve every word of `rows`, and merge rows with the same id: later rows may add photos and missing labels.

    An unknown word is a problem of its row. With `leave_out`, the row is taken without the label instead, as it always
    is for a retired word. Products whose ids are `known` need not name photos.
    """
    problems = [] if leave_out else list(_unknown_keys(rows, taxonomy))
    reader = RowReader(taxonomy, leave_out=leave_out)
    products: dict[str, CheckedProduct] = {}
    for row in rows:
        product, faults = reader.product(row, may_lack_photos=row.id in known)
        first = products.get(row.id)
        if first is not None:
            faults += _clashes(first, product)
        if faults:
            problems += [Problem(row.number, fault) for fault in faults]
        else:
            products[row.id] = product if first is None else _merge(first, product)
    return Checked(list(products.values()), sorted(problems, key=lambda problem: problem.row), reader.unknown)


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
            if words and key not in seen and taxonomy.key_named(key) is None and key not in taxonomy.retired_keys:
                seen.add(key)
                hint = did_you_mean(key, taxonomy.keys)
                message = f"'{shown(key)}' is not one of {len(taxonomy.keys):,} keys{hint}"
                yield Problem(row.number, f"{message} Add it to taxonomy.toml, or --ignore it.")


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
    retired = {
        key: words
        for row in (later, first)
        for key, words in row.retired.items()
        if key not in unresolved and (key in row.labels or key not in known)
    }
    return replace(
        first,
        group=first.group or later.group,
        category=category,
        labels=labels,
        unresolved={key: words for key, words in unresolved.items() if key not in known},
        retired=retired,
        images=tuple(dict.fromkeys((*first.images, *later.images))),
        title=first.title or later.title,
    )
