"""HiResCAM as a torchcam method. Requires torchcam, an optional dependency."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchcam.methods import GradCAM


class HiResCAM(GradCAM):
    """Activation times gradient, summed over channels, positive values only (Draelos and Carin, 2020).

    Grad-CAM averages the gradient over the map first. With mean pooling the result is the same; with max pooling it
    would spread the evidence of one position over the whole map.
    """

    def _get_weights(self, class_idx: int | list[int], scores: Tensor, **kwargs: Any) -> list[Tensor]:
        super()._get_weights(class_idx, scores, **kwargs)
        return self.hook_g
