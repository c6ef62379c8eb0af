"""Random augmentation for training. Hue and saturation are unchanged, because colour is an attribute."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from attire.pixels.preprocess import FILTERS, Preprocess

Augment = Callable[[Image.Image], NDArray[np.uint8]]  # an upright RGB photo -> uint8[3, H, W]
AREA = 0.65  # minimum area of a crop, as a share of the frame
STRETCH = 0.85  # minimum aspect ratio of a crop, relative to the frame; the maximum is its inverse
TRIES = 10
JITTER = 0.15  # maximum change of brightness and of contrast


def none(preprocess: Preprocess) -> Augment:
    """No augmentation: the photo as in prediction."""
    return preprocess.resize


def light(preprocess: Preprocess) -> Augment:
    """Mild zoom and shift, horizontal flip, and a little brightness and contrast."""
    return partial(_view, preprocess)


def _view(preprocess: Preprocess, photo: Image.Image) -> NDArray[np.uint8]:
    framed = preprocess.frame(photo)
    height, width = preprocess.size_px
    view = framed.resize((width, height), FILTERS[preprocess.interpolation], box=_box(*framed.size))
    mirror, *jitter = torch.rand(3).tolist()
    pixels = np.asarray(view.point(_curve(view, *jitter)), dtype=np.uint8)
    return np.ascontiguousarray((pixels[:, ::-1] if mirror < 0.5 else pixels).transpose(2, 0, 1))


def _curve(view: Image.Image, light: float, contrast: float) -> list[int]:
    """A lookup table for the levels of the three channels, from random numbers in [0, 1] for brightness and contrast.

    One table, because a pass over the pixels for each of the two would take as long as resizing.
    """
    histogram = np.array(view.convert("L").histogram())
    middle = float((histogram * np.arange(256)).sum() / histogram.sum())
    gain, spread = (1 + JITTER * (2 * draw - 1) for draw in (light, contrast))
    levels = gain * (middle + spread * (np.arange(256) - middle))
    table: list[int] = levels.round().clip(0, 255).astype(int).tolist()
    return 3 * table


def _box(width: int, height: int) -> tuple[float, float, float, float]:
    """A random crop of a frame, drawn like torchvision's `RandomResizedCrop`.

    Drawn relative to the frame and not in px, so that a cached, scaled photo gets the same crop as the original.
    """
    draws = torch.rand(TRIES, 2).tolist()
    sides = [
        (math.sqrt(area * ratio), math.sqrt(area / ratio))
        for area, ratio in ((AREA + (1 - AREA) * a, STRETCH ** (2 * r - 1)) for a, r in draws)
    ]
    w, h = next((side for side in sides if max(side) <= 1), (1.0, 1.0))
    left, top = (share * (1 - side) for share, side in zip(torch.rand(2).tolist(), (w, h), strict=True))
    return left * width, top * height, (left + w) * width, (top + h) * height


AUGMENTS: dict[str, Callable[[Preprocess], Augment]] = {"light": light, "none": none}
