"""The sample of photos used to calibrate an engine and to compare it with torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import MANIFEST as SPLITS
from attire.catalog.splits import Splits
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import ConfigError, PhotoError
from attire.labels import Targets
from attire.photos.image import open_photo
from attire.photos.index import find_photos
from attire.progress import track

PHOTOS = 300  # nncf's default for calibration; enough to know the share of equal decisions to about 0.2%


@dataclass(frozen=True, slots=True)
class Sample:
    """pixels: uint8[N, 3, H, W]. text: int32[N, T] if the bundle reads titles. truth: labels, if from a catalog."""

    pixels: NDArray[np.uint8]
    text: NDArray[np.int32] | None
    truth: Targets | None


def draw_sample(bundle: ModelBundle, source: str | Path, count: int = PHOTOS) -> Sample:
    """Draw `count` photos at random from `source`, the same ones each time.

    `source` is a catalog (one photo per product, from its train split if it is split), a folder or an archive.
    Unreadable photos are skipped; raises `ConfigError` if no photo is left.
    """
    source, truth = Path(source), None
    with tempfile.TemporaryDirectory() as unpacked:
        if (source / MANIFEST).is_file():
            catalog = Catalog.load(source)
            rows = _shuffle(catalog.rows_of(_train_ids(catalog)).tolist())
            views = catalog.photo_paths()
            photos = [(row, views[row][0]) for row in rows if views[row]][:count]
            titles = catalog.products["title"].to_list()
        else:
            catalog = None
            files = list(find_photos([source], Path(unpacked)))
            photos = [(row, files[row][1]) for row in _shuffle(list(range(len(files))))[:count]]
            titles = []
        pixels, readable = [], []
        for row, path in track(photos, "reading photos", "photos", len(photos)):
            try:
                pixels.append(bundle.preprocess.resize(open_photo(path, target_px=bundle.preprocess.size_px)))
                readable.append(row)
            except PhotoError:
                continue
    if not pixels:
        raise ConfigError(f"--photos {source} has no readable photo. Expected a catalog, or a folder of photos.")
    reader = bundle.title_reader
    text = None if reader is None else reader([titles[row] for row in readable] if titles else [""] * len(readable))
    if catalog is not None and catalog.taxonomy.has_words_of(bundle.taxonomy):
        truth = Targets(*(column[readable] for column in catalog.targets()))
    return Sample(np.stack(pixels), text, truth)


def _train_ids(catalog: Catalog) -> Sequence[str]:
    return Splits.load(catalog).train if (catalog.path / SPLITS).is_file() else catalog.ids


def _shuffle(rows: list[int]) -> list[int]:
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
