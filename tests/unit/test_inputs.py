"""Reading products: a listing holds no object per product, and rows with the same id are merged."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from attire.catalog.sources import SourceOptions
from attire.catalog.store import TABLES, Catalog
from attire.catalog.writing import write_catalog
from attire.errors import CatalogError, ConfigError, FeedError, PhotoError
from attire.inference.inputs import Products, read_products
from attire.photos.image import open_photo
from attire.photos.remote import Remote, RemotePhoto
from attire.photos.shards import expanded
from attire.taxonomy import Key, Taxonomy

COUNT = 20_000
ALLOCATIONS = 0.5  # per product; not bytes, because Python's table of interned strings may grow at any time
TAXONOMY = Taxonomy(categories=("Shirts", "Belts"), keys={"fit": Key(categories=("Shirts",), values=("slim",))})


def as_feed(folder: Path) -> Path:
    feed = folder / "feed.csv"
    rows = "".join(f"p{n:06d},Shirts,A shirt {n},https://shop/{n}/a.jpg|https://shop/{n}/b.jpg\n" for n in range(COUNT))
    feed.write_text("id,category,title,image\n" + rows)
    return feed


def as_catalog(folder: Path) -> Path:
    names = [[f"{n:06d}/a.jpg", f"{n:06d}/b.jpg"] for n in range(COUNT)]
    products = pl.DataFrame({"id": [f"p{n:06d}" for n in range(COUNT)], "images": names}).with_columns(
        group=pl.col("id"), category=pl.lit("Shirts"), title=pl.format("A shirt {}", "id")
    )
    photos = pl.DataFrame({"name": [name for pair in names for name in pair]}).with_columns(
        pl.lit(None, TABLES["photos"][column]).alias(column) for column in TABLES["photos"] if column != "name"
    )
    tables = {
        "products": products.select([*TABLES["products"]]),
        "labels": pl.DataFrame(schema=TABLES["labels"]),
        "photos": photos.with_columns(path="photos/" + pl.col("name")),
        "quarantine": pl.DataFrame(schema=TABLES["quarantine"]),
    }
    return write_catalog(folder, TAXONOMY, TAXONOMY.to_toml("Words.", {}), tables, {}).path


@pytest.mark.parametrize("write", [as_feed, as_catalog])
def test_a_listing_holds_no_object_per_product(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path)
    tracemalloc.start()
    try:
        products = read_products(source, scratch=tmp_path, categories_of=TAXONOMY)
        allocations = len(tracemalloc.take_snapshot().traces)
    finally:
        tracemalloc.stop()
    assert allocations < ALLOCATIONS * COUNT
    last = list(products)[-1]
    assert (products.total, last.id, len(last.photos), last.category) == (COUNT, f"p{COUNT - 1:06d}", 2, "Shirts")
    assert str(last.photos[1]).endswith(f"{COUNT - 1}/b.jpg")


def of_feed(folder: Path, rows: str, known: Taxonomy | None = None) -> Products:
    (folder / "feed.csv").write_text("id,category,title,image\n" + rows)
    return read_products(folder / "feed.csv", scratch=folder, categories_of=known)


def test_rows_with_the_same_id_are_merged(tmp_path: Path) -> None:
    rows = "b,,,s3://b1\na,belts,,s3://a1|s3://a2\nb,Shirts,First,s3://b2|s3://b1\nc,,,\nb,shirts,Second,s3://b3\n"
    products = list(of_feed(tmp_path, rows, TAXONOMY))
    assert [(p.id, [str(photo) for photo in p.photos], p.title, p.category) for p in products] == [
        ("b", ["s3://b1", "s3://b2", "s3://b3"], "First", "Shirts"),
        ("a", ["s3://a1", "s3://a2"], "", "Belts"),
        ("c", [], "", None),
    ]


def test_all_invalid_known_categories_are_reported_with_their_rows(tmp_path: Path) -> None:
    rows = "a,Belts,,s3://1\nb,Belst,,s3://2\na,Shirts,,s3://3\nc,Belst,,s3://4\n"
    with pytest.raises(FeedError, match="3 problems") as caught:
        of_feed(tmp_path, rows, TAXONOMY)
    assert [line.split(":")[0] for line in caught.value.problems] == ["row 3", "row 4", "row 5"]
    assert "id 'a' has another category, 'Belts', in an earlier row" in caught.value.problems[1]


def test_a_changed_catalog_is_not_read(tmp_path: Path) -> None:
    catalog = Catalog.load(as_catalog(tmp_path))
    pl.DataFrame(schema=TABLES["labels"]).with_columns(more=pl.lit(1)).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(CatalogError, match="has changed since the catalog was opened"):
        _ = catalog.labels


@pytest.mark.parametrize(
    "address",
    [
        "reference::http://127.0.0.1:9/x.json",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "nosuch://x",
        "simplecache::https://127.0.0.1:9/x.jpg",
        "zip://x.jpg::file:///etc/photos.zip",
        "FILE:///etc/passwd",
    ],
)
def test_a_url_of_another_scheme_is_a_fault_of_its_product(tmp_path: Path, address: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "good.jpg").write_bytes(b"x")
    (tmp_path / "feed.csv").write_text(f"id,image\nbad,{address}\ngood,good.jpg\n")
    bad, good = read_products(tmp_path / "feed.csv", [tmp_path / "photos"], scratch=tmp_path)
    assert not bad.photos
    assert "expected one of http, https, s3" in bad.faults[0]
    assert good.photos == [tmp_path / "photos" / "good.jpg"]


def test_a_scheme_that_the_user_names_is_read(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
    import fsspec

    fsspec.filesystem("memory").pipe_file("/shop/a.jpg", b"photo")
    (tmp_path / "feed.csv").write_text("id,image\na,memory://shop/a.jpg\n")
    (product,) = read_products(tmp_path / "feed.csv", options=SourceOptions(schemes=("memory",)), scratch=tmp_path)
    (photo,) = product.photos
    assert isinstance(photo, RemotePhoto)
    assert photo.read() == b"photo"


def test_pipes_devices_and_odd_names_do_not_stop_a_run(tmp_path: Path) -> None:
    """Anything but a regular file is a fault of its product; a name that is not UTF-8 is escaped."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    products = {product.id: product.photos[0] for product in read_products(tmp_path, scratch=tmp_path)}
    assert set(products) == {"pipe", "zero", "gone", r"caf\xe9"}
    for id, reason in {"pipe": "not a regular file", "zero": "not a regular file", "gone": "not found"}.items():
        photo = products[id]
        assert isinstance(photo, Path)
        with pytest.raises(PhotoError, match=reason):
            open_photo(photo)


def test_an_existing_file_takes_precedence_over_the_pattern(tmp_path: Path) -> None:
    for name in ("a[1].tar", "a1.tar", "a{0..1}.tar"):
        (tmp_path / name).write_bytes(b"")
    assert expanded(f"{tmp_path}/a[1].tar", Remote()) == [f"{tmp_path}/a[1].tar"]
    assert expanded(f"{tmp_path}/a{{0..1}}.tar", Remote()) == [f"{tmp_path}/a{{0..1}}.tar"]
    assert expanded(f"{tmp_path}/a[*.tar", Remote()) == [f"{tmp_path}/a[1].tar"]
    with pytest.raises(ConfigError, match="more than 1,000,000 archives"):
        expanded("a{0..99999999999}.tar", Remote())
