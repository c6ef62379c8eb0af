"""The photos that an engine is calibrated and compared on."""

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

PHOTOS = 300  # nncf's own default for calibration; the share of equal decisions is then known to about 0.2%


@dataclass(frozen=True, slots=True)
class Sample:
    """pixels: uint8[N, 3, H, W]; text: int32[N, T] where the bundle reads titles; truth: labels, of a catalog."""

    pixels: NDArray[np.uint8]
    text: NDArray[np.int32] | None
    truth: Targets | None


def draw_sample(bundle: ModelBundle, source: str | Path, count: int = PHOTOS) -> Sample:
    """`count` photos of `source`, the same ones each time: of different products of a catalog (of its train split, if
    it is split), or of a folder or archive. Unreadable photos are passed over; raises `ConfigError` if none is left."""
    source, truth = Path(source), None
    with tempfile.TemporaryDirectory() as unpacked:
        if (source / MANIFEST).is_file():
            catalog = Catalog.open(source)
            rows = _shuffled(catalog.rows_of(_to_learn_from(catalog)).tolist())
            views = catalog.photo_paths()
            photos = [(row, views[row][0]) for row in rows if views[row]][:count]
            titles = catalog.products["title"].to_list()
        else:
            catalog = None
            found = list(find_photos([source], Path(unpacked)))
            photos = [(row, found[row][1]) for row in _shuffled(list(range(len(found))))[:count]]
            titles = []
        pixels, kept = [], []
        for row, path in track(photos, "reading photos", "photos", len(photos)):
            try:
                pixels.append(bundle.preprocess.resize(open_photo(path, target_px=bundle.preprocess.size_px)))
                kept.append(row)
            except PhotoError:
                continue
    if not pixels:
        raise ConfigError(f"--photos {source} holds no readable photo: expected a catalog, or a folder of photos.")
    reader = bundle.title_reader
    text = None if reader is None else reader([titles[row] for row in kept] if titles else [""] * len(kept))
    if catalog is not None and catalog.taxonomy == bundle.taxonomy:
        truth = Targets(*(column[kept] for column in catalog.targets()))
    return Sample(np.stack(pixels), text, truth)


def _to_learn_from(catalog: Catalog) -> Sequence[str]:
    return Splits.read(catalog).train if (catalog.path / SPLITS).is_file() else catalog.ids


def _shuffled(rows: list[int]) -> list[int]:
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
