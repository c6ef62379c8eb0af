"""Fits a network's calibration on products that it was not trained on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from attire.config import DecisionRule
from attire.labels import Targets
from attire.pixels.dataset import DrawSampler
from attire.progress import tracking
from attire.score.calibration import Fitted, fit_calibration
from attire.score.calibration_record import frequencies
from attire.taxonomy import Taxonomy
from attire.training.data import Examples

BATCH = 64


class Answers(NamedTuple):
    """Logits for N products that the network was not trained on, and their labels.

    category: float32[N, C]; attributes: float32[N, K].
    """

    truth: Targets
    category: NDArray[np.float32]
    attributes: NDArray[np.float32]


def calibrate(
    answers: Sequence[Answers], train: Targets, taxonomy: Taxonomy, rule: DecisionRule, taught: NDArray[np.bool_]
) -> Fitted:
    """Fit on the answers of one or several networks. train: the labels that they learned; taught: bool[A]."""
    truth = Targets(*map(np.concatenate, zip(*(part.truth for part in answers), strict=True)))
    category = np.concatenate([part.category for part in answers])
    attributes = np.concatenate([part.attributes for part in answers])
    labels = Targets(*(np.asarray(column) for column in train))
    with tracking("calibrating"):
        return fit_calibration(taxonomy, rule, truth, category, attributes, frequencies(taxonomy, labels), taught)


def collect_logits(model: nn.Module, examples: Examples, workers: int = 0) -> Answers:
    """The logits of `model` for N examples, and their targets."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = copy.deepcopy(model).to(device).eval()  # it goes on where it is
    loader = DataLoader(examples, BATCH, sampler=DrawSampler(len(examples), None), num_workers=workers)
    category, attributes, targets = [], [], []
    with torch.inference_mode():
        for inputs, truth, *text in loader:
            logits = model(inputs.to(device), *(ids.to(device) for ids in text))
            category.append(logits.category.float().cpu().numpy())
            attributes.append(logits.attributes.float().cpu().numpy())
            targets.append([column.numpy() for column in truth])
    truth = Targets(*(np.concatenate(column) for column in zip(*targets, strict=True)))
    return Answers(truth, np.concatenate(category), np.concatenate(attributes))
