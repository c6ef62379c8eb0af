"""Draw an explanation: the photo, the photo under its heat map, a caption, and similar photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from attire.errors import ConfigError, PhotoError
from attire.photos.image import open_photo
from attire.storage import storing

PANEL_PX, MARGIN, LINE_PX = (360, 420), 14, 21
# Colour and size of title, note, warning and opinion.
STYLES = (("#0f172a", 18), ("#64748b", 14), ("#b91c1c", 14), ("#0f172a", 14))
SIMILAR_PX, CAPTION = (136, 156), 12  # a similar photo, and the size of its caption
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


def picture(
    photo: Image.Image,
    heat: NDArray[np.float32],
    lines: Sequence[str],
    similar: Sequence[tuple[Path, str]] = (),
) -> Image.Image:
    """Draw the photo next to the photo under its heat map, with up to four `lines` below, and the `similar` photos.

    lines: title, note, warning and opinion; empty ones are skipped. similar: photos and their captions.
    """
    size = ImageOps.contain(photo, PANEL_PX).size
    small = photo.resize(size, Image.Resampling.LANCZOS)
    hot = overlay(small, np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)))
    texts = [(line, *style) for line, style in zip(lines, STYLES, strict=False) if line]
    fonts = [ImageFont.load_default(points) for _, _, points in texts]
    row = _captioned(similar)
    text_width = max(font.getlength(text) for (text, _, _), font in zip(texts, fonts, strict=True))
    width = math.ceil(max(2 * size[0] + MARGIN, text_width, 0 if row is None else row.width)) + 2 * MARGIN
    below = size[1] + LINE_PX * max(len(texts), 3) + 3 * MARGIN
    sheet = Image.new("RGB", (width, below + (0 if row is None else row.height)), "white")
    sheet.paste(small, (MARGIN, MARGIN))
    sheet.paste(hot, (2 * MARGIN + size[0], MARGIN))
    draw = ImageDraw.Draw(sheet)
    for number, ((text, ink, _), font) in enumerate(zip(texts, fonts, strict=True)):
        draw.text((MARGIN, size[1] + 2 * MARGIN + number * LINE_PX), text, fill=ink, font=font)
    if row is not None:
        sheet.paste(row, (MARGIN, below))
    return sheet


def _captioned(photos: Sequence[tuple[Path, str]]) -> Image.Image | None:
    """The photos in a row, each above its caption; None without any. One that can no longer be read stays blank."""
    if not photos:
        return None
    (width, height), font = SIMILAR_PX, ImageFont.load_default(CAPTION)
    row = Image.new("RGB", (len(photos) * (width + MARGIN), height + 2 * LINE_PX + MARGIN), "white")
    draw = ImageDraw.Draw(row)
    for number, (path, caption) in enumerate(photos):
        left = number * (width + MARGIN)
        try:
            small = ImageOps.contain(open_photo(path, target_px=SIMILAR_PX), SIMILAR_PX)
            row.paste(small, (left + (width - small.width) // 2, (height - small.height) // 2))
        except PhotoError:
            pass
        for line, text in enumerate(_lines(caption, font, width)):
            draw.text((left, height + 4 + line * LINE_PX), text, fill=STYLES[0][0], font=font)
    return row


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text on at most two lines of `width` px; what does not fit is cut off."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > 2:
        lines[1:] = [" ".join(lines[1:])]
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    kept = len(line)
    while kept and font.getlength(line[:kept] + "…") > width:
        kept -= 1
    return line[:kept] + "…"


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
