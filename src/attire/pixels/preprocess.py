"""From an upright RGB photo to a network's pixels. Travels with the weights: the only place with a mean or a size."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from attire.config import Side

Deviation = Annotated[float, Field(gt=0)]
FRAME_PIXELS = 100_000_000  # as many as a photo may have
WHITE = (255, 255, 255)  # product photos stand on white, so padding should too
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess(BaseModel):
    """Frames, resizes and normalises a photo.

    `fit` brings the photo to the aspect ratio of `size_px` (height, width): `pad` adds white, `crop` cuts the ends off,
    `squash` distorts. `mean` and `std` are per RGB channel, for pixels in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size_px: tuple[Side, Side]
    mean: tuple[float, float, float]
    std: tuple[Deviation, Deviation, Deviation]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    fit: Literal["pad", "squash", "crop"] = "pad"

    @classmethod
    def for_backbone(
        cls, config: dict[str, Any], size_px: tuple[int, int], fit: Literal["pad", "squash", "crop"]
    ) -> Preprocess:
        """With the normalisation of a timm data config (`timm.data.resolve_model_data_config`)."""
        interpolation: Literal["bilinear", "bicubic"] = (
            "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        )
        return cls(size_px=size_px, mean=config["mean"], std=config["std"], interpolation=interpolation, fit=fit)

    def frame(self, photo: Image.Image) -> Image.Image:
        """The photo at the target's aspect ratio (up to rounding), not yet resized."""
        if self.fit == "squash":
            return photo
        framed = self._framed(*photo.size)
        if framed == photo.size:
            return photo
        if self.fit == "crop":
            return ImageOps.fit(photo, framed)
        if framed[0] * framed[1] > FRAME_PIXELS:  # around a strip: of 65,000 x 100 px it would take 17 GB
            shrink = math.sqrt(FRAME_PIXELS / (framed[0] * framed[1]))
            width, height = (max(1, int(side * shrink)) for side in photo.size)
            photo, framed = photo.resize((width, height)), self._framed(width, height)
        return ImageOps.pad(photo, framed, color=WHITE)

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box (left, top, right, bottom) that `frame` shows of a photo of that size, in the photo's px.

        Padding lies outside the photo: there left or top are negative.
        """
        if self.fit == "squash":
            return 0, 0, width, height
        w, h = self._framed(width, height)
        left, top = round((width - w) / 2), round((height - h) / 2)
        return left, top, left + w, top + h

    def resize(self, photo: Image.Image) -> NDArray[np.uint8]:
        """uint8[3, H, W], framed and resized."""
        height, width = self.size_px
        resized = self.frame(photo).resize((width, height), FILTERS[self.interpolation])
        return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 of the same shape [..., 3, H, W], from uint8."""
        scale = (1 / (255 * np.array(self.std, dtype=np.float64))).astype(np.float32)[:, None, None]
        shift = (np.array(self.mean) / np.array(self.std)).astype(np.float32)[:, None, None]
        return np.asarray(pixels.astype(np.float32) * scale - shift)

    def __call__(self, photo: Image.Image) -> NDArray[np.float32]:
        """float32[3, H, W], framed, resized and normalised."""
        return self.normalise(self.resize(photo))

    def _framed(self, w: int, h: int) -> tuple[int, int]:
        """Width and height of the frame around (pad) or within (crop) a photo of that size."""
        height, width = self.size_px
        if self.fit == "pad":
            return max(w, round(h * width / height)), max(h, round(w * height / width))
        return min(w, round(h * width / height)) or 1, min(h, round(w * height / width)) or 1
