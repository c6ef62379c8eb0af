"""What computes logits from pixels: a small protocol, so that a faster engine (or a fake) can take torch's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle

Floats = NDArray[np.float32]


class Engine(Protocol):
    """Computes a bundle's logits."""

    def logits(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Category float32[B, C] and attributes float32[B, K], from normalised pixels float32[B, 3, H, W]."""


class TorchEngine:
    """The bundle's network in float32, on the GPU where there is one."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = bundle.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(self, pixels: Floats) -> tuple[Floats, Floats]:
        batch = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            found = self.network(batch)
        return found.category.float().cpu().numpy(), found.attributes.float().cpu().numpy()


ENGINES: dict[str, Callable[[ModelBundle], Engine]] = {"torch": TorchEngine}
