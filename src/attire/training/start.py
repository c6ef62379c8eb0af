"""Where a run starts from: pretrained or random weights of the backbone, or everything that another run learned."""

from __future__ import annotations

from pathlib import Path

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

    Raises `ConfigError` for both at once, and for a bundle of other words or another architecture.
    """
    if start is not None and weights is not None:
        raise ConfigError(
            f"the bundle to start from, {start.path}, has all weights already: leave out weights ({weights}), or start."
        )
    network = build_network(
        recipe, taxonomy, SCRATCH if start else weights, dropout=recipe.dropout, text_dropout=recipe.text_dropout
    )
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
    network.load_state_dict(start.network.state_dict())
    return network, f"bundle {start.digest}"
