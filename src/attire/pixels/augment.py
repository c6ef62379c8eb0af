"""Random views of a photo for training. Hue and saturation stay as they are: colour is an attribute."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attire.pixels import ops  # noqa: F401
from attire.pixels.preprocess import Preprocess

from torchvision.transforms import InterpolationMode, v2  # isort: skip  (after ops)

Augment = Callable[[Image.Image], NDArray[np.uint8]]  # an upright RGB photo -> uint8[3, H, W]


def none(preprocess: Preprocess) -> Augment:
    """The photo as prediction sees it."""
    return preprocess.resize


def light(preprocess: Preprocess) -> Augment:
    """Mild zoom and shift, mirror, and a little light and contrast."""
    aspect = preprocess.size_px[1] / preprocess.size_px[0]
    view = v2.Compose(
        [
            v2.RandomResizedCrop(
                preprocess.size_px,
                scale=(0.65, 1.0),
                ratio=(0.85 * aspect, aspect / 0.85),
                interpolation=InterpolationMode(preprocess.interpolation),
            ),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.15, contrast=0.15),
        ]
    )

    return partial(_view, preprocess, view)


def _view(preprocess: Preprocess, view: v2.Transform, photo: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(view(preprocess.frame(photo)), dtype=np.uint8).transpose(2, 0, 1))


AUGMENTS: dict[str, Callable[[Preprocess], Augment]] = {"light": light, "none": none}
