"""Shopify's product export: a row per product, whatever its rows say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.published import write_json, write_yaml
from PIL import Image

from attire.catalog.feed_row import Row
from attire.catalog.ingest import ingest
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.sources.shopify import category_paths
from attire.errors import FeedError, TaxonomyError
from attire.inference.inputs import read_products
from attire.taxonomy import Taxonomy

HEADER = (
    "Handle,Title,Vendor,Product Category,Type,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Image Src,"
    "Variant Image,Color (product.metafields.shopify.color-pattern),"
    "Sleeve type (product.metafields.shopify.sleeve-type),Notes (product.metafields.custom.notes)\n"
)
TEE = (
    "tee,Red tee,Acme,Garments > Tops > T-Shirts,Tees,Size,S,Color,Red,https://cdn/a.png?v=1,,,long; cap,hi\n"
    "tee,,,,,,M,,Blue,b.png,https://cdn/a.png?v=1,,,\n"
)


def read(folder: Path, text: str, **options: object) -> list[Row]:
    (folder / "export.csv").write_text(text)
    return list(SOURCES["shopify"](folder / "export.csv", SourceOptions.model_validate(options)))


def test_the_rows_of_a_product_are_one(tmp_path: Path) -> None:
    belt = "belt,Belt,Acme,,Belts,Title,Default Title,,,belt.png,,black,,\n"
    assert read(tmp_path, HEADER + TEE + belt) == [
        Row(2, "tee", "T-Shirts", {"color": ("Red", "Blue"), "sleeve_type": ("long", "cap")},
            ("https://cdn/a.png?v=1", "b.png"), "Red tee"),
        Row(4, "belt", "Belts", {"color": ("black",), "sleeve_type": ()}, ("belt.png",), "Belt"),
    ]  # fmt: skip


def test_the_newer_export_has_other_names(tmp_path: Path) -> None:
    text = (
        "Title,URL handle,Vendor,Product category,Option1 name,Option1 value,Product image URL,Variant image URL\n"
        "A tee,tee,Acme,Garments > Tops,Color,Red,a.png,b.png\n"
    )
    assert read(tmp_path, text) == [Row(2, "tee", "Tops", {"color": ("Red",)}, ("a.png", "b.png"), "A tee")]


def test_a_metafield_outranks_an_option(tmp_path: Path) -> None:
    row = "tee,Tee,,,Tees,Color,Dark Night,,,a.png,,navy,,\n"
    assert read(tmp_path, HEADER + row)[0].labels["color"] == ("navy",)


def test_keys_are_chosen_and_ignored(tmp_path: Path) -> None:
    assert list(read(tmp_path, HEADER + TEE, ignore=("Color",))[0].labels) == ["sleeve_type"]
    labels = read(tmp_path, HEADER + TEE, keys=("Size", "vendor", "notes"))[0].labels
    assert labels == {"notes": ("hi",), "size": ("S", "M"), "vendor": ("Acme",)}


def test_metafields_of_one_name(tmp_path: Path) -> None:
    text = "Handle,Fit (product.metafields.custom.fit),Fit (product.metafields.shopify.fit)\na,loose,slim\n"
    assert read(tmp_path, text)[0].labels == {"fit": ("slim",)}
    assert read(tmp_path, text, keys=("custom_fit",))[0].labels == {"custom_fit": ("loose",)}


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"expected a column 'Handle' or 'URL handle'. It has: id, image"):
        read(tmp_path, "id,image\na,b\n")
    with pytest.raises(FeedError, match="no metafield or option has the name 'colr'; did you mean 'color'"):
        read(tmp_path, HEADER + TEE, keys=("colr", "sleeve_type"))
    with pytest.raises(FeedError, match="row 3: 2 cells, expected 14"):
        read(tmp_path, HEADER + TEE.splitlines()[0] + "\ntee,x\n")


def test_category_paths(tmp_path: Path) -> None:
    rows = ["a,A > Tops", "b,B > Tops", "b,", "c,B > Tops", "d,Hats"]
    (tmp_path / "export.csv").write_text("\n".join(["Handle,Product Category", *rows]))
    assert category_paths(tmp_path / "export.csv", SourceOptions()) == {"top": "B > Tops", "hat": "Hats"}


def test_prediction_reads_an_export(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "export.csv").write_text((HEADER + TEE).replace("https://cdn/a.png?v=1", ""))
    source = read_products(tmp_path / "export.csv", [tmp_path], feed_source="shopify", scratch=tmp_path)
    (product,) = source
    assert (product.id, product.title, len(product.photos)) == ("tee", "Red tee", 1)


@pytest.mark.parametrize("write", [write_json, write_yaml])
def test_a_catalog_with_a_published_taxonomy(tmp_path: Path, write: Callable[[Path], list[Path]]) -> None:
    for name in "abc":
        Image.effect_noise((32, 32), ord(name)).save(tmp_path / f"{name}.png")
    rows = [
        "a,Garments > Tops > T-Shirts,a.png,grey,long,tall",
        "b,belt,b.png,Reds|Mauve,,",
        "c,Capes,c.png,Rose Gold,3-4,",
    ]
    (tmp_path / "feed.csv").write_text("\n".join(["id,category,image,colour,Sleeve Type,height", *rows]))
    files = write(tmp_path / "published")
    catalog = ingest(tmp_path / "feed.csv", tmp_path, tmp_path / "out", taxonomy=files)
    words = catalog.taxonomy
    assert words.categories == ("T-Shirts", "Belts")
    assert set(words.category_aliases) == {"Garments > Tops > T-Shirts", "belt"}
    assert list(words.keys) == ["color", "pattern", "sleeve_type", "top_features", "belt_color"]  # no size
    assert words.keys["color"].values == ("Gray", "Red", "Rose gold", "Other")
    assert (words.keys["color"].arity, words.keys["top_features"].arity, words.keys["pattern"].arity) == (
        "many",
        "many",
        "one",
    )
    assert words.keys["sleeve_type"].categories == ("T-Shirts",)
    assert words.key_aliases == {"colour": "color", "Sleeve Type": "sleeve_type"}
    labels = set(catalog.labels.select("id", "key", "value").iter_rows())
    assert labels == {("a", "color", "Gray"), ("a", "sleeve_type", "Long"), ("c", "color", "Rose gold"),
                      ("c", "sleeve_type", "3/4")}  # fmt: skip
    new = (tmp_path / "out" / "new-words.toml").read_text()
    assert "Mauve" in new
    assert "Capes" in new
    assert "height" in new
    assert Taxonomy.load(tmp_path / "out" / "taxonomy.toml") == words
    ingest(tmp_path / "feed.csv", tmp_path, tmp_path / "out", taxonomy=files)  # the same again
    (tmp_path / "out" / "taxonomy.toml").write_text(words.to_toml().replace('"Other",', '"Mauve",'))
    with pytest.raises(TaxonomyError, match=r"taxonomy\.toml exists, and differs from what --taxonomy gives"):
        ingest(tmp_path / "feed.csv", tmp_path, tmp_path / "out", taxonomy=files)


def test_taxonomies_that_cannot_be_used(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    feed = tmp_path / "feed.csv"
    feed.write_text("id,category,image\na,Capes,a.png\n")
    categories, attributes, _ = write_json(tmp_path / "published")
    cases: list[tuple[list[Path], str]] = [
        ([categories], "--taxonomy has no attributes"),
        ([categories, attributes], "no category of the feed is one of --taxonomy"),
        ([Path("a.toml"), Path("b.toml")], "--taxonomy has 2 files, a.toml and b.toml. Expected one taxonomy.toml"),
    ]
    for files, message in cases:
        with pytest.raises(TaxonomyError, match=message):
            ingest(feed, tmp_path, tmp_path / "out", taxonomy=files)
    assert not (tmp_path / "out").exists()
