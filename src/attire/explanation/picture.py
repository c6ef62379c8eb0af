"""Draw an explanation: the photo, the photo under its heat map, and a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from attire.errors import ConfigError
from attire.storage import storing

PANEL_PX, MARGIN, LINE_PX = (360, 420), 14, 21
STYLES = (("#0f172a", 18), ("#64748b", 14), ("#b91c1c", 14))  # colour and size of title, note and warning
# Inferno (van der Walt and Smith, matplotlib): perceptually uniform, and readable with any colour vision.
INFERNO = "000004 160b39 420a68 6a176e 932667 bc3754 dd513a f37819 fca50a f6d746 fcffa4"
_STOPS = np.array([[int(stop[i : i + 2], 16) for i in (0, 2, 4)] for stop in INFERNO.split()], dtype=np.float32)


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map heat in [0, 1] to RGB colours uint8[..., 3]."""
    positions = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(heat, positions, channel).round() for channel in _STOPS.T], axis=-1).astype(np.uint8)


def overlay(photo: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Blend the photo in grey with the colours of `heat`, float32[h, w] of the same size."""
    grey = ImageOps.grayscale(photo).convert("RGB")
    return Image.blend(grey, Image.fromarray(colours(heat)), 0.6)


def picture(photo: Image.Image, heat: NDArray[np.float32], *lines: str) -> Image.Image:
    """Draw the photo next to the photo under its heat map, with up to three `lines` below: title, note and warning.

    Empty lines are skipped.
    """
    size = ImageOps.contain(photo, PANEL_PX).size
    small = photo.resize(size, Image.Resampling.LANCZOS)
    hot = overlay(small, np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)))
    texts = [(line, *style) for line, style in zip(lines, STYLES, strict=True) if line]
    fonts = [ImageFont.load_default(points) for _, _, points in texts]
    text_width = max(font.getlength(text) for (text, _, _), font in zip(texts, fonts, strict=True))
    width = math.ceil(max(2 * size[0] + MARGIN, text_width)) + 2 * MARGIN
    sheet = Image.new("RGB", (width, size[1] + LINE_PX * len(lines) + 3 * MARGIN), "white")
    sheet.paste(small, (MARGIN, MARGIN))
    sheet.paste(hot, (2 * MARGIN + size[0], MARGIN))
    draw = ImageDraw.Draw(sheet)
    for number, ((text, ink, _), font) in enumerate(zip(texts, fonts, strict=True)):
        draw.text((MARGIN, size[1] + 2 * MARGIN + number * LINE_PX), text, fill=ink, font=font)
    return sheet


def grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """Arrange pictures in a grid that is as square as possible."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = (max(side) for side in zip(*(picture.size for picture in pictures), strict=True))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    return sheet


def save(picture: Image.Image, out: Path) -> None:
    """Save the picture; raises `ConfigError` for an unknown file type and `StorageError` if it cannot be stored."""
    try:
        with storing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            picture.save(out)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write {out}: {error}. Expected --out FILE.png in a writable directory.") from error
