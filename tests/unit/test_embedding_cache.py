"""The embedding cache: only new photos are computed, finished work is kept, damage is noticed, readers never wait."""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.drawn_feed import draw_feed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import attire
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.embeddings import BATCH, catalog_embeddings
from attire.errors import CatalogError, StorageError
from attire.model.backbone import fastest_precision
from attire.model.network import Network, build_network
from attire.photos.image import open_photo
from attire.pixels import embedding_cache
from attire.pixels.content_cache import INDEX, MANIFEST
from attire.pixels.embedding_cache import EMBEDDINGS, FLOAT16, FLOAT32, EmbeddingCache, cache_embeddings
from attire.pixels.forgetting import forget_photos
from attire.pixels.normalise import Normalise
from attire.pixels.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=(32, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
IDENTITY = {"backbone": "fake"}
WIDTH = 3


def digests(numbers: Sequence[int]) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def truth(photos: Sequence[str]) -> NDArray[np.float32]:
    """What a fake network says about photos."""
    return np.array([[int(photo[4 * i : 4 * i + 4], 16) for i in range(WIDTH)] for photo in photos], np.float32)


class Fake:
    """A network that counts the photos it embeds, and fails after `limit` of them."""

    def __init__(self, batch: int = 2, limit: int | None = None) -> None:
        self.batch, self.limit, self.seen = batch, limit, list[str]()

    def __call__(self, photos: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(photos), self.batch):
            if self.limit is not None and len(self.seen) >= self.limit:
                raise KeyboardInterrupt
            batch = photos[start : start + self.batch]
            self.seen += batch
            yield truth(batch)


def folder_of(parent: Path) -> Path:
    (folder,) = parent.glob("embeddings-*")
    return folder


def test_only_new_photos_are_embedded(tmp_path: Path) -> None:
    first, more = digests(range(50)), digests(range(150))
    for photos, expected in ((first, 50), (first, 0), (more, 100), (more[::-1], 0), (more[20:30], 0), (first, 0)):
        fake = Fake()
        cache = cache_embeddings(tmp_path, IDENTITY, photos, fake)
        assert len(fake.seen) == expected
        np.testing.assert_array_equal(cache[photos], truth(photos))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1), min_size=1, max_size=6))
def test_each_photo_is_embedded_once_in_its_life(
    tmp_path_factory: pytest.TempPathFactory, weeks: list[list[int]]
) -> None:
    parent, fake = tmp_path_factory.mktemp("weeks"), Fake()
    for numbers in weeks:
        photos = digests(numbers)
        np.testing.assert_array_equal(cache_embeddings(parent, IDENTITY, photos, fake)[photos], truth(photos))
    assert sorted(fake.seen) == sorted({photo for numbers in weeks for photo in digests(numbers)})


def test_a_stopped_run_continues_after_its_last_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "CHUNK", 8)
    photos = digests(range(50))
    with pytest.raises(KeyboardInterrupt):
        cache_embeddings(tmp_path / "a", IDENTITY, photos, Fake(limit=30))
    fake = Fake()
    cache = cache_embeddings(tmp_path / "a", IDENTITY, photos, fake)
    assert fake.seen == photos[24:], "30 were embedded, in chunks of 8"
    cache_embeddings(tmp_path / "b", IDENTITY, photos, Fake())
    for name in (EMBEDDINGS, INDEX, MANIFEST):
        assert (cache.folder / name).read_bytes() == (folder_of(tmp_path / "b") / name).read_bytes()


def test_nothing_is_kept_of_a_run_stopped_in_its_first_chunk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache_embeddings(tmp_path, IDENTITY, digests(range(9)), Fake(limit=4))
    fake = Fake()
    cache_embeddings(tmp_path, IDENTITY, digests(range(9)), fake)
    assert len(fake.seen) == 9
    assert not caplog.records, "an unfinished cache is not a damaged one"


def test_leftovers_of_a_killed_run_are_ignored(tmp_path: Path) -> None:
    photos = digests(range(12))
    folder = cache_embeddings(tmp_path, IDENTITY, photos[:9], Fake()).folder
    for name in (EMBEDDINGS, INDEX):
        with (folder / name).open("ab") as file:
            file.write(b"half a chunk")
    fake = Fake()
    np.testing.assert_array_equal(cache_embeddings(tmp_path, IDENTITY, photos, fake)[photos], truth(photos))
    assert fake.seen == photos[9:]
    assert (folder / EMBEDDINGS).stat().st_size == 12 * WIDTH * 4


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16])
def test_only_the_embeddings_of_a_forgotten_photo_are_erased(catalog: Catalog, tmp_path: Path, dtype: str) -> None:
    copy = Catalog.load(shutil.copytree(catalog.path, tmp_path / "catalog", ignore=shutil.ignore_patterns("cache")))
    photos = digests(range(1, 9))
    cache = cache_embeddings(copy.path / "cache", IDENTITY, photos, Fake(), dtype)
    before = cache[photos].copy()
    assert forget_photos(copy, photos[2:4]) == 2
    after = EmbeddingCache.open(cache.folder)
    assert after.missing(photos) == photos[2:4]
    others = [*photos[:2], *photos[4:]]
    np.testing.assert_array_equal(after[others], np.delete(before, (2, 3), axis=0))
    assert not after.embeddings[2:4].any()


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (EMBEDDINGS, lambda content: content[:-1]),
        (EMBEDDINGS, lambda content: content[:0]),
        (EMBEDDINGS, flipped),
        (INDEX, flipped),
        (INDEX, lambda content: content[:100]),
        (MANIFEST, lambda content: content[:-10]),
        (MANIFEST, lambda content: b"[" + content + b"]"),
        (MANIFEST, lambda content: content.replace(b'"format": 1', b'"format": 2')),
        (MANIFEST, lambda content: json.dumps(json.loads(content) | {"width": WIDTH + 1}).encode()),
    ],
)
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    photos = digests(range(5))
    file = cache_embeddings(tmp_path, IDENTITY, photos, Fake()).folder / name
    file.write_bytes(damage(file.read_bytes()))
    fake = Fake()
    with caplog.at_level(logging.WARNING, "attire"):
        cache = cache_embeddings(tmp_path, IDENTITY, photos, fake)
    assert fake.seen == photos
    assert f"the embedding cache {file.parent} is damaged" in caplog.text
    np.testing.assert_array_equal(cache[photos], truth(photos))
    assert not EmbeddingCache.open(file.parent).missing(photos)


def test_several_runs_embed_each_photo_once(tmp_path: Path) -> None:
    photos, fake = digests(range(40)), Fake()
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: cache_embeddings(tmp_path, IDENTITY, photos, fake), range(4)))
    assert sorted(fake.seen) == sorted(photos)
    assert [len(cache) for cache in caches] == [40] * 4


def test_a_complete_cache_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = digests(range(4))
    cache_embeddings(tmp_path, IDENTITY, photos, Fake())
    monkeypatch.setattr(embedding_cache, "FileLock", None)  # as in a folder that can only be read
    np.testing.assert_array_equal(cache_embeddings(tmp_path, IDENTITY, photos, Fake())[photos], truth(photos))


def test_a_full_disk_leaves_finished_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "CHUNK", 10)
    photos, limits = digests(range(100)), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limits[1]))
        with pytest.raises(StorageError, match=r"cannot write .*embeddings-.*Free space"):
            cache_embeddings(tmp_path, IDENTITY, photos, Fake())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    fake = Fake()
    cache_embeddings(tmp_path, IDENTITY, photos, fake)
    assert fake.seen == photos[40:], "40 entries of the index fit"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    draw_feed(tmp_path, 40)
    return tmp_path


def catalog_of(shop: Path, products: int = 40, out: str = "catalog") -> Catalog:
    lines = (shop / "feed.csv").read_text().splitlines(keepends=True)
    (shop / "some.csv").write_text("".join(lines[: products + 1]))
    return attire.ingest(shop / "some.csv", shop / "photos", shop / out, replace=True)


def network_of(catalog: Catalog, flip: bool = False) -> Network:
    torch.manual_seed(0)
    return build_network(Architecture(backbone="test_resnet", hidden=8, shared=True, flip=flip), catalog.taxonomy)


def embed(catalog: Catalog, network: Network, preprocess: Preprocess = PREPROCESS) -> tuple[EmbeddingCache, int]:
    """The cache, and how many photos it has gained."""
    folder = catalog.path / "cache"
    before = sum(len(EmbeddingCache.open(manifest.parent)) for manifest in folder.glob(f"*/{MANIFEST}"))
    cache = catalog_embeddings(catalog, network, "test_resnet", preprocess, workers=0)
    return cache, sum(len(EmbeddingCache.open(manifest.parent)) for manifest in folder.glob(f"*/{MANIFEST}")) - before


def test_embeddings_are_the_features_of_the_photos_in_order(shop: Path) -> None:
    catalog = catalog_of(shop)
    network = network_of(catalog)
    photos = [photo for views in catalog.photo_digests() for photo in views]
    paths = [path for views in catalog.photo_paths() for path in views]
    assert BATCH < len(photos) == 50
    embeddings = embed(catalog, network)[0][photos]
    pixels = torch.from_numpy(np.stack([PREPROCESS.resize(open_photo(path, (32, 24))) for path in paths]))
    half = torch.autocast("cpu", torch.bfloat16, enabled=fastest_precision() == "bf16-mixed")
    with torch.inference_mode(), half:
        for start in range(0, len(paths), BATCH):
            batch = Normalise(PREPROCESS)(pixels[start : start + BATCH].to(memory_format=torch.channels_last))
            expected = network.eval().features(batch).float().numpy()
            np.testing.assert_array_equal(embeddings[start : start + BATCH], expected)


def test_new_products_cost_their_photos(shop: Path) -> None:
    catalog = catalog_of(shop, products=30)
    network = network_of(catalog)
    cache, gained = embed(catalog, network)
    assert gained == len(catalog.photos)
    before = {photo: cache[[photo]] for photo in catalog.photos["sha256"]}
    grown = catalog_of(shop, products=40)
    cache, gained = embed(grown, network)
    assert gained == len(grown.photos) - len(before) == 12
    for photo, embedding in before.items():
        np.testing.assert_array_equal(cache[[photo]], embedding)
    assert embed(catalog_of(shop, products=20), network)[1] == 0, "a smaller catalog"


def test_each_network_and_preprocessing_has_its_own(shop: Path) -> None:
    catalog = catalog_of(shop, products=8)
    brighter = PREPROCESS.model_copy(update={"mean": (0.4, 0.4, 0.4)})
    other = network_of(catalog)
    with torch.no_grad():
        next(other.backbone.parameters()).add_(0.1)
    (photo,) = catalog["p001"].images
    digest = dict(zip(catalog.photos["name"], catalog.photos["sha256"], strict=True))[photo]
    seen = set()
    for network, preprocess in (
        (network_of(catalog), PREPROCESS),
        (network_of(catalog), brighter),
        (network_of(catalog, flip=True), PREPROCESS),
        (other, PREPROCESS),
    ):
        assert embed(catalog, network, preprocess)[1] == len(catalog.photos)
        seen.add(embed(catalog, network, preprocess)[0][[digest]].tobytes())
        assert embed(catalog, network, preprocess)[1] == 0
    assert len(seen) == 4


def test_catalogs_can_share_a_folder(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTIRE_CACHE", str(shop / "shared"))
    first, second = catalog_of(shop, 30, "first"), catalog_of(shop, 40, "second")
    network = network_of(first)
    assert len(catalog_embeddings(first, network, "test_resnet", PREPROCESS, workers=0)) == len(first.photos)
    assert len(catalog_embeddings(second, network, "test_resnet", PREPROCESS, workers=0)) == len(second.photos)
    assert len(attire.cache_photos(first, 32)) == len(first.photos)
    assert attire.cache_photos(second, 32).folder == shop / "shared" / "photos-32"
    assert not (first.path / "cache").exists()


def test_a_photo_that_changed_since_ingest_is_refused(shop: Path) -> None:
    catalog = catalog_of(shop, products=4)
    path = catalog.photo_paths()[2][0]
    path.write_bytes(catalog.photo_paths()[1][0].read_bytes())
    with pytest.raises(CatalogError, match=r"2\.png was changed after ingest"):
        embed(catalog, network_of(catalog))
