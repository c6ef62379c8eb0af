"""Answers that are drawn, and a bundle that is calibrated on such answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from attire.bundle import ModelBundle
from attire.config import DecisionRule
from attire.labels import Targets
from attire.score.calibration import fit_calibration
from attire.score.calibration_record import frequencies
from helpers.bundles import accepting_bundle
from helpers.taxonomies import blues

TAXONOMY = blues()
Drawn = tuple[Targets, np.ndarray, np.ndarray]


def draw(n: int, seed: int, spread: float = 6) -> Drawn:
    """Shirts with logits [N, C] and [N, K], and labels drawn from their softmax; with a smaller `spread` less sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, TAXONOMY.width)).astype(np.float32)
    hot = np.zeros(logits.shape, dtype=bool)
    for columns in TAXONOMY.columns.values():
        p = np.exp(logits[:, columns])
        value = (p.cumsum(1) / p.sum(1, keepdims=True) < rng.random((n, 1))).sum(1)
        hot[np.arange(n), columns.start + value] = True
    category = rng.normal((9, -9), 3, (n, 2)).astype(np.float32)
    return Targets(np.zeros(n, np.int64), hot, np.ones((n, 2), np.int8)), category, logits


def calibrated_bundle(folder: Path) -> ModelBundle:
    """An untrained bundle with the calibration of 3,000 drawn answers, in memory only."""
    saved, drawn = accepting_bundle(folder, TAXONOMY), draw(3000, 0)
    fitted = fit_calibration(TAXONOMY, DecisionRule(), *drawn, frequencies(TAXONOMY, drawn[0]))
    spec = saved.spec.model_copy(update={"calibration": fitted.calibration})
    return replace(saved, spec=spec, record=fitted.record)
