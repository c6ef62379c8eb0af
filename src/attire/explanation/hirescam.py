"""HiResCAM as a method of torchcam. Imports torchcam, which is an extra."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchcam.methods import GradCAM


class HiResCAM(GradCAM):
    """Activation times its own gradient, summed over channels, where positive (Draelos and Carin, 2020).

    Grad-CAM first averages the gradient over the map. Behind mean pooling that is the same; behind a maximum it spreads
    what one place said over all places.
    """

    def _get_weights(self, class_idx: int | list[int], scores: Tensor, **kwargs: Any) -> list[Tensor]:
        super()._get_weights(class_idx, scores, **kwargs)
        return self.hook_g
