"""Preprocessing from an upright RGB photo to network input: size, framing and normalisation. Saved with the weights."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from attire.config import Side

Deviation = Annotated[float, Field(gt=0)]
FRAME_PIXELS = 100_000_000  # the limit for a photo, see `attire.photos.image`
WHITE = (255, 255, 255)  # padding, because product photos have a white background
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess(BaseModel):
    """Frames, resizes and normalises photos.

    `fit` changes the aspect ratio to that of `size_px` (height, width): `pad` adds white, `crop` cuts off the edges,
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
        """Use the normalisation and interpolation of a timm config (`timm.data.resolve_model_data_config`)."""
        interpolation: Literal["bilinear", "bicubic"] = (
            "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        )
        return cls(size_px=size_px, mean=config["mean"], std=config["std"], interpolation=interpolation, fit=fit)

    def frame(self, photo: Image.Image) -> Image.Image:
        """The photo at the target aspect ratio (up to rounding), not yet resized."""
        if self.fit == "squash":
            return photo
        frame = self._frame_size(*photo.size)
        if frame == photo.size:
            return photo
        if self.fit == "crop":
            return ImageOps.fit(photo, frame)
        if frame[0] * frame[1] > FRAME_PIXELS:  # padding a strip of 65,000 x 100 px would take 17 GB
            shrink = math.sqrt(FRAME_PIXELS / (frame[0] * frame[1]))
            width, height = (max(1, int(side * shrink)) for side in photo.size)
            photo, frame = photo.resize((width, height)), self._frame_size(width, height)
        return ImageOps.pad(photo, frame, color=WHITE)

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box (left, top, right, bottom) in px of a photo that `frame` shows.

        With padding, left or top is negative.
        """
        if self.fit == "squash":
            return 0, 0, width, height
        w, h = self._frame_size(width, height)
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

    def _frame_size(self, w: int, h: int) -> tuple[int, int]:
        """Width and height of the frame around (pad) or within (crop) a photo of that size."""
        height, width = self.size_px
        if self.fit == "pad":
            return max(w, round(h * width / height)), max(h, round(w * height / width))
        return min(w, round(h * width / height)) or 1, min(h, round(w * height / width)) or 1
