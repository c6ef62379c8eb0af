"""Ingest of feeds that name photos by URL: each is downloaded once, and a failed one is tried again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.photo_server import PhotoServer, serving_photos
from PIL import Image

from attire.catalog import downloads
from attire.catalog.downloads import DOWNLOADS, Downloads
from attire.catalog.ingest import ingest
from attire.catalog.sources import SourceOptions
from attire.catalog.store import Catalog
from attire.cli import app
from attire.errors import CatalogError, FeedError
from attire.photos import remote

pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")

COLOURS = ["red", "green", "blue", "black", "white", "orange"]


def photo(colour: str, format: str = "PNG") -> bytes:
    content = io.BytesIO()
    image = Image.effect_noise((40, 40), 60).convert("RGB")
    image.paste(colour, (0, 0, 40, 20))
    image.save(content, format)
    return content.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoServer]:
    """/red, /green, ...: photos without a suffix, one of them a JPEG."""
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    with serving_photos() as server:
        server.photos = {f"/{colour}?v=1": photo(colour, "JPEG" if colour == "red" else "PNG") for colour in COLOURS}
        yield server


class Shop:
    """A catalog of photos at URLs."""

    def __init__(self, folder: Path, server: PhotoServer) -> None:
        self.folder, self.server, self.out = folder, server, folder / "catalog"

    def ingest(self, rows: Mapping[str, str], name: str = "feed.csv", **options: Any) -> Catalog:
        """Ingest a feed with ids and photos; a photo that begins with / is at the server."""
        self.server.requests.clear()
        self.server.sent.clear()
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "category", "image", "colour"])
            for id, cell in rows.items():
                names = (f"{self.server.url}{n}?v=1" if n.startswith("/") else n for n in cell.split())
                writer.writerow([id, "Shirts", "|".join(names), "red"])
        return ingest(self.folder / name, options.pop("images", ()), self.out, **options)

    def faults(self, catalog: Catalog) -> dict[str, str]:
        photos = catalog.quarantine.filter(kind="photo")
        names = photos["name"].str.strip_prefix(self.server.url).str.strip_suffix("?v=1")
        return dict(zip(names, photos["reason"], strict=True))


@pytest.fixture
def shop(tmp_path: Path, server: PhotoServer) -> Shop:
    return Shop(tmp_path, server)


def asked(shop: Shop) -> set[str]:
    return {path.removesuffix("?v=1") for path in shop.server.requests}


def test_photos_at_urls_are_in_the_catalog(shop: Shop, tmp_path: Path) -> None:
    catalog = shop.ingest({"a": "/red /green", "b": "/blue", "c": "/red"})
    assert len(catalog.quarantine) == 0
    assert set(shop.server.requests.values()) == {1}
    products = [*zip(catalog.products["id"], catalog.photo_paths(), strict=True)]
    contents = {id: [path.read_bytes() for path in paths] for id, paths in products}
    sources = shop.server.photos
    assert contents == {
        "a": [sources["/red?v=1"], sources["/green?v=1"]],
        "b": [sources["/blue?v=1"]],
        "c": [sources["/red?v=1"]],
    }
    assert {path.suffix for _, paths in products for path in paths} == {".jpeg", ".png"}
    assert catalog.products["group"].to_list() == ["a", "b", "a"]
    shop.out.rename(tmp_path / "moved")
    assert all(path.is_file() for paths in Catalog.load(tmp_path / "moved").photo_paths() for path in paths)


def test_only_new_photos_are_downloaded(shop: Shop) -> None:
    first = shop.ingest({"a": "/red /green", "b": "/blue"})
    again = shop.ingest({"a": "/red /green", "b": "/blue"})
    assert asked(shop) == set()
    assert again.digest == first.digest
    updated = shop.ingest({"b": "/blue /black", "c": "/red"}, "week.csv", update=True)
    assert asked(shop) == {"/black"}
    assert [len(paths) for paths in updated.photo_paths()] == [2, 2, 1]
    gone = shop.ingest({"c": "/red"}, replace=True)
    assert asked(shop) == set()
    assert len([*(shop.out / "photos").glob("??/*")]) == len(gone.photos) == 1


def test_failed_urls_are_faults_by_name_and_are_tried_again(shop: Shop) -> None:
    shop.server.failing = {"/green?v=1": (503, 100), "/blue?v=1": (503, 2)}
    shop.server.photos |= {"/page?v=1": b"<html>Sorry</html>", "/cut?v=1": photo("red")[:900]}
    rows = {"a": "/red /green", "b": "/blue", "c": "/none", "d": "/page", "e": "/cut", "f": "file:///etc/passwd"}
    catalog = shop.ingest(rows)
    faults = shop.faults(catalog)
    assert "503" in faults.pop("/green")
    assert faults.pop("file:///etc/passwd").startswith("addresses that start with 'file://' are not allowed")
    assert faults == {
        "/none": "not found",
        "/page": "text: expected one of JPEG, PNG, WEBP, GIF, BMP, TIFF",
        "/cut": "truncated: the file ends too early",
    }
    assert shop.server.requests["/green?v=1"] == shop.server.requests["/blue?v=1"] == remote.ATTEMPTS
    assert catalog["a"].images == (f"{shop.server.url}/red?v=1",)

    shop.server.failing = {}
    shop.server.photos |= {"/none?v=1": photo("white"), "/cut?v=1": photo("orange")}
    updated = shop.ingest({"g": "/black"}, "week.csv", update=True)
    assert asked(shop) == {"/black", "/green", "/none", "/page", "/cut"}
    assert set(shop.faults(updated)) == {"/page", "file:///etc/passwd"}
    assert len(updated["a"].images) == 2
    assert shop.ingest(rows | {"g": "/black"}).digest == updated.digest


@pytest.mark.parametrize("tags", [True, False])
def test_changed_photos_are_noticed_on_request(shop: Shop, tags: bool) -> None:
    shop.server.tags = tags
    rows = {"a": "/red", "b": "/green", "c": "/blue"}
    first = shop.ingest(rows)
    blue = shop.server.photos["/blue?v=1"]
    shop.server.photos["/red?v=1"] = photo("black")
    assert shop.ingest(rows).digest == first.digest
    shop.server.photos["/blue?v=1"] = b"<html>Sorry</html>"
    changed = shop.ingest(rows, refetch=True)
    assert asked(shop) == {"/red", "/green", "/blue"}
    assert set(shop.server.sent) == {"/red?v=1", "/blue?v=1"} | ({"/green?v=1"} if not tags else set())
    contents = {id: paths[0].read_bytes() for id, paths in zip("abc", changed.photo_paths(), strict=True)}
    assert contents["a"] == shop.server.photos["/red?v=1"]
    assert contents["c"] == blue  # which the server has lost
    assert len([*(shop.out / "photos").glob("??/*")]) == 3


def test_a_changed_photo_changes_for_all_of_its_products(shop: Shop) -> None:
    shop.ingest({"a": "/red", "b": "/red /blue"})
    shop.server.photos["/red?v=1"] = photo("black")
    catalog = shop.ingest({"a": "/red"}, "week.csv", update=True, refetch=True)
    assert len(catalog.quarantine) == 0
    assert len({paths[0].read_bytes() for paths in catalog.photo_paths()}) == 1


def test_a_killed_download_continues(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SAVED", 2)
    rows = {str(number): f"/{colour}" for number, colour in enumerate(COLOURS)}
    keep = Downloads._keep
    kept: list[remote.Download] = []

    def killed(self: Downloads, download: remote.Download) -> Any:
        if len(kept) == 4:
            raise KeyboardInterrupt
        kept.append(download)
        return keep(self, download)

    with monkeypatch.context() as patch:
        patch.setattr(Downloads, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.ingest(rows)
    assert not (shop.out / "manifest.json").exists()
    catalog = shop.ingest(rows)
    assert len(asked(shop)) == 2
    assert len(catalog.photos) == 6
    assert not (shop.out / ".work").exists()


def test_a_full_disk_is_not_a_fault_of_a_photo(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "keep_photo", full)
    with pytest.raises(CatalogError, match="No space left"):
        shop.ingest({"a": "/red"})


def test_a_lost_list_of_downloads_costs_downloads_only(shop: Shop) -> None:
    first = shop.ingest({"a": "/red"})
    (shop.out / DOWNLOADS).write_bytes(b"damaged")
    assert shop.ingest({"a": "/red"}).digest == first.digest
    assert asked(shop) == {"/red"}
    assert pl.read_parquet(shop.out / DOWNLOADS).columns == ["url", "path", "stamp"]


def test_photos_below_a_url(shop: Shop, tmp_path: Path) -> None:
    shop.server.photos = {"/shop/x/red.png": photo("red")}
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "here.png").write_bytes(photo("blue"))
    images = [f"{shop.server.url}/shop/", tmp_path / "local"]
    catalog = shop.ingest({"a": "x/red.png", "b": "here.png", "c": "gone.png"}, images=images)
    assert [len(paths) for paths in catalog.photo_paths()] == [1, 1, 0]
    assert shop.faults(catalog) == {"gone.png": "not found"}
    assert asked(shop) == {"/shop/x/red.png", "/shop/gone.png"}
    shop.ingest({"a": "x/red.png", "b": "here.png"}, images=images, replace=True)
    assert asked(shop) == set()


def test_schemes_are_those_that_the_user_allows(shop: Shop) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/m/red.png", photo("red"))
    rows = {"a": "memory://m/red.png"}
    assert list(shop.faults(shop.ingest(rows))) == ["memory://m/red.png"]
    catalog = shop.ingest(rows, options=SourceOptions(schemes=("memory",)))
    assert len(catalog.photos) == 1


def test_a_feed_without_urls_needs_images(shop: Shop) -> None:
    with pytest.raises(FeedError, match="needs --images"):
        shop.ingest({"a": "red.png"})
    assert not shop.out.exists()


def test_the_command_needs_no_images(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.ingest({"a": "/red /none"})
    with pytest.raises(SystemExit, match="0"):
        app(["ingest", str(shop.folder / "feed.csv"), "--out", str(shop.out), "--refetch"])
    assert "not found" in capsys.readouterr().out
