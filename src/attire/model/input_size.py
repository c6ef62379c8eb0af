"""The size of photos that a backbone takes: its own, others that it can be rebuilt for, and the nearest of these.

Transformers learn an embedding for each position of a grid of patches. timm resamples them to another grid.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from attire.errors import ConfigError
from attire.pixels import torchvision_ops  # noqa: F401

import timm  # isort: skip  (after ops)
from timm.data import resolve_model_data_config  # isort: skip
from timm.models import get_model_input_config  # isort: skip


def data_config(backbone: nn.Module) -> dict[str, Any]:
    """Input size, normalisation and interpolation that timm recommends for the backbone."""
    config: dict[str, Any] = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
    return config


def own_size(backbone: nn.Module) -> tuple[int, int]:
    """Height and width of the photos that the backbone was trained on."""
    height, width = getattr(backbone, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-2:]
    return int(height), int(width)


def patch_size(backbone: nn.Module) -> tuple[int, int]:
    """Height and width of the patches that photos are divided into; (1, 1) if the backbone takes photos of any size."""
    patches: Any = getattr(backbone, "patch_embed", None)
    if not hasattr(backbone, "set_input_size") or not hasattr(patches, "feat_ratio"):
        return 1, 1
    height, width = patches.feat_ratio(as_scalar=False)
    return int(height), int(width)


def nearest_size(backbone: nn.Module, size_px: tuple[int, int]) -> tuple[int, int]:
    """The size nearest to `size_px` (height, width) that consists of whole patches, at least one.

    timm ignores what lies beyond the last whole patch, or refuses it.
    """
    height, width = (
        max(1, (2 * side + patch) // (2 * patch)) * patch
        for side, patch in zip(size_px, patch_size(backbone), strict=True)
    )
    return height, width


def resize(backbone: nn.Module, name: str, size_px: tuple[int, int]) -> None:
    """Rebuild `backbone` in place for photos of `size_px` (height, width), if it does not take them as it is.

    Windows of attention keep the size that they were trained with. Raises `ConfigError` if timm cannot do it, or would
    ignore a part of each photo.
    """
    if nearest_size(backbone, size_px) != size_px:
        height, width = patch_size(backbone)
        reason = ValueError(f"its patches are {height} x {width} px")
        raise refused_size(name, size_px, own_size(backbone), reason)
    current = get_model_input_config(backbone)
    resizable = current["fixed_input_size"] and hasattr(backbone, "set_input_size")
    if not resizable or current["input_size"][1:] == size_px or _takes(backbone, size_px):
        return
    model: Any = backbone
    options: dict[str, Any] = {"img_size": size_px}
    if hasattr(model, "layers") and "window_size" in inspect.signature(model.set_input_size).parameters:
        options["window_size"] = tuple(tuple(stage.blocks[0].window_size) for stage in model.layers)
    try:
        model.set_input_size(**options)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise refused_size(name, size_px, own_size(backbone), error) from None


def refused_size(name: str, size_px: tuple[int, int], own: tuple[int, int], error: Exception) -> ConfigError:
    """An error for a size that the backbone `name` does not accept, because of `error`; `own` is its own size."""
    reason = str(error).partition("\n")[0]
    return ConfigError(
        f"size_px={list(size_px)}: {name} does not accept photos of that size ({reason}). Use another --size-px "
        f"(its own is {own[0]} {own[1]}) or --backbone."
    )


def _takes(backbone: nn.Module, size_px: tuple[int, int]) -> bool:
    training = backbone.training
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, *size_px))
    except (AssertionError, RuntimeError, ValueError):
        return False
    finally:
        backbone.train(training)
    return True


def blueprint(name: str) -> nn.Module:
    """The timm model `name` without its classifier and without memory for its weights: for its layout only."""
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return model
