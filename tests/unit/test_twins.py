"""Duplicates: products with the same or nearly the same photo, and what they state differently."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from helpers.shop import Shop, draw_photos, row
from PIL import Image

import attire
from attire.bundle import ModelBundle
from attire.catalog.store import Catalog, Product
from attire.catalog.twins import contradictions, nearly_shared_photos, shared_photos
from attire.cli import app
from attire.errors import ConfigError
from attire.pixels.content_cache import FOLDER
from attire.spreadsheets import read_csv
from attire.taxonomy import CATEGORY, Key, Taxonomy
from attire.twins.duplicates import ALIKE, NEARLY, SHARED

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "colour": Key(categories=("Shirts", "Belts"), values=("blue", "navy", "red"), parents={"navy": "blue"}),
        "tags": Key(arity="many", categories=("Shirts",), values=("hood", "zip", "pocket")),
    },
)


def product(category: str | None, **labels: str) -> Product:
    return Product("p", "g", category, {key: tuple(text.split()) for key, text in labels.items()}, (), "")


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([product("Shirts", colour="red"), product("Shirts", colour="blue")], ["colour"]),
        ([product("Shirts", colour="navy"), product("Shirts", colour="blue")], []),
        ([product("Shirts", colour="navy"), product("Belts")], [CATEGORY]),
        ([product(None, colour="red"), product("Belts")], []),
        ([product("Shirts", tags="hood zip"), product("Shirts", tags="hood")], []),
        ([product("Shirts", tags="hood zip"), product("Shirts"), product("Shirts", tags="hood pocket")], ["tags"]),
        ([product("Shirts", colour="red")] * 3, []),
    ],
)
def test_contradictions(products: list[Product], expected: list[str]) -> None:
    assert contradictions(TAXONOMY, products) == expected


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """p0 and p30 share a photo by content, p1 and q1 by name, p2 and q2 nearly; p5 is like no other."""
    folder = tmp_path_factory.mktemp("twins")
    (folder / "photos").mkdir()
    photos = draw_photos(folder / "photos")
    with Image.open(photos / "2.png") as photo:
        photo.resize((80, 80), Image.Resampling.BICUBIC).save(photos / "larger.png")
    return Shop(folder, photos).ingest(
        {
            "p0": row(0, colour="red", title="=1+1"),
            "p30": row(30, colour="blue"),
            "p1": row(1, colour="red"),
            "q1": row(1, "Belts", colour="blue"),
            "p2": row(2),
            "q2": row("larger.png", colour="red"),
            "p5": row(25, colour="red"),
        }
    )


def named(catalog: Catalog, pairs: pl.DataFrame | object) -> set[tuple[str, ...]]:
    return {tuple(catalog.ids[i] for i in pair) for pair in pairs.tolist()}  # type: ignore[union-attr]


def test_pairs(shop: Catalog) -> None:
    assert named(shop, shared_photos(shop)) == {("p0", "p30"), ("p1", "q1")}
    assert ("p2", "q2") in named(shop, nearly_shared_photos(shop))
    assert "p5" not in {id for pair in named(shop, nearly_shared_photos(shop)) for id in pair}


def test_the_table_has_sets_with_contradictions_first(shop: Catalog, tmp_path: Path) -> None:
    table = attire.duplicates(shop, out=tmp_path / "out" / "found.csv")
    sets = {tuple(rows["id"]): rows for rows in table.partition_by("set", maintain_order=True)}
    assert next(iter(sets)) == ("p1", "q1"), "two contradictions"
    assert sets["p1", "q1"]["contradictions"].to_list() == [
        "category: Shirts; colour: red",
        "category: Belts; colour: blue",
    ]
    assert sets["p0", "p30"]["contradictions"].to_list() == ["colour: red", "colour: blue"]
    assert set(sets["p0", "p30"]["how"]) == {SHARED}
    assert sets["p2", "q2"].row(0, named=True) == {
        "set": 3,
        "how": NEARLY,
        "id": "p2",
        "category": "Shirts",
        "title": "",
        "photo": "2.png",
        "contradictions": "",
    }
    assert "'=1+1" in (tmp_path / "out" / "found.csv").read_text(), "no formula"
    assert read_csv(tmp_path / "out" / "found.csv")["id"].to_list() == table["id"].to_list()
    attire.duplicates(shop, out=tmp_path / "found.parquet")
    assert pl.read_parquet(tmp_path / "found.parquet").equals(table)


def test_the_page_shows_photos_and_escapes_words(shop: Catalog, tmp_path: Path) -> None:
    attire.duplicates(shop, out=tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    assert page.count("data:image/jpeg;base64") == 6
    assert '<span class="stated">colour: blue</span>' in page
    assert 'src="http' not in page


def test_a_model_finds_more(
    shop: Catalog, untrained: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    everything = attire.duplicates(shop, untrained, similarity=1e-6)
    assert everything["set"].n_unique() == 1, "an untrained network finds all photos alike"
    assert set(everything["how"]) == {f"{SHARED}, {NEARLY}, {ALIKE}"}
    nothing = attire.duplicates(shop, untrained, similarity=1.0)
    assert "p5" not in nothing["id"]


def test_wrong_options(shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"suffix '.txt': expected .csv, .parquet, .html"):
        attire.duplicates(shop, out=tmp_path / "found.txt")
    with pytest.raises(ConfigError, match="at most 1"):
        attire.duplicates(shop, similarity=1.5)
    app(["duplicates", str(shop.path), "--out", str(tmp_path / "found.csv")], result_action="return_value")
    assert "6 in 3 sets" in capsys.readouterr().out


def test_no_duplicates(catalog: Catalog, tmp_path: Path) -> None:
    assert attire.duplicates(catalog, out=tmp_path / "found.html").is_empty()
    assert "No two products" in (tmp_path / "found.html").read_text()
