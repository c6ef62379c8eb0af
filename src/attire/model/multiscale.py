"""Features from several stages of a backbone, and from the vector that the backbone itself was trained to pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from attire.errors import ConfigError


class MultiScale(nn.Module):
    """Mean and max pooling over a backbone's last stages, then a square root: float32[B, 3, H, W] -> float32[B, F].

    Earlier stages hold colour, texture and small details, which the backbone's own pooling does not see. The signed
    square root evens out activations of very different size (Perronnin et al., "Improving the Fisher kernel", 2010).
    The stages of a transformer are its blocks. With `own`, the vector that the backbone pools itself is appended.
    """

    def __init__(self, backbone: nn.Module, stages: int = 3, *, own: bool = False) -> None:
        """Raises `ConfigError` for a backbone that does not expose its stages (`forward_intermediates` in timm)."""
        super().__init__()
        if not hasattr(backbone, "forward_intermediates"):
            raise ConfigError('this backbone has no stages to pool. Use another backbone, or pooling = "last".')
        self.backbone, self.stages, self.own = backbone, stages, own
        self.pretrained_cfg = backbone.pretrained_cfg
        self.num_features = 2 * sum(info["num_chs"] for info in backbone.feature_info[-stages:])  # type: ignore[index]
        self.num_features += feature_width(backbone) if own else 0

    def forward(self, pixels: Tensor) -> Tensor:
        return self.features_of(self.backbone, pixels, self.stages)

    def features_of(self, backbone: nn.Module, inputs: Tensor, stages: int) -> Tensor:
        """The features that end `forward`: those of the last `stages`, and the own vector.

        `backbone` is the whole one, or a part of it that continues from a map.
        """
        if not self.own:
            return self.pool(_maps(backbone, inputs, stages))
        last, maps = backbone.forward_intermediates(inputs, indices=stages)  # type: ignore[operator]
        return torch.cat([self.pool(maps), own_vector(backbone, last)], dim=1)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Outputs of the last stages, each float32[B, channels, h, w]."""
        return _maps(self.backbone, pixels, self.stages)

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool the maps into features, float32[B, F]."""
        pooled = torch.cat([pool for x in maps for pool in (x.mean((2, 3)), x.amax((2, 3)))], dim=1).float()
        return pooled.sign() * pooled.abs().clamp(min=1e-6).sqrt()  # clamped: the gradient is infinite at zero


def timm_model(backbone: nn.Module) -> nn.Module:
    """The timm model in a network's backbone, which may pool several of its stages."""
    return backbone.backbone if isinstance(backbone, MultiScale) else backbone


def has_tokens(backbone: nn.Module) -> bool:
    """Whether the backbone is, or contains, a transformer that turns a photo into a list of tokens instead of a map."""
    return any(hasattr(module, "num_prefix_tokens") for module in backbone.modules())


def default_pooling(backbone: nn.Module) -> Literal["multiscale", "both"]:
    """What pooling = "auto" means for a timm model.

    Transformers learn to gather what matters in one token or by attention, and the hybrids of MobileCLIP in their last
    convolution; both are behind the last stage.
    """
    return "both" if has_tokens(backbone) or hasattr(backbone, "final_conv") else "multiscale"


def training_format(backbone: nn.Module) -> torch.memory_format:
    """The memory format to train a timm model in: channels-last, which is the fastest one for convolutions.

    FastViT is an exception: on CPUs its backward pass in that format ends in a segmentation fault (torch 2.13).
    """
    crashes = type(backbone).__name__ == "FastVit" and not torch.cuda.is_available()
    return torch.contiguous_format if crashes else torch.channels_last


def own_vector(backbone: nn.Module, last: Tensor) -> Tensor:
    """What the backbone pools from its output `last` of `forward_features`: float32[B, `feature_width`].

    A class token is preferred to the mean over patches (DINOv3 in timm), which `MultiScale` has already.
    """
    attends = getattr(backbone, "attn_pool", None) is not None
    if has_tokens(backbone) and not attends and getattr(backbone, "cls_token", None) is not None and last.ndim == 3:
        token: Tensor = last[:, 0]
        return (backbone.fc_norm(token) if hasattr(backbone, "fc_norm") else token).float()  # type: ignore[operator]
    pooled: Tensor = backbone.forward_head(last)  # type: ignore[operator]
    return pooled.float()


def feature_width(backbone: nn.Module) -> int:
    """Number of features F. Some backbones have a layer after pooling, whose width timm's `num_features` ignores."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def _maps(backbone: nn.Module, inputs: Tensor, stages: int) -> list[Tensor]:
    maps: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
        inputs, indices=stages, intermediates_only=True
    )
    return maps
