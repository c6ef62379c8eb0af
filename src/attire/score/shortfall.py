"""Sentences about what can be promised, and which keys are held back."""

from __future__ import annotations

from collections.abc import Sequence

from attire.score.calibration_record import CalibrationRecord
from attire.score.promise import Promise, percent
from attire.score.thresholds import Thresholds, fit_thresholds
from attire.taxonomy import Taxonomy, key_label

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
    if thresholds.all_held_back:
        few = max(held_back.items(), key=lambda item: item[1].checked, default=None)
        example = f" {key_label(few[0])}: {few[1]}." if few else ""
        return f"Nothing is filled at {promise} precision: no key has enough checked answers for it.{example} {others}"
    if not held_back:
        return None
    most = sorted(held_back, key=lambda key: -held_back[key].checked)[:SHOWN_KEYS]
    named = "; ".join(f"{key}: {held_back[key]}" for key in most)
    more = f"; and {len(held_back) - len(most)} more (see attire inspect)" if len(held_back) > len(most) else ""
    return (
        f"{len(held_back)} of {len(taxonomy.keys)} keys are left open at {promise} precision, because too few checked "
        f"answers show that they reach it. {named}{more}. {others}"
    )
