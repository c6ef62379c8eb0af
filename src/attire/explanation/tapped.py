"""A backbone's features, computed so that they depend on one of its maps: the one that heat maps are drawn on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from attire.errors import ConfigError
from attire.model.joined import Joined
from attire.model.last_stages import after_last_stage
from attire.model.multiscale import MultiScale, has_tokens, own_vector, timm_model


def features_of(backbone: nn.Module, pixels: Tensor, tap: nn.Module) -> Tensor:
    """The features of float32[B, 3, H, W], as of `backbone`; `tap` gets the map, float32[B, C, h, w], and returns it.

    Only what follows the map is differentiated. Raises `ConfigError` if that part cannot be computed alone.
    """
    if isinstance(backbone, Joined):
        raise ConfigError(
            "a blend has several networks, whose answers cannot be located on one map. Explain one of the bundles that "
            "it was made of."
        )
    compute = _from_tokens if has_tokens(timm_model(backbone)) else _from_last_stage
    try:
        features, expected = compute(backbone, pixels, tap)
        equal = torch.allclose(features.detach(), expected, rtol=1e-3, atol=1e-3)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # another layout than that of most timm models
        equal = False
    if not equal:
        raise ConfigError(
            f"{type(timm_model(backbone)).__name__} computes its features in a way that hides where they come from, so "
            "its answers cannot be located. Use a bundle with another backbone (resnet50, or a plain ViT)."
        )
    return features


def _from_last_stage(backbone: nn.Module, pixels: Tensor, tap: nn.Module) -> tuple[Tensor, Tensor]:
    """The map is the output of the last stage. Also returns the features as the backbone computes them."""
    if not isinstance(backbone, MultiScale):
        with torch.no_grad():
            last: Tensor = backbone.forward_features(pixels)  # type: ignore[operator]
        if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
            last = tap(last.permute(0, 3, 1, 2).requires_grad_()).permute(0, 2, 3, 1)
        else:
            last = tap(last.requires_grad_())
        features: Tensor = backbone.forward_head(last)  # type: ignore[operator]
        return features, features.detach()
    with torch.no_grad():
        maps, expected = _maps_and_features(backbone, backbone.backbone, pixels)
    tapped = tap(maps[-1].requires_grad_())
    pooled = backbone.pool([*maps[:-1], tapped])
    if not backbone.own:
        return pooled, expected
    rest = after_last_stage(backbone, pixels[:1])
    behind, _ = rest.forward_intermediates(tapped, indices=1)  # type: ignore[operator]
    return torch.cat([pooled, own_vector(rest, behind)], dim=1), expected


def _from_tokens(backbone: nn.Module, pixels: Tensor, tap: nn.Module) -> tuple[Tensor, Tensor]:
    """The map is that of the patches that enter the last block, which still are where they were in the photo."""
    model: Any = timm_model(backbone)
    entrance = _Entrance(model.blocks[-1])
    with torch.no_grad():
        maps, expected = _maps_and_features(backbone, _with_last_block(model, entrance), pixels)
    size = model.patch_embed.dynamic_feat_size(tuple(pixels.shape[2:]))
    prefix = model.num_prefix_tokens  # class token and registers
    tapped = tap(_as_map(entrance.tokens[:, prefix:], size).requires_grad_())
    tokens = entrance.repeat(torch.cat([entrance.tokens[:, :prefix], tapped.flatten(2).transpose(1, 2)], dim=1))
    last = model.norm(tokens)
    if not isinstance(backbone, MultiScale):
        return model.forward_head(last), expected
    # What enters the last block is pooled as the output of the block before.
    pooled = backbone.pool([*maps[:-2], tapped, _as_map(tokens[:, prefix:], size)])
    return torch.cat([pooled, own_vector(model, last)], dim=1) if backbone.own else pooled, expected


def _maps_and_features(backbone: nn.Module, model: Any, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The maps that are pooled, if any, and the features; `model` is the backbone's timm model, or a copy of it."""
    if not isinstance(backbone, MultiScale):
        return [], model.forward_head(model.forward_features(pixels))
    last, maps = model.forward_intermediates(pixels, indices=backbone.stages)
    pooled = backbone.pool(maps)
    return maps, torch.cat([pooled, own_vector(model, last)], dim=1) if backbone.own else pooled


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """float32[B, h * w, C] -> float32[B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], *size)


def _with_last_block(model: Any, block: nn.Module) -> nn.Module:
    """A shallow copy of `model` with another last block; all other modules are shared."""
    clone, blocks = copy.copy(model), copy.copy(model.blocks)
    blocks._modules = {**blocks._modules, str(len(blocks) - 1): block}
    clone._modules = {**model._modules, "blocks": blocks}
    return clone  # type: ignore[no-any-return]


class _Entrance(nn.Module):
    """Keeps what enters a block: tokens float32[B, N, C], and further arguments such as positions."""

    tokens: Tensor

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.args: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}

    def forward(self, tokens: Tensor, *args: Any, **named: Any) -> Any:
        self.tokens, self.args, self.named = tokens, args, named
        return self.block(tokens, *args, **named)

    def repeat(self, tokens: Tensor) -> Tensor:
        """Run the block on other tokens."""
        output: Tensor = self.block(tokens, *self.args, **self.named)
        return output
