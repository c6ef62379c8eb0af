"""A synthetic catalog: photos of drawn garments and a feed with the faults of a real one, and the truth beside it."""

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
    """A category: how common it is, how it is drawn, and what each key that applies to it may be."""

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
    """Where the drawn catalog lies: the feed as a shop would have it, its photos, and what is true."""

    feed: Path
    photos: Path
    truth: Path


def draw_catalog(out: Path, products: int = 700, seed: int = 0) -> DrawnCatalog:
    """Draw `products` garments into `out`. About a third of the labels are missing and one in fifty is wrong; one
    photo is cut off, one is not there, and one stands under two ids. Equal seeds draw equal catalogs.
    """
    random = np.random.default_rng(seed)
    drawn = DrawnCatalog(out / "feed.csv", out / "photos", out / "truth.csv")
    drawn.photos.mkdir(parents=True, exist_ok=True)
    feed, truth = [], []
    garment, group = _garment(random), ""
    for number in track(range(products), "drawing garments", "garments", products):
        id = f"{number:04d}"
        variant = number > 0 and random.random() < VARIANT
        if variant:  # the garment before it, in another colour
            other = str(random.choice([colour for colour in COLOURS if colour != garment.values["colour"]]))
            garment = Garment(garment.category, {**garment.values, "colour": other}, garment.details)
        else:
            garment, group = _garment(random), id
        names = [f"{id}.jpg"]
        photo = _photo(garment, colour_of(garment.values["colour"], random), random)
        photo.save(drawn.photos / names[0], quality=90)
        if random.random() < SECOND_PHOTO:
            names.append(f"{id}-2.jpg")
            _second_view(photo, random).save(drawn.photos / names[1], quality=90)
        known = {**garment.values, "details": "|".join(sorted(garment.details)) or "none"}
        row = {"id": id, "group": group, "category": garment.category, "image": "|".join(names)}
        title = f"{garment.values['colour']} {garment.values['pattern']} {garment.category}".capitalize()
        truth.append({"id": id, "category": garment.category, **known})
        feed.append({**row, "title": title, **_as_a_shop_fills_it(garment, known, random)})
    _plant_faults(drawn, feed)
    for path, rows in ((drawn.feed, feed), (drawn.truth, truth)):
        columns = ["id", *([] if path == drawn.truth else ["group"]), "category", "image", "title", *KEYS]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [name for name in columns if any(name in row for row in rows)], restval="")
            writer.writeheader()
            writer.writerows(rows)
    return drawn


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
    """The garment from a little nearer, turned around."""
    zoom = random.uniform(0.86, 0.94)
    return ImageOps.mirror(ImageOps.fit(ImageOps.crop(photo, int(PHOTO_PX[0] * (1 - zoom) / 2)), PHOTO_PX))


def _as_a_shop_fills_it(garment: Garment, known: dict[str, str], random: np.random.Generator) -> dict[str, str]:
    """The labels with holes, mistakes and other spellings."""
    filled = {}
    for key, value in known.items():
        chance = random.random()
        if chance < MISSING:
            filled[key] = ""
        elif chance < MISSING + WRONG and (others := _other_values(garment, key, value)):
            filled[key] = str(random.choice(others))
        elif chance < MISSING + WRONG + RESPELT:
            filled[key] = value.upper().replace(" ", "-")
        else:
            filled[key] = value
    return filled


def _other_values(garment: Garment, key: str, value: str) -> list[str]:
    everywhere = {"colour": tuple(COLOURS), "pattern": PATTERNS}
    return [other for other in everywhere.get(key, KINDS[garment.category].values.get(key, ())) if other != value]


def _plant_faults(drawn: DrawnCatalog, feed: list[dict[str, str]]) -> None:
    """What every real catalog has: a photo cut off, a photo that is not there, a photo under two ids."""
    cut, missing, copied, copy = (drawn.photos / f"{feed[len(feed) * n // 5]['id']}.jpg" for n in (1, 2, 3, 4))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    missing.unlink()
    copy.write_bytes(copied.read_bytes())
