"""Normalisation as the first layer of a network, so that pixels are copied to the device as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attire.pixels.preprocess import Preprocess


class Normalise(nn.Module):
    """uint8[B, 3, H, W] -> float32 of the same shape, equal to `Preprocess.normalise`. It has no saved state."""

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        std = np.array(preprocess.std, dtype=np.float64)
        self.register_buffer("scale", _per_channel(1 / (255 * std)), persistent=False)
        self.register_buffer("shift", _per_channel(-np.array(preprocess.mean) / std), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.addcmul(self.shift, pixels.float(), self.scale)


class FromBytes(nn.Module):
    """`Normalise` followed by `network`: takes uint8[B, 3, H, W], and titles if the network reads them."""

    def __init__(
        self, network: nn.Module, preprocess: Preprocess, memory_format: torch.memory_format = torch.channels_last
    ) -> None:
        """Channels-last is the fastest format for convolutions."""
        super().__init__()
        self.normalise, self.network, self.memory_format = Normalise(preprocess), network, memory_format

    def forward(self, pixels: Tensor, *text: Tensor) -> Any:
        # Converting bytes is cheaper than converting floats.
        return self.network(self.normalise(pixels.contiguous(memory_format=self.memory_format)), *text)


def _per_channel(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values).float()[:, None, None]
