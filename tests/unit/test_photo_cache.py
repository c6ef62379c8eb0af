"""The photo cache: same pixels as the photos, incremental and atomic updates, detected damage, cheap for workers."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

import attire
from attire.catalog.store import Catalog
from attire.errors import AttireError, CatalogError
from attire.labels import Targets
from attire.photos.image import ORIENTATION
from attire.pixels.augment import AUGMENTS
from attire.pixels.content_cache import INDEX, MANIFEST
from attire.pixels.dataset import Draw, PhotoDataset, PhotoFiles
from attire.pixels.photo_cache import PIXELS, CachedPhotos, PhotoCache, cache_photos, caches
from attire.pixels.preprocess import Preprocess
from attire.training.data import cache_px

SIZES = ((200, 300), (300, 200), (64, 48), (40, 400), (33, 33))


def smooth(seed: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A feed of five photos of different shapes, one rotated by its EXIF, and one transparent."""
    (tmp_path / "photos").mkdir()
    rows = ["id,category,image,colour"]
    for number, size in enumerate(SIZES):
        photo, exif = smooth(number, size), Image.Exif()
        if number == 1:
            exif[ORIENTATION] = 6
        if number == 2:
            photo.putalpha(100)
        photo.save(tmp_path / "photos" / f"{number}.png", exif=exif)
        rows.append(f"p{number},A,{number}.png,red")
    (tmp_path / "feed.csv").write_text("\n".join(rows))
    return tmp_path


def catalog_of(shop: Path, px: int | None = 96) -> Catalog:
    catalog = attire.ingest(shop / "feed.csv", shop / "photos", shop / "catalog")
    if px is not None:
        cache_photos(catalog, px)
    return catalog


def datasets(catalog: Catalog, size_px: tuple[int, int], fit: Literal["pad", "squash", "crop"]) -> list[PhotoDataset]:
    """A dataset that reads the files, and one that reads the cache."""
    preprocess = Preprocess(size_px=size_px, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit=fit)
    count = len(catalog)
    targets = Targets(np.zeros(count, int), np.zeros((count, 1), bool), np.zeros((count, 1), np.int8))
    files = PhotoFiles([path for paths in catalog.photo_paths() for path in paths], size_px)
    cached = CachedPhotos(caches(catalog)[0], [digest for views in catalog.photo_digests() for digest in views])
    augment = AUGMENTS["light"](preprocess)
    return [PhotoDataset(photos, [1] * count, targets, preprocess, augment) for photos in (files, cached)]


def test_photos_are_upright_and_no_larger_than_requested(shop: Path) -> None:
    catalog = catalog_of(shop)
    cache = PhotoCache.open(catalog.path / "cache" / "photos-96")
    photos = CachedPhotos(cache, [digest for (digest,) in catalog.photo_digests()])
    assert [photos[i].size for i in range(5)] == [(96, 144), (96, 144), (64, 48), (40, 400), (33, 33)]
    assert np.array_equal(np.asarray(photos[4]), np.asarray(smooth(4, SIZES[4]))), "small photos are not scaled"


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_framing_and_augmentation_give_the_same_as_from_the_photo(
    shop: Path, fit: Literal["pad", "squash", "crop"], seed: int | None
) -> None:
    files, cached = datasets(catalog_of(shop), (80, 60), fit)
    for product, size in enumerate(SIZES):
        expected, result = (dataset[Draw(product, seed)][0].int() for dataset in (files, cached))
        assert result.shape == (3, 80, 60)
        difference = (expected - result).abs().float().mean()
        assert difference == 0 if min(size) <= 96 else difference < 4, "of 255, for scaled photos"


def test_ingesting_again_adds_new_photos(shop: Path) -> None:
    catalog_of(shop)
    folder = shop / "catalog" / "cache" / "photos-96"
    before = (folder / PIXELS).read_bytes()
    stamp = (folder / PIXELS).stat().st_mtime_ns
    catalog_of(shop)
    assert (folder / PIXELS).stat().st_mtime_ns == stamp, "nothing was new"
    smooth(9, (50, 50)).save(shop / "photos" / "9.png")
    shutil.copy(shop / "photos" / "9.png", shop / "photos" / "again.png")
    with (shop / "feed.csv").open("a") as feed:
        feed.write("\np9,A,9.png|again.png,red")
    cache = cache_photos(catalog_of(shop, px=None), 96)
    assert len(cache) == 6, "equal photos are stored once"
    after = (folder / PIXELS).read_bytes()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 50 * 50 * 3


def test_a_full_disk_leaves_finished_work(shop: Path) -> None:
    catalog = catalog_of(shop, px=48)
    folder = catalog.path / "cache" / "photos-96"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(CatalogError, match=r"cannot write the photo cache.*Free space.*continues from there"):
            cache_photos(catalog, 96)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (folder / MANIFEST).exists(), "nothing half-written looks finished"
    assert [cache.px for cache in caches(catalog)] == [48]
    assert len(cache_photos(catalog, 96)) == 5


def test_leftovers_of_a_killed_run_are_ignored(shop: Path) -> None:
    catalog = catalog_of(shop)
    folder = catalog.path / "cache" / "photos-96"
    pixels = (folder / PIXELS).read_bytes()
    for name in (PIXELS, INDEX):
        with (folder / name).open("ab") as file:
            file.write(b"half a chunk")
    assert len(PhotoCache.open(folder)) == 5
    smooth(9, (50, 50)).save(shop / "photos" / "9.png")
    with (shop / "feed.csv").open("a") as feed:
        feed.write("\np9,A,9.png,red")
    catalog_of(shop)
    assert len(PhotoCache.open(folder)) == 6
    assert (folder / PIXELS).read_bytes()[: len(pixels)] == pixels
    assert (folder / PIXELS).stat().st_size == len(pixels) + 50 * 50 * 3


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "index", "manifest", "format"])
def test_a_damaged_cache_is_refused_and_rebuilt(shop: Path, damage: str) -> None:
    catalog = catalog_of(shop)
    folder = catalog.path / "cache" / "photos-96"
    pixels, index, manifest = folder / PIXELS, folder / INDEX, folder / MANIFEST
    good = pixels.read_bytes()
    match damage:
        case "truncated":
            pixels.write_bytes(good[:-1])
        case "zeroed":
            pixels.write_bytes(bytes(len(good)))
        case "index":
            index.write_bytes(index.read_bytes()[::-1])
        case "manifest":
            manifest.write_text("{")
        case "format":
            manifest.write_text(json.dumps({"format": 2}))
    for use in (lambda: PhotoCache.open(folder), lambda: cache_px(catalog, (80, 60), None)):
        with pytest.raises(CatalogError, match=r"photos-96 is damaged.*--cache"):
            use()
    px = cache_px(catalog, (80, 60), True)
    assert px == 96
    cache_photos(catalog, px)
    assert pixels.read_bytes() == good


def test_photos_that_changed_since_ingest_are_refused(shop: Path) -> None:
    catalog = catalog_of(shop, px=None)
    smooth(7, (20, 20)).save(shop / "photos" / "0.png")
    with pytest.raises(CatalogError, match=r"0\.png was changed after ingest"):
        cache_photos(catalog, 96)
    (shop / "photos" / "0.png").unlink()
    with pytest.raises(CatalogError, match=r"0\.png: .*run attire ingest again"):
        cache_photos(catalog, 96)


def test_training_uses_the_smallest_complete_cache_that_is_large_enough(shop: Path) -> None:
    catalog = catalog_of(shop, px=None)
    assert cache_px(catalog, (56, 42), None) is None
    assert cache_px(catalog, (56, 42), True) == 64, "room for random crops"
    for px in (96, 72, 48):
        cache_photos(catalog, px)
    assert [cache_px(catalog, (56, 42), wanted) for wanted in (None, True, False)] == [72, 72, None]
    assert cache_px(catalog, (97, 60), None) is None
    smooth(9, (50, 50)).save(shop / "photos" / "9.png")
    with (shop / "feed.csv").open("a") as feed:
        feed.write("\np9,A,9.png,red")
    catalog = catalog_of(shop, px=96)
    assert [cache_px(catalog, (56, 42), wanted) for wanted in (None, True)] == [96, 72], (
        "72 lacks a photo, which --cache adds"
    )


def test_an_invalid_size_is_refused(shop: Path) -> None:
    with pytest.raises(AttireError, match="px=0: expected"):
        catalog_of(shop, px=0)


def test_workers_map_the_file_instead_of_copying_it(shop: Path) -> None:
    _, cached = datasets(catalog_of(shop), (80, 60), "pad")
    expected = cached[Draw(3, 5)][0]
    assert len(pickle.dumps(cached)) < 20_000, "pixels stay on disk"
    assert torch.equal(pickle.loads(pickle.dumps(cached))[Draw(3, 5)][0], expected)


def test_concurrent_calls_fill_the_cache_once(shop: Path) -> None:
    catalog = catalog_of(shop, px=None)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda px: len(cache_photos(catalog, px)), [80] * 4)) == [5] * 4
    assert cache_photos(catalog, 80).size == (catalog.path / "cache" / "photos-80" / PIXELS).stat().st_size
