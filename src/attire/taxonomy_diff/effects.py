"""What a new taxonomy does to the labels of a catalog, to a bundle, and to decisions of reviewers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from attire.catalog.check import check, check_known, stray_labels
from attire.catalog.feed_row import Row
from attire.spellings import fold
from attire.taxonomy import CATEGORY, Taxonomy
from attire.taxonomy_diff.words import OF_NO_COLUMN, changes


class LabelEffect(NamedTuple):
    """Numbers of labels (values of products) that an update keeps, renames and loses, and that it gains.

    gained: words that the catalog kept because no label was known. rows_refused: products that an ingest of the whole
    feed refuses or quarantines, because it has words that the new taxonomy does not know. category_lost: products that
    lose their category. not_applicable: labels that are kept, but of no use, because the key does not apply; before is
    their number now. lost_values: the lost labels by (key, value).
    """

    kept: int
    renamed: int
    lost: int
    gained: int
    products: int
    rows_refused: int
    category_lost: int
    not_applicable: int
    not_applicable_before: int
    lost_values: Mapping[tuple[str, str], int]


class BundleEffect(NamedTuple):
    """Numbers of a bundle's columns (values) and what has to be trained again.

    same: columns whose key and value have the same names; renamed, merged: columns that answer with an old name; gone:
    columns without a value. new: values without a column. train: keys, and `CATEGORY`, that a model has to learn again,
    because they have words that it lacks, merged or lost words, or another arity or other categories.
    """

    columns: int
    same: int
    renamed: int
    merged: int
    gone: int
    new: int
    train: tuple[str, ...]


class DecisionEffect(NamedTuple):
    """Numbers of fields that reviewers decided, and whose values are kept, renamed and lost."""

    decided: int
    kept: int
    renamed: int
    lost: int


def on_labels(rows: Sequence[Row], old: Taxonomy, new: Taxonomy) -> LabelEffect:
    """The effect on products of a catalog, whose words may be labels in `old` or be unknown there."""
    before, after = check_known(rows, old).products, check_known(rows, new).products
    strict = check(rows, new, known={row.id for row in rows})
    counts: Counter[str] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for was, now in zip(before, after, strict=True):
        explained = {key: set[str]() for key in now.labels}
        for key, values in was.labels.items():
            for value in values:
                target = new.label_named(key, value)
                if target is None or target[1] not in now.labels.get(target[0], ()):
                    lost[key, value] += 1
                    continue
                explained[target[0]].add(target[1])
                counts["kept" if target == (key, value) else "renamed"] += 1
        counts["gained"] += sum(len(set(values) - explained[key]) for key, values in now.labels.items())
        counts["category_lost"] += was.category is not None and now.category is None
    return LabelEffect(
        counts["kept"],
        counts["renamed"],
        lost.total(),
        counts["gained"],
        len(rows),
        len(rows) - len(strict.products),
        counts["category_lost"],
        stray_labels(after, new).total(),
        stray_labels(before, old).total(),
        lost,
    )


def on_bundle(bundle: Taxonomy, new: Taxonomy) -> BundleEffect:
    """The effect on a bundle with the taxonomy `bundle`."""
    targets = {column: new.label_named(*column) for column in bundle.column_index}
    shared = Counter(target for target in targets.values() if target is not None)
    counts: Counter[str] = Counter()
    for column, target in targets.items():
        kind = (
            "gone" if target is None else "merged" if shared[target] > 1 else "same" if target == column else "renamed"
        )
        counts[kind] += 1
    outdated = {change.key for change in changes(bundle, new) if change.kind not in OF_NO_COLUMN}
    known = {new.key_named(key) for key in bundle.keys}
    train = [CATEGORY] if CATEGORY in outdated else []
    train += [key for key in new.keys if key in outdated or key not in known]
    return BundleEffect(
        bundle.width,
        counts["same"],
        counts["renamed"],
        counts["merged"],
        counts["gone"],
        sum(pair not in shared for pair in new.column_index),
        tuple(train),
    )


def on_decisions(decisions: Iterable[tuple[str, Sequence[str]]], new: Taxonomy) -> DecisionEffect:
    """The effect on decided fields, each given as its key and its values (none: decided to be empty)."""
    counts: Counter[str] = Counter()
    for key, values in decisions:
        if key == CATEGORY:
            targets = [new.category_spellings.words.get(fold(value)) for value in values]
            is_known, arity_fits, is_same = True, True, targets == list(values)
        else:
            name = new.key_named(key)
            found = [new.label_named(key, value) for value in values]
            targets = [None if pair is None else pair[1] for pair in found]
            is_known, is_same = name is not None, name == key and targets == list(values)
            arity_fits = name is None or len(set(targets)) < 2 or new.keys[name].arity == "many"
        counts["lost" if None in targets or not (is_known and arity_fits) else "kept" if is_same else "renamed"] += 1
    return DecisionEffect(counts.total(), counts["kept"], counts["renamed"], counts["lost"])
