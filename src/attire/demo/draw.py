"""Draw a synthetic catalog: photos of garments, a feed with realistic faults, and the true labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from attire.demo.fabric import COLOURS, PATTERNS, RGB, colour_of
from attire.demo.garments import HEMS, SLEEVES, Canvas, Garment, draw_dress, draw_skirt, draw_top, draw_trousers
from attire.progress import track

PHOTO_PX = (160, 208)  # width, height
OVERSAMPLING = 2
KEYS = ("colour", "pattern", "sleeve length", "neck", "length", "closure", "details")
MISSING, WRONG, RESPELT, SECOND_PHOTO, VARIANT = 0.3, 0.02, 0.03, 0.15, 0.1  # shares of labels, and of products


@dataclass(frozen=True)
class Kind:
    """A category: its share of products, how to draw it, and the possible values of each key that applies to it."""

    share: float
    draw: Callable[[Canvas], None]
    values: dict[str, tuple[str, ...]]
    details: tuple[str, ...]


def _top(hem: float) -> Callable[[Canvas], None]:
    return lambda canvas: draw_top(canvas, hem=hem, flare=canvas.random.uniform(-1, 2))


_SLEEVED = ("short sleeves", "long sleeves")
KINDS: dict[str, Kind] = {
    "T-shirt": Kind(
        0.32,
        _top(84),
        {"sleeve length": tuple(SLEEVES), "neck": ("round neck", "v-neck", "polo collar")},
        ("logo", "pocket"),
    ),
    "Shirt": Kind(
        0.2, _top(90), {"sleeve length": _SLEEVED, "neck": ("collar",), "closure": ("buttons",)}, ("pocket",)
    ),
    "Dress": Kind(
        0.16,
        draw_dress,
        {"sleeve length": tuple(SLEEVES), "neck": ("round neck", "v-neck"), "length": tuple(HEMS)},
        ("belt", "pocket"),
    ),
    "Trousers": Kind(0.14, draw_trousers, {"length": tuple(HEMS)}, ("belt", "pocket")),
    "Skirt": Kind(0.1, draw_skirt, {"length": tuple(HEMS)}, ("belt", "pocket")),
    "Jacket": Kind(
        0.08,
        _top(88),
        {"sleeve length": _SLEEVED, "neck": ("collar",), "closure": ("zip", "buttons")},
        ("hood", "pocket"),
    ),
}


@dataclass(frozen=True)
class DrawnCatalog:
    """The paths of the drawn catalog: the feed, the photos, and the table of true labels."""

    feed: Path
    photos: Path
    truth: Path


def draw_catalog(out: Path, products: int = 700, seed: int = 0) -> DrawnCatalog:
    """Draw `products` garments into `out`. Equal seeds draw equal catalogs.

    About a third of the labels are missing and one in fifty is wrong. One photo is truncated, one is missing, and one
    is used by two products.
    """
    random = np.random.default_rng(seed)
    paths = DrawnCatalog(out / "feed.csv", out / "photos", out / "truth.csv")
    paths.photos.mkdir(parents=True, exist_ok=True)
    feed, truth = [], []
    garment, group = _garment(random), ""
    for number in track(range(products), "drawing garments", "garments", products):
        id = f"{number:04d}"
        variant = number > 0 and random.random() < VARIANT
        if variant:  # the previous garment in another colour
            other = str(random.choice([colour for colour in COLOURS if colour != garment.values["colour"]]))
            garment = Garment(garment.category, {**garment.values, "colour": other}, garment.details)
        else:
            garment, group = _garment(random), id
        names = [f"{id}.jpg"]
        photo = _photo(garment, colour_of(garment.values["colour"], random), random)
        photo.save(paths.photos / names[0], quality=90)
        if random.random() < SECOND_PHOTO:
            names.append(f"{id}-2.jpg")
            _second_view(photo, random).save(paths.photos / names[1], quality=90)
        labels = {**garment.values, "details": "|".join(sorted(garment.details)) or "none"}
        row = {"id": id, "group": group, "category": garment.category, "image": "|".join(names)}
        title = f"{garment.values['colour']} {garment.values['pattern']} {garment.category}".capitalize()
        truth.append({"id": id, "category": garment.category, **labels})
        feed.append({**row, "title": title, **_corrupt_labels(garment, labels, random)})
    _damage_photos(paths, feed)
    for path, rows in ((paths.feed, feed), (paths.truth, truth)):
        columns = ["id", *([] if path == paths.truth else ["group"]), "category", "image", "title", *KEYS]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [name for name in columns if any(name in row for row in rows)], restval="")
            writer.writeheader()
            writer.writerows(rows)
    return paths


def _garment(random: np.random.Generator) -> Garment:
    category = str(random.choice(list(KINDS), p=[kind.share for kind in KINDS.values()]))
    kind = KINDS[category]
    values = {
        "colour": str(random.choice(list(COLOURS))),
        "pattern": str(random.choice(PATTERNS, p=[0.4, 0.2, 0.2, 0.2])),
    }
    values |= {key: str(random.choice(choices)) for key, choices in kind.values.items()}
    details = frozenset(detail for detail in kind.details if random.random() < 0.45)
    return Garment(category, values, details)


def _photo(garment: Garment, colour: RGB, random: np.random.Generator) -> Image.Image:
    width, height = PHOTO_PX
    canvas = Canvas((width * OVERSAMPLING, height * OVERSAMPLING), colour, garment, random)
    KINDS[garment.category].draw(canvas)
    return canvas.image.resize(PHOTO_PX, Image.Resampling.LANCZOS)


def _second_view(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """A slightly closer, mirrored photo of the garment."""
    zoom = random.uniform(0.86, 0.94)
    return ImageOps.mirror(ImageOps.fit(ImageOps.crop(photo, int(PHOTO_PX[0] * (1 - zoom) / 2)), PHOTO_PX))


def _corrupt_labels(garment: Garment, labels: dict[str, str], random: np.random.Generator) -> dict[str, str]:
    """The labels with missing values, mistakes and other spellings."""
    cells = {}
    for key, value in labels.items():
        chance = random.random()
        if chance < MISSING:
            cells[key] = ""
        elif chance < MISSING + WRONG and (others := _other_values(garment, key, value)):
            cells[key] = str(random.choice(others))
        elif chance < MISSING + WRONG + RESPELT:
            cells[key] = value.upper().replace(" ", "-")
        else:
            cells[key] = value
    return cells


def _other_values(garment: Garment, key: str, value: str) -> list[str]:
    everywhere = {"colour": tuple(COLOURS), "pattern": PATTERNS}
    return [other for other in everywhere.get(key, KINDS[garment.category].values.get(key, ())) if other != value]


def _damage_photos(paths: DrawnCatalog, feed: list[dict[str, str]]) -> None:
    """Truncate one photo, remove one, and overwrite one with a copy of another."""
    truncated, missing, original, copy = (paths.photos / f"{feed[len(feed) * n // 5]['id']}.jpg" for n in (1, 2, 3, 4))
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    missing.unlink()
    copy.write_bytes(original.read_bytes())
