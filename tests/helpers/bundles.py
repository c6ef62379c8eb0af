"""Bundles of small untrained networks."""

from __future__ import annotations

from pathlib import Path

from attire.bundle import ModelBundle
from attire.config import Architecture, DecisionRule
from attire.model.network import Network
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Taxonomy


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
