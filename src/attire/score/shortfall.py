"""Sentences about what can be promised, and which keys are held back."""

from __future__ import annotations

from collections.abc import Sequence

from attire.score.calibration_record import CalibrationRecord
from attire.score.promise import Promise, percent
from attire.score.thresholds import Thresholds, fit_thresholds
from attire.taxonomy import Taxonomy

SHOWN_PRECISIONS = (0.9, 0.95, 0.99)
SHOWN_KEYS = 3  # in a sentence


def promises(taxonomy: Taxonomy, record: CalibrationRecord | None, untaught: Sequence[str]) -> list[str]:
    """Sentences about what a bundle with this record can and cannot promise. untaught: keys without labels."""
    if not taxonomy.keys:
        return ["It answers the category only."]
    if record is None:
        return ["It was not calibrated: it cannot promise a precision and fills every key that applies."]
    sentences = []
    for precision in SHOWN_PRECISIONS:
        promise = Promise(precision=precision)
        thresholds = fit_thresholds(taxonomy, record, promise)
        filled = len(taxonomy.keys) - len([key for key in thresholds.held_back if key in taxonomy.keys])
        sentences.append(
            f"At {promise} precision for each key, with {percent(promise.confidence)} confidence, it fills {filled} of "
            f"{len(taxonomy.keys)} keys."
        )
    if untaught:
        sentences.append(f"Always left open, because no product has a label for them: {', '.join(untaught)}.")
    return sentences


def shortfall(thresholds: Thresholds, promise: Promise, taxonomy: Taxonomy) -> str | None:
    """A sentence about the keys that are held back, and what to do; None if there are none."""
    held_back = {key: reason for key, reason in thresholds.held_back.items() if key in taxonomy.keys}
    others = "Ask for a lower --precision or --confidence, or for --scope average, or label more products."
    if not held_back:
        return f"Nothing is filled at {promise} precision. {others}" if thresholds.all_held_back else None
    closest = sorted(held_back, key=lambda key: held_back[key].missing)[:SHOWN_KEYS]
    named = "; ".join(f"{key}: {held_back[key]}" for key in closest)
    more = f"; and {len(held_back) - len(closest)} more (see attire inspect)" if len(held_back) > len(closest) else ""
    which = "all keys" if thresholds.all_held_back else f"{len(held_back)} of {len(taxonomy.keys)} keys"
    return (
        f"At {promise} precision {which} are left open, because too few checked answers show that they reach it. The "
        f"closest: {named}{more}. {others}"
    )
