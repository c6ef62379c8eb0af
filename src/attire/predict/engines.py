"""What computes logits from pixels: a small protocol, so that a faster engine (or a fake) can take torch's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.pixels.normalise import Normalise

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ids = NDArray[np.int32]


class Engine(Protocol):
    """Computes a bundle's logits."""

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        """Category float32[B, C] and attributes float32[B, K], from pixels uint8[B, 3, H, W] (`Preprocess.resize`)."""


@runtime_checkable
class TitleEngine(Engine, Protocol):
    """Computes the logits of a bundle that reads titles, too."""

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        """As `logits`, from titles too: int32[B, T] by the bundle's `title_reader`; without pixels from them alone."""


class TorchEngine:
    """The bundle's network in float32, on the GPU where there is one."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = bundle.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalise = Normalise(bundle.preprocess).to(self.device)

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        return self._logits(pixels, None)

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        return self._logits(pixels, text)

    def _logits(self, pixels: Bytes | None, text: Ids | None) -> tuple[Floats, Floats]:
        batch = None
        if pixels is not None:
            photos = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            batch = self.normalise(photos)
        titles = None if text is None else torch.from_numpy(text).to(self.device)
        with torch.inference_mode():
            found = self.network(batch, titles)
        return found.category.float().cpu().numpy(), found.attributes.float().cpu().numpy()


ENGINES: dict[str, Callable[[ModelBundle], Engine]] = {"torch": TorchEngine}
