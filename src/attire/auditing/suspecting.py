"""From answers that were given out of fold to the table of suspects and the noise rate of each key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.auditing.doubts import SUSPICIOUS, Doubts, NoiseRate, count_anchors, doubts, mean_rate, noise_rate
from attire.auditing.field_labels import FieldLabels, Probabilities, calibrated, field_labels
from attire.catalog.content import IN_FORCE
from attire.catalog.store import Catalog
from attire.catalog.suspects import SCHEMA, Kind
from attire.catalog.twins import nearly_shared_photos, shared_photos
from attire.labels import State, labelled
from attire.score.decisions import applicability
from attire.taxonomy import CATEGORY, SEPARATOR
from attire.training.fold_answers import OutOfFold

Row = dict[str, Any]
SURE_OF_TWIN = 0.5  # how much likelier than not one of two contradicting labels must be the wrong one


class Suspects(NamedTuple):
    """table: the suspects, see `attire.catalog.suspects`. rates: of the category and each key. fields: labels that
    were checked. decided: suspects that were left out, because a reviewer has decided them."""

    table: pl.DataFrame
    rates: tuple[NoiseRate, ...]
    fields: int
    decided: int


def find_suspects(catalog: Catalog, answers: OutOfFold) -> Suspects:
    """The labels that are probably wrong, most suspicious first, from answers to N products."""
    taxonomy = catalog.taxonomy
    probabilities = calibrated(taxonomy, answers)
    photos = (find(catalog, only_first=True) for find in (shared_photos, nearly_shared_photos))
    pairs = _positions(np.unique(np.concatenate([*photos]), axis=0), answers.row)
    fields = [
        (field, count_anchors(field, answers.is_learned[field.rows]))
        for field in field_labels(taxonomy, answers, probabilities)
    ]
    rate = mean_rate(fields)
    rows: list[Row] = []
    rates = []
    for field, count in fields:
        found = doubts(field, answers.is_learned[field.rows], rate)
        rates.append(noise_rate(field, found, count))
        rows += _doubtful(catalog, answers, field, found, pairs)
    stray = [*_stray(catalog, answers, probabilities)]
    doubtful = pl.DataFrame(rows, SCHEMA).sort("score", descending=True, maintain_order=True)
    table = pl.concat([doubtful, pl.DataFrame(stray, SCHEMA)])  # stray labels harm nobody, so they come last
    decided = catalog.reviewed.filter(pl.col("status") == IN_FORCE).select(product="id", key="key")
    kept = table.join(decided, on=["product", "key"], how="anti", maintain_order="left")
    return Suspects(kept, tuple(rates), sum(rate.labels for rate in rates) + len(stray), len(table) - len(kept))


def _doubtful(
    catalog: Catalog, answers: OutOfFold, field: FieldLabels, found: Doubts, pairs: NDArray[np.int64]
) -> Iterator[Row]:
    """The suspects of a field: labels that the network doubts, and those that contradict a twin."""
    twin_of = _contradictions(field, found, pairs)
    for place in np.flatnonzero((found.wrong >= SUSPICIOUS) | np.isin(np.arange(len(field.rows)), [*twin_of])).tolist():
        twin, chance = twin_of.get(place, (-1, 0.0))
        if found.wrong[place] < SUSPICIOUS:
            kind, proposed = Kind.CONTRADICTS_TWIN, field.stated[twin]
            confidence = field.probability[place][proposed].min()
        else:
            kind, proposed, confidence = _kind(field, found, place), found.proposed[place], found.confidence[place]
        row = int(field.rows[place])
        yield {
            "product": catalog.ids[answers.row[row]],
            "key": field.key,
            "kind": kind,
            "stated": _joined(field, field.stated[place]),
            "proposed": _joined(field, proposed),
            "score": max(float(found.wrong[place]), chance),
            "confidence": float(confidence),
            "fold": int(answers.fold[row]),
            "twin": None if twin < 0 else catalog.ids[answers.row[field.rows[twin]]],
        }


def _kind(field: FieldLabels, found: Doubts, place: int) -> Kind:
    if field.key == CATEGORY:
        return Kind.WRONG_CATEGORY
    return Kind.MISSING_VALUE if found.is_missing[place] else Kind.WRONG_VALUE


def _stray(catalog: Catalog, answers: OutOfFold, probabilities: Probabilities) -> Iterator[Row]:
    """Labels of keys that the stated category rules out, unless the photo shows a category to which they apply."""
    taxonomy, truth = catalog.taxonomy, answers.truth
    stated = labelled(taxonomy, truth.hot) & (truth.state == State.NOT_APPLICABLE)
    applies = applicability(taxonomy, probabilities.category.astype(np.float32))
    names = list(taxonomy.keys)
    for row, number in zip(*np.nonzero(stated & (applies <= 1 - SUSPICIOUS)), strict=True):
        key = names[number]
        hot = truth.hot[row, taxonomy.columns[key]]
        yield {
            "product": catalog.ids[answers.row[row]],
            "key": key,
            "kind": Kind.DOES_NOT_APPLY,
            "stated": SEPARATOR.join(
                value for value, is_stated in zip(taxonomy.keys[key].values, hot, strict=True) if is_stated
            ),
            "proposed": None,
            "score": float(1 - applies[row, number]),
            "confidence": None,
            "fold": int(answers.fold[row]),
            "twin": None,
        }


def _contradictions(field: FieldLabels, found: Doubts, pairs: NDArray[np.int64]) -> dict[int, tuple[int, float]]:
    """For labels that contradict that of a twin and are likelier wrong than it: the twin, and how likely.

    Exactly one of the two is taken to be wrong, so its chance is that of this case beside the opposite one. Twins
    whose photos are equally convincing are both listed.
    """
    place = np.full(1 + max(pairs.max(initial=0), field.rows.max(initial=0)), -1)
    place[field.rows] = np.arange(len(field.rows))
    left, right = place[pairs].T
    both = (left >= 0) & (right >= 0)
    left, right = left[both], right[both]
    consistent = (field.stated[left].astype(np.int64) @ field.agrees.astype(np.int64) * field.stated[right]).any(axis=1)
    odds = np.clip(found.wrong, 1e-6, 1 - 1e-6)
    odds = odds / (1 - odds)
    twin_of: dict[int, tuple[int, float]] = {}
    for a, b in zip(left[~consistent].tolist(), right[~consistent].tolist(), strict=True):
        for one, other in ((a, b), (b, a)):
            chance = float(odds[one] / (odds[one] + odds[other]))
            if chance >= SURE_OF_TWIN and chance > twin_of.get(one, (-1, 0.0))[1]:
                twin_of[one] = other, chance
    return twin_of


def _positions(pairs: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of rows of the catalog as pairs of positions in `row` (sorted), without those that are not in it."""
    position = np.searchsorted(row, pairs)
    inside = (position < len(row)).all(axis=1)
    found = inside & (row[np.minimum(position, len(row) - 1)] == pairs).all(axis=1)
    return np.asarray(position[found])


def _joined(field: FieldLabels, marks: NDArray[np.bool_]) -> str:
    return SEPARATOR.join(value for value, is_marked in zip(field.values, marks, strict=True) if is_marked)
