"""Draw a feed and photos for tests: a bar whose width is the category, with a colour, and tags below it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210)}
WIDTHS = {"Shirts": 32, "Trousers": 20, "Belts": 8}


def draw_feed(folder: Path, products: int = 90, seed: int = 0) -> Path:
    """Draw `products` products into `folder`, and return the path of the feed."""
    random = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(products):
        category = str(random.choice(list(WIDTHS), p=[0.5, 0.3, 0.2]))
        colour = str(random.choice(list(COLOURS)))
        tags = [tag for tag in ("logo", "zip") if random.random() < 0.5]
        pixels = np.full((48, 36, 3), 255) - random.integers(0, 25, (48, 36, 3))
        left = 18 - WIDTHS[category] // 2
        pixels[6:30, left : left + WIDTHS[category]] = np.array(COLOURS[colour]) - random.integers(0, 30, 3)
        if "logo" in tags:
            pixels[34:44, 4:14] = 0
        if "zip" in tags:
            pixels[34:44, 22:32] = 0
        images = [f"{number}.png"] if number % 4 else [f"{number}.png", f"{number}-back.png"]
        for view, name in enumerate(images):
            Image.fromarray((pixels[:, ::-1] if view else pixels).astype(np.uint8)).save(folder / "photos" / name)
        title = f"Acme {number} {colour} {category}" if number % 5 else ""
        known = {
            "colour": colour if random.random() < 0.8 else "",
            "tags": "|".join(tags) if category == "Shirts" else "",
        }
        rows.append({"id": f"p{number:03d}", "category": category, "image": "|".join(images), "title": title, **known})
    feed = folder / "feed.csv"
    with feed.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return feed
