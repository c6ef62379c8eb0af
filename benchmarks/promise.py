"""Whether thresholds keep their promise: on resampled calibration products, for each key.

python benchmarks/promise.py BUNDLE [--resamples 1000] [--shares 0.1 1] [--json rows.json]

The answers in the bundle's calibration record stand for all products there are, so the true precision of every
threshold is known. Each resample draws calibration answers from them, with replacement (a share of their number), fits
thresholds, and asks of each key that is filled: is its true precision below the promise? And is that of a test sample
of the same size? The first may happen as often as one minus the confidence; the second also has the luck of its test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from support.common import Row, report

from attire.bundle import ModelBundle
from attire.progress import track
from attire.score.calibration_record import CalibrationRecord
from attire.score.promise import CONFIDENCE, PRECISION, Promise, Scope
from attire.score.thresholds import Thresholds, fit_thresholds
from attire.taxonomy import Taxonomy

WORDS: dict[Scope, str] = {"key": "each key", "average": "on average"}


@dataclass(slots=True)
class Outcome:
    """What happened to each key in some resamples: how often it was filled, and then below the promise."""

    filled: NDArray[np.int64]
    below: NDArray[np.int64]
    below_in_test: NDArray[np.int64]
    coverage: list[float]
    precision: list[float]


def main(
    bundle: Path,
    *,
    resamples: int = 1000,
    shares: Annotated[list[float], Parameter(consume_multiple=True)] = [0.1, 1.0],  # noqa: B006
    precision: float = PRECISION,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Resample the record of `bundle`, and report for each share and scope."""
    loaded = ModelBundle.load(bundle)
    assert loaded.record is not None, "the bundle has no calibration record: train it again"
    rows = []
    for share in shares:
        for scope in WORDS:
            promise = Promise(precision=precision, confidence=confidence, scope=scope)
            outcome = study(loaded.taxonomy, loaded.record, promise, share, resamples, seed)
            rows += summary(loaded.taxonomy, outcome, f"{share:.0%} of the answers, {WORDS[scope]}")
    report(f"{resamples:,} resamples, {precision:.0%} precision, {confidence:.0%} confidence", rows, json)


def study(
    taxonomy: Taxonomy, record: CalibrationRecord, promise: Promise, share: float, resamples: int, seed: int
) -> Outcome:
    """Fit thresholds on resamples of the record, and compare them with the whole of it."""
    rng, answers = np.random.default_rng(seed), len(record.key)
    count = round(share * answers)
    filled, below, below_in_test = np.zeros((3, len(taxonomy.keys) + 1), dtype=np.int64)
    outcome = Outcome(filled, below, below_in_test, [], [])
    for _ in track(range(resamples), "resampling", "resamples", resamples):
        thresholds = fit_thresholds(taxonomy, taken(record, rng.integers(answers, size=count)), promise)
        filled, right = of_keys(taxonomy, record, thresholds)
        tested, test_right = of_keys(taxonomy, taken(record, rng.integers(answers, size=count)), thresholds)
        outcome.filled += filled > 0
        outcome.below += right < promise.precision * filled
        outcome.below_in_test += test_right < promise.precision * tested
        keys = slice(len(taxonomy.keys))
        known = int((record.checked & (record.key < len(taxonomy.keys))).sum())
        outcome.coverage.append(filled[keys].sum() / known)
        outcome.precision.append(right[keys].sum() / max(1, filled[keys].sum()))
    return outcome


def taken(record: CalibrationRecord, rows: NDArray[np.int64]) -> CalibrationRecord:
    """The record with these answers only."""
    whole = ("products", "frequency")
    return CalibrationRecord(**{name: array if name in whole else array[rows] for name, array in vars(record).items()})


def of_keys(
    taxonomy: Taxonomy, record: CalibrationRecord, thresholds: Thresholds
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[A + 1] twice: by key and category, the checked answers that are filled, and those that are right."""
    found = thresholds.filled_of(record)
    passing = found.filled & record.checked
    count = len(taxonomy.keys) + 1
    return np.bincount(record.key[passing], minlength=count), np.bincount(
        record.key[passing], weights=found.right[passing] == 1, minlength=count
    ).astype(np.int64)


def summary(taxonomy: Taxonomy, outcome: Outcome, what: str) -> list[Row]:
    """The figures of one setting."""
    filled = np.maximum(outcome.filled, 1)
    rate = outcome.below / len(outcome.coverage)
    worst = int(rate.argmax())
    name = [*taxonomy.keys, "category"][worst]
    return [
        Row(f"{what}: coverage of the checked fields", float(np.mean(outcome.coverage)), "share"),
        Row(f"{what}: precision of the filled fields", float(np.mean(outcome.precision)), "share"),
        Row(f"{what}: keys filled", float(outcome.filled[:-1].sum() / len(outcome.coverage)), "keys"),
        Row(f"{what}: keys below the promise", float(outcome.below.sum() / filled.sum()), "share of filled"),
        Row(f"{what}: the same in a test sample", float(outcome.below_in_test.sum() / filled.sum()), "share of filled"),
        Row(f"{what}: the key most often below, {name}", float(rate[worst]), "share of resamples"),
    ]


if __name__ == "__main__":
    cyclopts.run(main)
