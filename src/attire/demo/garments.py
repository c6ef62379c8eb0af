"""Draw garments: each category is a silhouette in fabric, with seams, closures and details on top.

Coordinates are in a frame 100 wide and 130 high, with the origin at the top left, before a garment is scaled and moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from attire.demo.fabric import RGB, darker, shade, weave

WIDTH, HEIGHT = 100, 130
Point = tuple[float, float]
SLEEVES = {"sleeveless": 0.0, "short sleeves": 0.42, "long sleeves": 1.0}
HEMS = {"short": 0.0, "knee length": 0.5, "long": 1.0}


@dataclass(frozen=True)
class Garment:
    """The garment to draw, with its true labels. Keys that do not apply to `category` are absent."""

    category: str
    values: dict[str, str]
    details: frozenset[str] = field(default_factory=frozenset)


class Canvas:
    """A white photo at several times its final size, on which a garment is drawn."""

    def __init__(self, size_px: tuple[int, int], colour: RGB, garment: Garment, random: np.random.Generator) -> None:
        """`size_px`: width and height of the canvas."""
        self.colour, self.garment, self.random = colour, garment, random
        self.ink = darker(colour, 0.55)
        self.image = Image.new("RGB", size_px, (252, 252, 252))
        self.cloth = weave(garment.values["pattern"], colour, size_px, random)
        scale = min(size_px[0] / WIDTH, size_px[1] / HEIGHT) * random.uniform(0.86, 0.97)
        self.scale = np.array([scale * random.uniform(0.94, 1.06), scale * random.uniform(0.97, 1.03)])
        self.unit = float(self.scale[0])
        room = np.array(size_px) - self.scale * (WIDTH, HEIGHT)
        self.origin = room / 2 + random.uniform(-0.02, 0.02, 2) * size_px

    def points(self, points: Sequence[Point]) -> list[Point]:
        """Convert points from the garment's frame to pixels."""
        return [(float(x), float(y)) for x, y in np.asarray(points, dtype=float) * self.scale + self.origin]

    def panel(self, points: Sequence[Point]) -> None:
        """Draw a piece of hanging fabric with soft edges and shading."""
        outline = np.array(self.points(points))
        margin = 6 * self.unit  # room for the shadow
        left, top = np.clip(outline.min(0) - margin, 0, None).astype(int).tolist()
        right, bottom = np.clip(outline.max(0) + margin, None, self.image.size).astype(int).tolist()
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in outline.tolist()], fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(self.unit * 0.7)).point([0] * 100 + [255] * 156)
        shadow = ImageChops.offset(mask, 0, round(self.unit)).filter(ImageFilter.GaussianBlur(self.unit * 1.6))
        box = (left, top, right, bottom)
        self.image.paste((205, 205, 208), box, shadow.point([int(v * 0.45) for v in range(256)]))
        cloth = shade(self.cloth.crop(box), mask, self.image.width / 22, self.random)
        self.image.paste(cloth, box, mask)
        edge = mask.filter(ImageFilter.FIND_EDGES).filter(ImageFilter.GaussianBlur(self.unit * 0.25))
        self.image.paste(self.ink, box, edge.point([min(255, v * 2) for v in range(256)]))

    def fill(self, points: Sequence[Point], colour: RGB) -> None:
        """Draw a flat shape with an outline."""
        ImageDraw.Draw(self.image).polygon(self.points(points), fill=colour, outline=self.ink, width=self.stroke(0.5))

    def line(self, points: Sequence[Point], width: float = 0.6, colour: RGB | None = None) -> None:
        """Draw a seam through `points`."""
        draw = ImageDraw.Draw(self.image)
        draw.line(self.points(points), fill=colour or self.ink, width=self.stroke(width), joint="curve")

    def dot(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """Draw a button or eyelet."""
        (left, top), (right, bottom) = self.points([(x - radius, y - radius), (x + radius, y + radius)])
        outline = darker(colour, 0.5)
        ImageDraw.Draw(self.image).ellipse(
            (left, top, right, bottom), fill=colour, outline=outline, width=self.stroke(0.3)
        )

    def stroke(self, width: float) -> int:
        """Convert a width from the garment's frame to whole pixels."""
        return max(1, round(width * self.unit))


def draw_top(canvas: Canvas, *, hem: float, flare: float) -> None:
    """Draw a T-shirt, shirt, jacket or the top of a dress: torso and sleeves, then neck, closure and details."""
    values, details = canvas.garment.values, canvas.garment.details
    waist = 30 - (4 if canvas.garment.category == "dress" else 0)
    if "hood" in details:
        canvas.panel([(37, 16), (36, 5), (43, 0), (57, 0), (64, 5), (63, 16)])
    reach = SLEEVES[values["sleeve length"]]
    for side in (-1, 1):
        if reach:
            canvas.panel(_mirrored(_sleeve(reach), side))
    left = [(38.0, 12.0), (26, 17), (29, 38), (waist, 62), (30 - flare, hem)]
    canvas.panel([*left, (50, hem + 1.5), *((100 - x, y) for x, y in reversed(left)), (58, 13), (50, 15), (42, 13)])
    for side in (-1, 1):
        canvas.line(_mirrored([(27, 18), (30, 28), (29, 40)], side), 0.5)  # armholes
    if "hood" in details:
        canvas.fill([(40, 13), (43, 6), (57, 6), (60, 13), (50, 20)], darker(canvas.colour, 0.6))
    _neck(canvas, values.get("neck", ""))
    _closure(canvas, values.get("closure", ""), hem)
    if "pocket" in details:
        canvas.fill([(57, 36), (67, 36), (67, 46), (62, 49), (57, 46)], darker(canvas.colour, 0.86))
        canvas.line([(57, 38.5), (67, 38.5)], 0.5)
    if "logo" in details:
        light = sum(canvas.colour) < 380
        canvas.fill([(45, 42), (55, 42), (58, 50), (50, 58), (42, 50)], (245, 245, 240) if light else (40, 40, 48))
    if "belt" in details:
        _belt(canvas, waist, 61)


def draw_dress(canvas: Canvas) -> None:
    """Draw a top that widens below the waist."""
    draw_top(canvas, hem=86 + 40 * HEMS[canvas.garment.values["length"]], flare=canvas.random.uniform(9, 14))
    canvas.line([(27, 63), (50, 64.5), (73, 63)], 0.5)


def draw_trousers(canvas: Canvas) -> None:
    """Draw two legs and a waistband."""
    hem = 58 + 66 * HEMS[canvas.garment.values["length"]]
    narrow = canvas.random.uniform(0, 4)
    for side in (-1, 1):
        canvas.panel(_mirrored([(32, 8), (50, 8), (50, 40), (47 - narrow / 2, hem), (29 + narrow, hem)], side))
    canvas.panel([(32, 6), (68, 6), (69, 13), (31, 13)])
    canvas.line([(50, 13), (50, 40)], 0.6)
    canvas.line([(50, 28), (55, 24), (55, 13)], 0.5)
    if "pocket" in canvas.garment.details:
        for side in (-1, 1):
            canvas.line(_mirrored([(33, 24), (39, 20), (42, 13)], side), 1.0)
    if "belt" in canvas.garment.details:
        _belt(canvas, 31, 9.5)


def draw_skirt(canvas: Canvas) -> None:
    """Draw a waistband and the skirt below it."""
    hem, flare = 50 + 72 * HEMS[canvas.garment.values["length"]], canvas.random.uniform(8, 16)
    canvas.panel([(34, 12), (66, 12), (70 + flare, hem), (50, hem + 2), (30 - flare, hem)])
    canvas.panel([(34, 7), (66, 7), (67, 14), (33, 14)])
    for x in (-9, 0, 9):
        canvas.line([(50 + x * 0.7, 16), (50 + x * 1.9, hem - 6)], 0.3)
    if "pocket" in canvas.garment.details:
        for side in (-1, 1):
            canvas.fill(_mirrored([(36, 26), (45, 26), (45, 36), (35, 36)], side), darker(canvas.colour, 0.86))
    if "belt" in canvas.garment.details:
        _belt(canvas, 33, 10.5)


def _sleeve(reach: float) -> list[Point]:
    """A left sleeve; `reach` is its share of the arm's length."""
    x, y = 27 - 15 * reach, 24 + 56 * reach
    return [(37, 12.5), (26, 17), (x - 1, y - 3), (x + 8 - 2 * reach, y + 1), (31, 38)]


def _mirrored(points: Sequence[Point], side: int) -> list[Point]:
    return [(100 - x, y) for x, y in points] if side > 0 else list(points)


def _neck(canvas: Canvas, neck: str) -> None:
    inside = darker(canvas.colour, 0.6)
    if neck == "round neck":
        arc = [(50 + 8.5 * np.cos(t), 12.5 + 8 * np.sin(t)) for t in np.linspace(0, np.pi, 16)]
        canvas.fill([*arc, (45, 11.5), (55, 11.5)], inside)
        canvas.line(arc, 1.2, darker(canvas.colour, 0.8))
    elif neck == "v-neck":
        canvas.fill([(41, 12.5), (50, 31), (59, 12.5), (50, 12)], inside)
        canvas.line([(41, 12.5), (50, 31), (59, 12.5)], 1.2, darker(canvas.colour, 0.8))
    elif neck in ("collar", "polo collar"):
        canvas.fill([(43, 12), (57, 12), (50, 20)], inside)
        for side in (-1, 1):
            canvas.fill(_mirrored([(41, 10), (50, 20), (43, 25), (36.5, 14)], side), darker(canvas.colour, 0.92))
    if neck == "polo collar":
        canvas.line([(50, 20), (50, 36)], 2.2, darker(canvas.colour, 0.8))
        for y in (25, 31):
            canvas.dot(50, y, 0.9, (246, 246, 240))


def _closure(canvas: Canvas, closure: str, hem: float) -> None:
    if closure == "buttons":
        canvas.line([(50, 20), (50, hem)], 2.6, darker(canvas.colour, 0.88))
        for y in np.arange(26, hem - 3, 9):
            canvas.dot(50, float(y), 1.2, (246, 246, 240))
    elif closure == "zip":
        canvas.line([(50, 17), (50, hem)], 2.2, (70, 70, 76))
        canvas.line([(50, 17), (50, hem)], 0.7, (205, 205, 210))
        canvas.fill([(49, 30), (51, 30), (51.4, 37), (48.6, 37)], (205, 205, 210))


def _belt(canvas: Canvas, left: float, y: float) -> None:
    canvas.fill([(left, y - 2), (100 - left, y - 2), (100 - left, y + 2.2), (left, y + 2.2)], (74, 48, 30))
    canvas.fill([(46.5, y - 2.6), (53.5, y - 2.6), (53.5, y + 2.8), (46.5, y + 2.8)], (214, 186, 98))
