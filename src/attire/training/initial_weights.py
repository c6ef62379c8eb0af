"""Initial weights of a run: a pretrained or random backbone, or all weights of another run's bundle."""

from __future__ import annotations

from pathlib import Path

import torch

from attire.bundle import ModelBundle
from attire.config import Architecture, Recipe
from attire.errors import ConfigError
from attire.model.backbone import SCRATCH
from attire.model.network import Network, build_network
from attire.model.packaged_weights import packaged_weights
from attire.taxonomy import Taxonomy

MAY_DIFFER = {"flip"}  # has no weights


def initial_network(
    recipe: Recipe, taxonomy: Taxonomy, weights: str | Path | None, init_from: ModelBundle | None
) -> tuple[Network, str]:
    """The network to train, and a description of where its weights come from.

    Raises `ConfigError` if both `weights` and `init_from` are given, if the bundle has other words or another
    architecture, and if the backbone does not accept photos of the recipe's size.
    """
    if init_from is not None and weights is not None:
        raise ConfigError(
            f"{init_from.path} already has all weights: leave out either --init-from or --weights ({weights})."
        )
    network = build_network(
        recipe, taxonomy, SCRATCH if init_from else weights, dropout=recipe.dropout, text_dropout=recipe.text_dropout
    )
    _try_photo(network, recipe)
    if init_from is None:
        pretrained = packaged_weights(recipe.backbone) or "timm's pretrained"
        return network, pretrained if weights is None else Path(weights).name
    if not init_from.taxonomy.has_words_of(taxonomy):
        raise ConfigError(
            f"{init_from.path} was trained with other words, or in another order, than the catalog's taxonomy.toml. "
            "Ingest with the taxonomy of that run, or train without --init-from."
        )
    expected, actual = recipe.architecture, init_from.spec.network
    differences = [
        f"  {name}: {getattr(actual, name)} in the bundle, {getattr(expected, name)} in the recipe"
        for name in sorted(Architecture.model_fields.keys() - MAY_DIFFER)
        if getattr(expected, name) != getattr(actual, name)
    ]
    if differences:
        raise ConfigError(
            f"{init_from.path} has another architecture than recipe {recipe.name}:\n" + "\n".join(differences)
        )
    if not actual.shared:
        raise ConfigError(
            f"{init_from.path} has two networks (shared = false), but a run can start from a single one only: "
            "leave out --init-from."
        )
    network.load_state_dict(init_from.network.state_dict())
    return network, f"bundle {init_from.digest}"


def _try_photo(network: Network, recipe: Recipe) -> None:
    """Try a blank photo: transformers accept one size only, and deep networks reduce small photos to nothing.

    Parameters of the backbone that the features do not depend on (layers behind the last stage that is pooled) are
    frozen, because training in several processes waits for the gradient of every other parameter.
    """
    height, width = recipe.size_px
    try:
        features = network.eval().features(torch.zeros(1, 3, height, width))
        torch.autograd.backward(features.sum())
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"size_px=[{height}, {width}]: {recipe.backbone} does not accept photos of that size ({reason}). Use "
            "another --size-px or --backbone."
        ) from None
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    network.zero_grad()
    network.train()
