"""Where a run starts from: pretrained or random weights of the backbone, or everything that another run learned."""

from __future__ import annotations

from pathlib import Path

import torch

from attire.bundle import ModelBundle
from attire.config import Architecture, Recipe
from attire.errors import ConfigError
from attire.model.backbone import SCRATCH
from attire.model.network import Network, build_network
from attire.taxonomy import Taxonomy

FREE = {"flip"}  # may differ: it changes what is averaged, not what is learned


def starting_network(
    recipe: Recipe, taxonomy: Taxonomy, weights: str | Path | None, start: ModelBundle | None
) -> tuple[Network, str]:
    """The network to train, and in words where its weights come from (see `create_backbone`, or the bundle `start`).

    Raises `ConfigError` for both at once, for a bundle of other words or another architecture, and for a backbone that
    takes no photos of the recipe's size.
    """
    if start is not None and weights is not None:
        raise ConfigError(
            f"the bundle to start from, {start.path}, has all weights already: leave out weights ({weights}), or start."
        )
    network = build_network(
        recipe, taxonomy, SCRATCH if start else weights, dropout=recipe.dropout, text_dropout=recipe.text_dropout
    )
    _try_on(network, recipe)
    if start is None:
        return network, "timm's pretrained" if weights is None else Path(weights).name
    if start.taxonomy != taxonomy:
        raise ConfigError(
            f"{start.path} was trained with other words than the catalog's taxonomy.toml. "
            "Ingest with the taxonomy of that run, or train without --start."
        )
    mine, its = recipe.architecture, start.spec.network
    other = [name for name in Architecture.model_fields.keys() - FREE if getattr(mine, name) != getattr(its, name)]
    if other:
        raise ConfigError(
            f"{start.path} is of another architecture than recipe {recipe.name}:\n"
            + "\n".join(f"  {name}: {getattr(its, name)} there, {getattr(mine, name)} here" for name in sorted(other))
        )
    if not its.shared:
        raise ConfigError(f"{start.path} has two networks (shared = false), of which a run cannot go on: start anew.")
    network.load_state_dict(start.network.state_dict())
    return network, f"bundle {start.digest}"


def _try_on(network: Network, recipe: Recipe) -> None:
    """Show it a blank photo: transformers take one size only, and deep networks leave nothing of a small photo."""
    height, width = recipe.size_px
    try:
        with torch.no_grad():
            network.eval().features(torch.zeros(1, 3, height, width))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"size_px=[{height}, {width}]: {recipe.backbone} takes no photos of that size ({reason}). Take another "
            "--size-px, or another --backbone."
        ) from None
    network.train()
