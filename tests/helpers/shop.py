"""A shop with a catalog whose feeds change: photos, feeds made from a few rows, and updates."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from attire.catalog.ingest import ingest
from attire.catalog.store import TAXONOMY, Catalog

Cells = Mapping[str, str]
COLUMNS = ("id", "category", "title", "group", "image", "colour", "tags", "fit")
PHOTOS = 40


def draw_photos(folder: Path) -> Path:
    """Draw 0.png to 39.png into `folder`, and return it; 30.png to 33.png equal 0.png to 3.png."""
    for number in range(PHOTOS):
        image = Image.effect_noise((40, 40), 20).convert("RGB")
        image.paste((6 * number, 255 - 6 * number, 128), (0, 0, 40, 1 + number))
        image.save(folder / f"{number}.png")
    for number in range(4):
        shutil.copy(folder / f"{number}.png", folder / f"{30 + number}.png")
    return folder


class Shop:
    """A catalog, and feeds for it."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder, self.photos, self.out = folder, photos, folder / "catalog"

    def feed(self, rows: Mapping[str, Cells], name: str) -> Path:
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({"id": id, **cells} for id, cells in rows.items())
        return self.folder / name

    def ingest(self, rows: Mapping[str, Cells], name: str = "first.csv", **options: Any) -> Catalog:
        return ingest(self.feed(rows, name), options.pop("images", self.photos), self.out, **options)

    def update(self, rows: Mapping[str, Cells], name: str = "week.csv", **options: Any) -> Catalog:
        return self.ingest(rows, name, update=True, **options)

    def edit(self, old: str = "[keys.colour]", new: str = "[keys.colour]\ntitle = 'C'") -> None:
        """Edit the taxonomy, without arguments only a title."""
        file = self.out / TAXONOMY
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def row(photo: int | str, category: str = "Shirts", **cells: str) -> Cells:
    return {"category": category, "image": f"{photo}.png" if isinstance(photo, int) else photo, **cells}
