"""Ingesting into an existing catalog: allowed changes, refused feeds, and killed or failed runs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.killing import DECIDED_AT, KilledError, killed_at
from PIL import Image

from attire.catalog.ingest import ingest
from attire.catalog.splits import split
from attire.catalog.store import MANIFEST, TAXONOMY, Catalog
from attire.errors import CatalogError, FeedError
from attire.files import locked

Rows = Mapping[str, tuple[str, str]]  # id -> category, neck
ROWS = {f"p{n}": ("Shirts" if n % 2 else "Belts", "round" if n % 3 else "v") for n in range(6)}


class Shop:
    """A feed, and a photo for each product with a colour of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.photos, self.out = folder, folder / "photos", folder / "catalog"
        self.photos.mkdir()
        for number in range(12):
            self.draw(f"p{number}", number)

    def draw(self, id: str, colour: int) -> None:
        image = Image.effect_noise((40, 40), 20).convert("RGB")
        image.paste((20 * colour, 255 - 20 * colour, 128), (0, 0, 40, 4 + 3 * colour))
        image.save(self.photos / f"{id}.png")

    def feed(self, rows: Rows, name: str = "feed.csv", photo: Callable[[str], str] = "{}.png".format) -> Path:
        lines = [f"{id},{category},{neck},{photo(id)}" for id, (category, neck) in rows.items()]
        (self.folder / name).write_text("\n".join(["id,category,neck,image", *lines]))
        return self.folder / name

    def ingest(self, rows: Rows, name: str = "feed.csv", **options: Any) -> Catalog:
        return ingest(self.feed(rows, name), self.photos, self.out, **options)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.ingest(ROWS)
    return shop


def test_usual_changes_need_no_option(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "attire")
    words = shop.out / TAXONOMY
    words.write_text(
        words.read_text().replace('"round"', '"crew"').replace("[keys.neck]", "[keys.neck]\ntitle = 'Neck'")
    )
    with pytest.raises(FeedError, match="neck='round' is not one of"):
        shop.ingest(ROWS)
    words.write_text(words.read_text() + '\n[keys.neck.aliases]\nround = "crew"\n')
    assert "crew" in shop.ingest(ROWS).labels["value"].to_list(), "an edited taxonomy"
    more = ROWS | {"p1": ("Shirts", "v"), "p6": ("Belts", "v")}
    assert len(shop.ingest(more)) == 7, "an edited feed"
    assert "1 added, 1 changed, 5 unchanged, 0 gone" in caplog.text
    shop.draw("p2", 11)
    before = Catalog.load(shop.out).digest
    assert shop.ingest(more).digest != before, "a replaced photo"
    assert len(shop.ingest(more | {"p7": ("Shirts", "")}, "other.csv")) == 8, "the same products in another file"


def test_dropping_products_is_refused(shop: Shop) -> None:
    before = Catalog.load(shop.out).digest
    week = {id: row for id, row in ROWS.items() if id > "p3"} | {"p5": ("Belts", "v"), "p9": ("Belts", "v")}
    for name in ("week.csv", "feed.csv"):
        with pytest.raises(CatalogError) as caught:
            shop.ingest(week, name)
        message = str(caught.value)
        assert "lacks 4 of the 6 products" in message
        assert "('p0', 'p1', 'p2' and 1 more)" in message
        assert "1 added, 1 changed, 1 unchanged, 4 gone" in message
        assert "--replace to replace the catalog" in message
        assert Catalog.load(shop.out).digest == before, "nothing was written"
    assert shop.ingest(week, "week.csv", replace=True).ids == ["p4", "p5", "p9"]


def test_quarantined_rows_do_not_count_as_dropped(shop: Shop) -> None:
    taxonomy = shop.folder / "words.toml"
    taxonomy.write_text((shop.out / TAXONOMY).read_text())
    odd = ROWS | {"p0": ("Hats", "v")}
    catalog = shop.ingest(odd, taxonomy=taxonomy, bad_rows="quarantine")
    assert "p0" not in catalog.ids
    assert catalog.quarantine["kind"].to_list() == ["row"]


def test_another_feed_may_not_replace_the_photos_of_products(shop: Shop) -> None:
    before = Catalog.load(shop.out).digest
    moved: dict[str, Any] = {"photo": lambda id: f"p{int(id[1:]) + 6}.png"}
    with pytest.raises(CatalogError, match=r"all photos of 6 products in .* would be replaced.*--replace to"):
        ingest(shop.feed(ROWS, "week.csv", **moved), shop.photos, shop.out)
    assert Catalog.load(shop.out).digest == before
    assert not (shop.out / ".lock").exists()
    shutil.copytree(shop.photos, shop.folder / "elsewhere")
    renamed = ingest(shop.feed(ROWS, "renamed.csv"), shop.folder / "elsewhere", shop.out)
    assert renamed.digest == before, "the same photos in another folder"
    ingest(shop.feed(ROWS, "renamed.csv", **moved), shop.photos, shop.out)
    assert Catalog.load(shop.out)["p0"].images == ("p6.png",), "the catalog's own feed may change photos"
    assert ingest(shop.feed(ROWS, "week.csv"), shop.photos, shop.out, replace=True)["p0"].images == ("p0.png",)


def test_another_feed_gets_a_new_draft_and_edited_taxonomies_are_kept(shop: Shop) -> None:
    week = {f"w{n}": ("Hats", "none") for n in range(3)}
    for id in week:
        shop.draw(id, int(id[1:]))
    assert shop.ingest(week, "week.csv", replace=True).taxonomy.categories == ("Hats",)
    words = shop.out / TAXONOMY
    edited = words.read_text() + "title = 'Neck'\n"
    words.write_text(edited)
    with pytest.raises(FeedError, match=r"category='Belts' is not one of"):
        shop.ingest(ROWS, replace=True)
    assert words.read_text() == edited


@pytest.mark.parametrize("moment", range(19))
def test_a_killed_second_ingest_leaves_the_old_catalog_or_the_new_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    more = ROWS | {"p6": ("Hats", "v")}
    expected = ingest(shop.feed(more), shop.photos, shop.folder / "expected")
    before = Catalog.load(shop.out).digest
    with killed_at(moment, monkeypatch), pytest.raises(KilledError):
        shop.ingest(more)
    assert Catalog.load(shop.out).digest == (before if moment < DECIDED_AT else expected.digest)
    with pytest.raises(CatalogError, match=rf"lacks {'6 of the 6' if moment < DECIDED_AT else '7 of the 7'} products"):
        shop.ingest({"p9": ("Hats", "v")}, "week.csv")
    assert shop.ingest(more).digest == expected.digest
    assert {path.name for path in shop.out.iterdir()} == {path.name for path in expected.path.iterdir()}


def test_leftovers_of_a_kill_while_saving_facts_are_removed(shop: Shop) -> None:
    (shop.out / ".work").mkdir()
    (shop.out / ".work" / ".photos-00000.parquet.1.tmp").write_text("half of it")
    shop.ingest(ROWS)
    assert not (shop.out / ".work").exists()


def test_two_ingests_at_the_same_time(shop: Shop) -> None:
    with locked(shop.out / ".lock"), pytest.raises(CatalogError, match="another attire command is writing"):
        shop.ingest(ROWS)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{", '{"format": 1}', "1" * 5000, "\ud800"])
def test_a_damaged_manifest_is_reported(shop: Shop, content: str) -> None:
    (shop.out / MANIFEST).write_bytes(content.encode(errors="surrogatepass"))
    message = r"manifest.json cannot be read .*: remove it, and run 'attire ingest'"
    with pytest.raises(CatalogError, match=message):
        Catalog.load(shop.out)
    with pytest.raises(CatalogError, match=message):
        shop.ingest(ROWS)
    (shop.out / MANIFEST).unlink()
    assert len(shop.ingest(ROWS)) == 6


def test_damaged_tables_are_made_again(shop: Shop) -> None:
    for name in ("photos", "products"):
        (shop.out / f"{name}.parquet").write_bytes(b"PAR1")
    with pytest.raises(CatalogError, match="is missing or was changed after ingest: run 'attire ingest' again"):
        Catalog.load(shop.out)
    assert len(shop.ingest(ROWS)) == 6
    pl.DataFrame({"id": ["x"]}).write_parquet(shop.out / "photos.parquet")
    assert len(shop.ingest(ROWS).photos) == 6


def test_a_full_disk_is_reported(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")

    catalog = Catalog.load(shop.out)
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(CatalogError, match=r"cannot write the catalog .*No space left on device"):
            shop.ingest(ROWS)
        with pytest.raises(CatalogError, match=r"cannot write the split .*No space left on device"):
            split(catalog, val=0.5)
    assert not [path for path in shop.out.iterdir() if path.suffix == ".tmp"]
    assert shop.ingest(ROWS).digest == catalog.digest
