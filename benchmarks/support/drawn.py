"""Draw a feed and photos for benchmarks, with realistic photo sizes and no near-duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw_shop(folder: Path, products: int, size_px: tuple[int, int], categories: int = 26, keys: int = 46) -> Path:
    """Write `folder`/photos and return `folder`/feed.csv: a photo of `size_px` (height, width) for each product.

    Blurred colours with some noise compress like real photos, to about a fifth of a byte per pixel.
    """
    random = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    height, width = size_px
    grain = Image.effect_noise((width, height), 12).convert("RGB")
    lines = [",".join(["id", "category", "image", *(f"key{k}" for k in range(keys))])]
    for number in range(products):
        colours = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height))
        Image.blend(colours, grain, 0.25).save(folder / "photos" / f"{number}.jpg", quality=85)
        values = [f"value{random.integers(5)}" for _ in range(keys)]
        lines.append(",".join([f"p{number}", f"Category {number % categories}", f"{number}.jpg", *values]))
    feed = folder / "feed.csv"
    feed.write_text("\n".join(lines), encoding="utf-8")
    return feed
