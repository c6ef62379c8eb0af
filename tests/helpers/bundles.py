"""Bundles of small untrained networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from attire.bundle import ModelBundle
from attire.config import Architecture, DecisionRule
from attire.model.network import Network, build_network
from attire.pixels.preprocess import Preprocess
from attire.score.calibration import Calibration
from attire.taxonomy import Taxonomy


def accepting_bundle(folder: Path, taxonomy: Taxonomy, *precisions: str) -> ModelBundle:
    """An untrained bundle that accepts answers with a confidence of 0.9 at each of the precisions."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="test_resnet", hidden=8, shared=True)
    saved = save_bundle(folder, build_network(architecture, taxonomy), architecture, taxonomy)
    calibration = Calibration(
        category_temperature=1.0,
        temperature=(1.0,) * len(taxonomy.keys),
        thresholds=dict.fromkeys(precisions, (0.9,) * taxonomy.width),
    )
    return replace(saved, spec=saved.spec.model_copy(update={"calibration": calibration}))


def save_bundle(folder: Path, network: Network, architecture: Architecture, taxonomy: Taxonomy) -> ModelBundle:
    """Save the network as a bundle that reads photos of 32 x 24 px."""
    return ModelBundle.save(
        folder,
        network,
        architecture,
        taxonomy=taxonomy,
        preprocess=Preprocess(size_px=(32, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        decision=DecisionRule(),
        provenance={"recipe": {"name": "base", "seed": 0}},
        scores={},
    )
