"""Draw fabric: a base colour with variation, a pattern, and the shading and folds of hanging cloth."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
# Hue in degrees, saturation and lightness of each colour family, distinguishable even with variation.
COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (230, 0.05, 0.14),
    "white": (40, 0.10, 0.93),
    "grey": (220, 0.03, 0.55),
    "red": (355, 0.72, 0.46),
    "orange": (28, 0.88, 0.55),
    "yellow": (50, 0.85, 0.58),
    "green": (135, 0.50, 0.36),
    "blue": (214, 0.65, 0.46),
    "purple": (275, 0.48, 0.44),
    "pink": (335, 0.70, 0.78),
}
PATTERNS = ("solid", "striped", "checked", "dotted")


def colour_of(family: str, random: np.random.Generator) -> RGB:
    """A random colour of the family."""
    hue, saturation, lightness = COLOURS[family]
    hue += random.uniform(-6, 6)
    lightness = float(np.clip(lightness + random.uniform(-0.035, 0.035), 0.04, 0.96))
    red, green, blue = colorsys.hls_to_rgb((hue % 360) / 360, lightness, saturation * random.uniform(0.88, 1.1) % 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def darker(colour: RGB, factor: float) -> RGB:
    """The colour with its brightness multiplied by `factor`."""
    red, green, blue = (int(np.clip(channel * factor, 0, 255)) for channel in colour)
    return red, green, blue


def weave(pattern: str, colour: RGB, size_px: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """A sheet of cloth of `size_px` (width, height)."""
    cloth = Image.new("RGB", size_px, colour)
    draw = ImageDraw.Draw(cloth)
    light = sum(colour) > 330
    accent = darker(colour, 0.5) if light else (232, 232, 226)
    width, height = size_px
    step = width / random.uniform(15, 19)
    thick = max(2, int(step * 0.3))
    if pattern in ("striped", "checked"):
        for y in np.arange(random.uniform(0, step), height, step):
            draw.line([(0, float(y)), (width, float(y))], fill=accent, width=thick)
    if pattern == "checked":
        for x in np.arange(random.uniform(0, step), width, step):
            draw.line([(float(x), 0), (float(x), height)], fill=accent, width=thick)
    if pattern == "dotted":
        radius = step * 0.26
        for row, y in enumerate(np.arange(0, height, step * 0.9)):
            for x in np.arange(step / 2 * (row % 2), width, step):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=accent)
    return cloth


def shade(cloth: Image.Image, mask: Image.Image, edge_px: float, random: np.random.Generator) -> Image.Image:
    """The cloth darker within `edge_px` of the edges of `mask`, with a few soft folds."""
    width, height = mask.size
    inner = mask.filter(ImageFilter.BoxBlur(edge_px))
    light = np.asarray(inner, dtype=np.float32) / 255 * 0.26 + 0.78
    x, y = np.linspace(0, 1, width, dtype=np.float32), np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    for _ in range(4):
        centre, lean, depth = random.uniform(0.2, 0.8), random.uniform(-0.25, 0.25), random.uniform(0.02, 0.06)
        light -= depth * np.exp(-(((x - centre - lean * y) / 0.04) ** 2))  # float32: numpy keeps the arrays' type
    shaded = np.asarray(cloth, dtype=np.float32) * np.clip(light, 0.4, 1.04)[..., None]
    return Image.fromarray(np.clip(shaded, 0, 255).astype(np.uint8))
