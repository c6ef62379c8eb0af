"""Fits a network's calibration on products that it was not trained on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from attire.config import DecisionRule
from attire.labels import Targets
from attire.pixels.dataset import DrawSampler
from attire.score.calibration import Calibration, fit_calibration
from attire.taxonomy import Taxonomy
from attire.training.data import Examples

BATCH = 64


def calibrate(
    model: nn.Module,
    examples: Examples,
    taxonomy: Taxonomy,
    rule: DecisionRule,
    taught: NDArray[np.bool_],
    workers: int,
) -> Calibration:
    """Fit on `model`'s logits for `examples` that it was not trained on; taught: bool[A], the keys it learned."""
    return fit_calibration(taxonomy, rule, *collect_logits(model, examples, workers), taught)


def collect_logits(
    model: nn.Module, examples: Examples, workers: int = 0
) -> tuple[Targets, NDArray[np.float32], NDArray[np.float32]]:
    """The targets of N examples and the logits of `model`: category float32[N, C] and attributes float32[N, K]."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    loader = DataLoader(examples, BATCH, sampler=DrawSampler(len(examples), None), num_workers=workers)
    category, attributes, targets = [], [], []
    with torch.inference_mode():
        for inputs, truth, *text in loader:
            logits = model(inputs.to(device), *(ids.to(device) for ids in text))
            category.append(logits.category.float().cpu().numpy())
            attributes.append(logits.attributes.float().cpu().numpy())
            targets.append([column.numpy() for column in truth])
    truth = Targets(*(np.concatenate(column) for column in zip(*targets, strict=True)))
    return truth, np.concatenate(category), np.concatenate(attributes)
