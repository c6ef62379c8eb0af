"""Whether an engine answers as torch does. Decisions are compared, not logits, for decisions are what is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.engine import Engine, Floats, TitleEngine
from attire.engines.exported import Parity, Precision
from attire.export.sample import Sample
from attire.score.calibration import PRECISION
from attire.score.decisions import Decisions
from attire.score.metrics import headline, match

BATCH = 16
EQUAL: Mapping[Precision, float] = {"float32": 0.995, "bfloat16": 0.995, "int8": 0.985}  # least share of decisions
IOU_LOST = 0.005  # most that attribute IoU may fall
Bools = NDArray[np.bool_]


class Answers(NamedTuple):
    """Logits float32[N, C] and float32[N, K]."""

    category: Floats
    attributes: Floats


def answers(engine: Engine, sample: Sample) -> Iterator[Answers]:
    """What the engine says of the sample, batch by batch."""
    for start in range(0, len(sample.pixels), BATCH):
        batch = slice(start, start + BATCH)
        if sample.text is None:
            yield Answers(*engine.logits(sample.pixels[batch]))
        else:
            assert isinstance(engine, TitleEngine)
            yield Answers(*engine.titled_logits(sample.pixels[batch], sample.text[batch]))


def compare(bundle: ModelBundle, sample: Sample, torch: Answers, engine: Answers) -> Parity:
    """How the decisions from the `engine`'s logits agree with those from `torch`'s, in float32."""
    if not all(np.isfinite(part).all() for part in engine):  # nothing can be decided
        return Parity(
            photos=len(sample.pixels),
            decisions=len(sample.pixels),
            answers=0.0,
            filled=0.0,
            iou=None,
            torch_iou=None,
            logits=float("inf"),
        )
    ours, theirs = bundle.decide(*torch), bundle.decide(*engine)
    shares = []
    for precision in (None, PRECISION):
        # Under a calibration an answer that is not sure enough is left out, and so it is here.
        said = [_filled(bundle, decisions, precision) for decisions in (ours, theirs)]
        shares.append(_equal(bundle, ours, theirs, *said))
    iou = [None if sample.truth is None else _iou(bundle, sample, decisions) for decisions in (theirs, ours)]
    return Parity(
        photos=len(sample.pixels),
        decisions=len(ours.category) + int((ours.applies | theirs.applies).sum()),
        answers=shares[0],
        filled=shares[1],
        iou=iou[0],
        torch_iou=iou[1],
        logits=max(float(np.abs(a - b).max(initial=0)) for a, b in zip(torch, engine, strict=True)),
    )


def passes(parity: Parity, precision: Precision) -> bool:
    """The gate: enough decisions are equal, filled or not, and with INT8 attribute IoU has hardly fallen."""
    lost = parity.torch_iou - parity.iou if parity.iou is not None and parity.torch_iou is not None else 0.0
    return min(parity.answers, parity.filled) >= EQUAL[precision] and not lost > IOU_LOST


def _filled(bundle: ModelBundle, decisions: Decisions, precision: float | None) -> Bools:
    """bool[N, K]: the values that are filled in."""
    return decisions.chosen & bundle.accepted(decisions, precision)[:, bundle.taxonomy.key_of_column]


def _equal(bundle: ModelBundle, ours: Decisions, theirs: Decisions, our_values: Bools, their_values: Bools) -> float:
    """Of the decisions on category and keys."""
    asked = ours.applies | theirs.applies
    differ = ours.applies != theirs.applies
    if bundle.taxonomy.keys:
        differ |= np.logical_or.reduceat(our_values != their_values, bundle.taxonomy.starts, axis=1)
    different = (asked & differ).sum() + (ours.category != theirs.category).sum()
    return float(1 - different / (asked.sum() + len(ours.category)))


def _iou(bundle: ModelBundle, sample: Sample, decisions: Decisions) -> float | None:
    iou = headline(match(bundle.taxonomy, sample.truth, decisions))["attribute_iou"] if sample.truth else np.nan
    return None if np.isnan(iou) else iou
