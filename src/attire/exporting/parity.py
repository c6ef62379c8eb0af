"""The gate of exported engines: agreement with torch, measured on decisions, because only decisions reach users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.engine import Engine, Floats, TitleEngine
from attire.engines.exported import Parity, Precision
from attire.exporting.sample import Sample
from attire.score.decisions import Decisions, with_coarse
from attire.score.metrics import headline, match
from attire.score.promise import PRECISION

BATCH = 16
EQUAL: Mapping[Precision, float] = {"float32": 0.995, "bfloat16": 0.995, "int8": 0.985}  # minimum share of decisions
IOU_LOST = 0.005  # maximum loss of attribute IoU
Bools = NDArray[np.bool_]


class Answers(NamedTuple):
    """Logits float32[N, C] and float32[N, K]."""

    category: Floats
    attributes: Floats


def answers(engine: Engine, sample: Sample) -> Iterator[Answers]:
    """Yield the engine's logits for the sample, batch by batch."""
    for start in range(0, len(sample.pixels), BATCH):
        batch = slice(start, start + BATCH)
        if sample.text is None:
            yield Answers(*engine.logits(sample.pixels[batch]))
        else:
            assert isinstance(engine, TitleEngine)
            yield Answers(*engine.titled_logits(sample.pixels[batch], sample.text[batch]))


def compare(bundle: ModelBundle, sample: Sample, torch: Answers, engine: Answers) -> Parity:
    """Compare the decisions from an exported engine's logits with those from torch in float32."""
    if not all(np.isfinite(logits).all() for logits in engine):
        return Parity(
            photos=len(sample.pixels),
            decisions=len(sample.pixels),
            answers=0.0,
            filled=0.0,
            iou=None,
            torch_iou=None,
            logits=float("inf"),
        )
    expected, actual = bundle.decide(*torch), bundle.decide(*engine)
    equal_answers, equal_filled = (
        _equal_share(bundle, expected, actual, *(_filled(bundle, side, precision) for side in (expected, actual)))
        for precision in (None, PRECISION)  # None fills every answer
    )
    iou, torch_iou = (None if sample.truth is None else _iou(bundle, sample, side) for side in (actual, expected))
    return Parity(
        photos=len(sample.pixels),
        decisions=len(expected.category) + int((expected.applies | actual.applies).sum()),
        answers=equal_answers,
        filled=equal_filled,
        iou=iou,
        torch_iou=torch_iou,
        logits=max(float(np.abs(a - b).max(initial=0)) for a, b in zip(torch, engine, strict=True)),
    )


def passes(parity: Parity, precision: Precision) -> bool:
    """The gate: enough decisions are equal, and attribute IoU has not dropped by more than `IOU_LOST`."""
    loss = parity.torch_iou - parity.iou if parity.iou is not None and parity.torch_iou is not None else 0.0
    return min(parity.answers, parity.filled) >= EQUAL[precision] and not loss > IOU_LOST


def _filled(bundle: ModelBundle, decisions: Decisions, precision: float | None) -> Bools:
    """bool[N, K]: the values of accepted answers; of all answers if `precision` is None."""
    accepted = bundle.accepted(decisions, precision)
    answers = with_coarse(bundle.taxonomy, decisions, accepted.coarse)
    return answers.chosen & accepted.keys[:, bundle.taxonomy.key_of_column]


def _equal_share(bundle: ModelBundle, a: Decisions, b: Decisions, a_values: Bools, b_values: Bools) -> float:
    """Share of equal decisions on categories and on keys that apply according to either side."""
    applies = a.applies | b.applies
    differ = a.applies != b.applies
    if bundle.taxonomy.keys:
        differ |= np.logical_or.reduceat(a_values != b_values, bundle.taxonomy.starts, axis=1)
    different = (applies & differ).sum() + (a.category != b.category).sum()
    return float(1 - different / (applies.sum() + len(a.category)))


def _iou(bundle: ModelBundle, sample: Sample, decisions: Decisions) -> float | None:
    iou = headline(match(bundle.taxonomy, sample.truth, decisions))["attribute_iou"] if sample.truth else np.nan
    return None if np.isnan(iou) else iou
