"""The part of train that a network does not learn from, and the calibration that is fitted on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from attire.catalog.store import Catalog
from attire.config import DecisionRule
from attire.errors import CatalogError
from attire.labels import Targets
from attire.pixels.dataset import DrawSampler
from attire.score.calibration import Calibration, fit_calibration
from attire.taxonomy import Taxonomy
from attire.training.data import Examples

BATCH = 64


def hold_out(catalog: Catalog, ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Divide `ids` into those to learn from and about `share` of them to calibrate on, with no group on two sides.

    With a share at least one group is on either side: a model that was to be calibrated must not come out without.
    Raises `CatalogError` where there is one group only.
    """
    group = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
    groups = np.random.default_rng(seed).permutation(sorted({group[id] for id in ids}))
    if share and len(groups) < 2:
        raise CatalogError(
            f"{catalog.path}: the train split is a single group of products, so none can be set aside to calibrate on. "
            "Split it again, check the groups in the feed, or take calibration = 0 in the recipe."
        )
    held = set(groups[: min(max(1, round(share * len(groups))), len(groups) - 1) if share else 0].tolist())
    return [id for id in ids if group[id] not in held], [id for id in ids if group[id] in held]


def calibrate(
    model: nn.Module,
    examples: Examples,
    taxonomy: Taxonomy,
    rule: DecisionRule,
    taught: NDArray[np.bool_],
    workers: int,
) -> Calibration:
    """Fit on the logits that `model` gives for `examples`, which it has not learned from; taught: bool[A], its keys."""
    return fit_calibration(taxonomy, rule, *judged(model, examples, workers), taught)


def judged(
    model: nn.Module, examples: Examples, workers: int = 0
) -> tuple[Targets, NDArray[np.float32], NDArray[np.float32]]:
    """The targets of N examples, and what `model` says: category float32[N, C] and attributes float32[N, K], logits."""
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
