"""Several backbones as one, whose features are those of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attire.model.input_size import data_config
from attire.model.multiscale import feature_width

SEPARATOR = "+"  # between the names of backbones


class Joined(nn.Module):
    """The features of several backbones side by side: float32[B, 3, H, W] -> float32[B, F].

    Pixels are normalised for the first backbone, and here anew for each of the others.
    """

    def __init__(self, backbones: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(backbones)
        self.pretrained_cfg = backbones[0].pretrained_cfg
        self.num_features = sum(map(feature_width, backbones))
        mean, std = _statistics(backbones[0])
        own = [_statistics(part) for part in backbones]
        scale, shift = torch.stack([std / s for _, s in own]), torch.stack([(mean - m) / s for m, s in own])
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        parts = zip(self.parts, self.get_buffer("scale"), self.get_buffer("shift"), strict=True)
        return torch.cat([part(torch.addcmul(shift, pixels, scale)) for part, scale, shift in parts], dim=1)


def _statistics(backbone: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the pixels that the backbone expects, float32[3, 1, 1] each."""
    config = data_config(backbone)
    mean, std = (torch.tensor(config[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
    return mean, std
