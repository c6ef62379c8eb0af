"""Initial weights of a run: a pretrained or random backbone, or those of another run's bundle."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from attire.bundle import ModelBundle
from attire.config import Architecture, Recipe
from attire.errors import ConfigError
from attire.model.backbone import SCRATCH
from attire.model.input_size import own_size, refused_size, resize
from attire.model.multiscale import timm_model
from attire.model.network import Network, build_network
from attire.model.packaged_weights import packaged_weights
from attire.model.presets import NO_WEIGHTS, UNKNOWN, licence
from attire.taxonomy import Taxonomy
from attire.training.carried_weights import carry_over, remark
from attire.training.trainer import first_process
from attire.word_places import WordPlaces

logger = logging.getLogger(__name__)
MAY_DIFFER = {"flip"}  # has no weights


def initial_network(
    recipe: Recipe, taxonomy: Taxonomy, weights: str | Path | None, init_from: ModelBundle | None
) -> tuple[Network, str]:
    """The network to train, and a description of where its weights come from.

    The weights of a bundle with other words are carried over by name, which is logged in a sentence.

    Raises `ConfigError` if both `weights` and `init_from` are given, if the bundle has another architecture, and if the
    backbone does not accept photos of the recipe's size.
    """
    if init_from is not None and weights is not None:
        raise ConfigError(
            f"{init_from.path} already has all weights: leave out either --init-from or --weights ({weights})."
        )
    if init_from is not None:
        _check_start(recipe, init_from)
    network = build_network(
        recipe,
        taxonomy,
        SCRATCH if init_from else weights,
        dropout=recipe.dropout,
        text_dropout=recipe.text_dropout,
        size_px=recipe.input_px if init_from is None else init_from.preprocess.size_px,
    )
    if init_from is None:
        pretrained = packaged_weights(recipe.backbone) or "timm's pretrained"
        origin = pretrained if weights is None else Path(weights).name
    else:
        places = WordPlaces.between(init_from.taxonomy, taxonomy)
        carry_over(init_from, network, places)
        if first_process() and (sentence := remark(init_from, places)):
            logger.info(sentence)
        resize(timm_model(network.backbone), recipe.backbone, recipe.input_px)
        origin = f"bundle {init_from.digest}"
    _try_photo(network, recipe)
    return network, origin


def weights_licence(recipe: Recipe, weights: str | Path | None, init_from: ModelBundle | None) -> str:
    """The licence of the pretrained weights that a run starts from, for the model card."""
    if init_from is not None:
        return str(init_from.provenance.get("weights_licence", UNKNOWN))
    if weights is None:
        return licence(recipe.backbone)
    return NO_WEIGHTS if str(weights) == SCRATCH else UNKNOWN


def _check_start(recipe: Recipe, start: ModelBundle) -> None:
    """Raise `ConfigError` if a run of `recipe` cannot start from the bundle `start`."""
    expected, actual = recipe.architecture, start.spec.network
    differences = [
        f"  {name}: {getattr(actual, name)} in the bundle, {getattr(expected, name)} in the recipe"
        for name in sorted(Architecture.model_fields.keys() - MAY_DIFFER)
        if getattr(expected, name) != getattr(actual, name)
    ]
    if differences:
        raise ConfigError(
            f"{start.path} has another architecture than recipe {recipe.name}:\n" + "\n".join(differences)
        )
    if not actual.shared:
        raise ConfigError(
            f"{start.path} has two networks (shared = false), but a run can start from a single one only: "
            "leave out --init-from."
        )


def _try_photo(network: Network, recipe: Recipe) -> None:
    """Try a blank photo: some transformers accept one size only, and deep networks reduce small photos to nothing.

    Parameters of the backbone that the features do not depend on (layers behind the last stage that is pooled) are
    frozen, because training in several processes waits for the gradient of every other parameter.
    """
    try:
        features = network.eval().features(torch.zeros(1, 3, *recipe.input_px))
        torch.autograd.backward(features.sum())
    except (RuntimeError, AssertionError, ValueError) as error:
        raise refused_size(recipe.backbone, recipe.input_px, own_size(timm_model(network.backbone)), error) from None
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    network.zero_grad()
    network.train()
