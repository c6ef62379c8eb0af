"""Listing what is to be predicted takes no object per product, and rows of one product are put together."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from attire.catalog.store import TABLES, Catalog, write_catalog
from attire.errors import CatalogError, FeedError
from attire.predict.inputs import Products, read_products
from attire.taxonomy import Key, Taxonomy

COUNT = 20_000
HELD = 64  # bytes of Python objects per product; one `Path` alone is more
WORDS = Taxonomy(categories=("Shirts", "Belts"), keys={"fit": Key(categories=("Shirts",), values=("slim",))})


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
    photos = pl.DataFrame({"name": [name for two in names for name in two]}).with_columns(
        pl.lit(None, TABLES["photos"][column]).alias(column) for column in TABLES["photos"] if column != "name"
    )
    tables = {
        "products": products.select([*TABLES["products"]]),
        "labels": pl.DataFrame(schema=TABLES["labels"]),
        "photos": photos.with_columns(path="photos/" + pl.col("name")),
        "quarantine": pl.DataFrame(schema=TABLES["quarantine"]),
    }
    return write_catalog(folder, WORDS, WORDS.to_toml("Words.", {}), tables, {}).path


@pytest.mark.parametrize("write", [as_feed, as_catalog])
def test_a_listing_holds_no_object_per_product(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path)
    tracemalloc.start()
    try:
        products = read_products(source, scratch=tmp_path, categories_of=WORDS)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < HELD * COUNT
    last = list(products)[-1]
    assert (products.total, last.id, len(last.photos), last.category) == (COUNT, f"p{COUNT - 1:06d}", 2, "Shirts")
    assert str(last.photos[1]).endswith(f"{COUNT - 1}/b.jpg")


def of_feed(folder: Path, rows: str, known: Taxonomy | None = None) -> Products:
    (folder / "feed.csv").write_text("id,category,title,image\n" + rows)
    return read_products(folder / "feed.csv", scratch=folder, categories_of=known)


def test_rows_of_one_product_are_put_together(tmp_path: Path) -> None:
    rows = "b,,,s://b1\na,belts,,s://a1|s://a2\nb,Shirts,First,s://b2|s://b1\nc,,,\nb,shirts,Second,s://b3\n"
    found = list(of_feed(tmp_path, rows, WORDS))
    assert [(p.id, [str(photo) for photo in p.photos], p.title, p.category) for p in found] == [
        ("b", ["s://b1", "s://b2", "s://b3"], "First", "Shirts"),
        ("a", ["s://a1", "s://a2"], "", "Belts"),
        ("c", [], "", None),
    ]


def test_all_faults_of_known_categories_are_told_with_their_rows(tmp_path: Path) -> None:
    rows = "a,Belts,,s://1\nb,Belst,,s://2\na,Shirts,,s://3\nc,Belst,,s://4\n"
    with pytest.raises(FeedError, match="3 problems") as caught:
        of_feed(tmp_path, rows, WORDS)
    assert [line.split(":")[0] for line in caught.value.problems] == ["row 3", "row 4", "row 5"]
    assert "id 'a' is also said to be 'Belts'" in caught.value.problems[1]


def test_a_catalog_that_was_written_anew_is_not_read_on(tmp_path: Path) -> None:
    catalog = Catalog.open(as_catalog(tmp_path))
    pl.DataFrame(schema=TABLES["labels"]).with_columns(more=pl.lit(1)).write_parquet(tmp_path / "labels.parquet")
    with pytest.raises(CatalogError, match="has changed since the catalog was opened"):
        _ = catalog.labels
