"""The calibration of a bundle, with that of keys that were added to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.score.calibration import Calibration, Fitted
from attire.score.calibration_record import UNKNOWN, CalibrationRecord
from attire.word_places import WordPlaces


class AddedKey(NamedTuple):
    """The calibration of a key alone, and where its words are in the taxonomy of the bundle."""

    fitted: Fitted
    places: WordPlaces


def with_added_keys(old: Fitted, places: WordPlaces, added: Sequence[AddedKey]) -> Fitted:
    """Join the calibration of a bundle, whose words are at `places`, and those of added keys.

    A key of the bundle that is added again is replaced. Whether the added keys apply is not recorded: the threshold on
    that is one for all keys, and so it stays as it is, with all thresholds of the other keys.
    """
    taxonomy = places.new
    replaced = {place for key in added for place in key.places.keys.tolist()}
    kept = np.array([-1 if place in replaced else place for place in places.keys.tolist()], dtype=np.int64)
    temperature = np.ones(len(taxonomy.keys))
    frequency = np.zeros((len(taxonomy.categories), taxonomy.width), dtype=np.float32)
    records = [_moved(old.record, places, np.append(kept, len(taxonomy.keys)))]
    for fitted, words, keys in [(old, places, kept), *((key.fitted, key.places, key.places.keys) for key in added)]:
        temperature[keys[keys >= 0]] = np.asarray(fitted.calibration.temperature)[keys >= 0]
        frequency[:, words.values[words.values >= 0]] = fitted.record.frequency[:, words.values >= 0]
    for key in added:
        record = _moved(key.fitted.record, key.places, np.append(key.places.keys, -1))
        record["ruled_out"][:] = UNKNOWN
        records.append(record)
    arrays: dict[str, Any] = {name: np.concatenate([record[name] for record in records]) for name in records[0]}
    return Fitted(
        Calibration(category_temperature=old.calibration.category_temperature, temperature=tuple(temperature.tolist())),
        CalibrationRecord(**arrays, products=old.record.products, frequency=frequency),
    )


def _moved(record: CalibrationRecord, places: WordPlaces, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The arrays [M] of a record in the words of `places.new`, without answers on keys whose place is -1."""
    columns = np.append(places.values, places.new.width + places.categories)
    rows = keys[record.key] >= 0
    moved: dict[str, NDArray[Any]] = {
        "key": keys[record.key][rows].astype(record.key.dtype),
        "column": columns[record.column][rows].astype(record.column.dtype),
        "coarse_column": columns[record.coarse_column][rows].astype(record.coarse_column.dtype),
    }
    for name in ("log_odds", "applicability", "right", "ruled_out", "coarse_log_odds", "coarse_right"):
        moved[name] = getattr(record, name)[rows].copy()
    return moved
