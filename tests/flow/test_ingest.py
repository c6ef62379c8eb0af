"""Ingest from end to end: containers, bad photos, bad rows, edited taxonomies, killed runs, unwritable outputs."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest
from helpers.drawn_feed import draw_feed

from attire.catalog import ingest as ingest_module
from attire.catalog import photo_facts as photo_facts_module
from attire.catalog.ingest import ingest
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import CatalogError, ConfigError, FeedError, TaxonomyError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with feed.csv and photos/ of 20 products."""
    draw_feed(tmp_path / "shop", products=20)
    return tmp_path / "shop"


def feed_of(folder: Path, *rows: str, header: str = "id,category,image,neck") -> Path:
    path = folder / "custom.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def test_a_catalog_from_a_feed(shop: Path, tmp_path: Path) -> None:
    catalog = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert len(catalog) == 20
    assert catalog.ids == sorted(catalog.ids)
    assert set(catalog.taxonomy.keys) == {"colour", "tags"}
    assert catalog.taxonomy.keys["tags"].arity == "many"
    assert len(catalog.quarantine) == 0
    product = catalog["p000"]
    assert product.images == ("0.png", "0-back.png")
    assert all(path.is_file() for paths in catalog.photo_paths() for path in paths)
    targets = catalog.targets()
    assert targets.hot.shape == (20, catalog.taxonomy.width)
    with pytest.raises(CatalogError, match="no product 'pp007'; did you mean 'p007'"):
        catalog.rows_of(["pp007"])


def test_folders_and_archives_give_equal_catalogs(shop: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for photo in (shop / "photos").iterdir():
            archive.write(photo, f"deep/{photo.name}")
    tar = shutil.make_archive(str(tmp_path / "photos"), "gztar", shop / "photos")
    digests = {
        ingest(shop / "feed.csv", images, tmp_path / f"out{number}").digest
        for number, images in enumerate([shop / "photos", tmp_path / "photos.zip", Path(tar)])
    }
    assert len(digests) == 1


def test_bad_photos_are_quarantined_with_name_and_reason(shop: Path, tmp_path: Path) -> None:
    photos = shop / "photos"
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:150])
    (photos / "2.png").write_bytes(b"")
    (photos / "3.png").write_text("not a photo at all")
    (photos / "0-back.png").unlink()
    catalog = ingest(shop / "feed.csv", photos, tmp_path / "out")
    reasons = {row["name"]: row["reason"] for row in catalog.quarantine.filter(kind="photo").iter_rows(named=True)}
    assert set(reasons) == {"1.png", "2.png", "3.png", "0-back.png"}
    assert reasons["1.png"].startswith("truncated")
    assert reasons["2.png"] == "empty: 0 bytes"
    assert reasons["3.png"].startswith("text")
    assert reasons["0-back.png"] == "not found in --images"
    assert catalog.quarantine.filter(kind="product")["id"].sort().to_list() == ["p001", "p002", "p003"]
    assert len(catalog) == 20, "products without photos are kept"
    assert catalog["p000"].images == ("0.png",)
    assert catalog["p001"].images == ()


def test_products_with_the_same_photo_form_a_group(shop: Path, tmp_path: Path) -> None:
    shutil.copy(shop / "photos" / "5.png", shop / "photos" / "6.png")
    catalog = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert catalog["p005"].group == catalog["p006"].group == "p005"
    assert catalog["p007"].group != "p005"


def test_a_second_run_opens_only_new_photos(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    opened: list[str] = []
    facts = photo_facts_module._facts
    monkeypatch.setattr(photo_facts_module, "_facts", lambda name, *rest: opened.append(name) or facts(name, *rest))  # type: ignore[func-returns-value]
    again = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert opened == []
    assert again.digest == first.digest
    shutil.copy(shop / "photos" / "7.png", shop / "photos" / "8.png")
    ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert opened == ["8.png"]


def test_a_killed_ingest_is_unfinished_and_continues(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ingest(shop / "feed.csv", shop / "photos", tmp_path / "expected")
    monkeypatch.setattr(photo_facts_module, "CHUNK", 5)
    opened: list[str] = []
    facts = photo_facts_module._facts

    def dying(name: str, path: Path, root: Path) -> photo_facts_module.Facts:
        if len(opened) == 12:
            raise KeyboardInterrupt
        opened.append(name)
        return facts(name, path, root)

    monkeypatch.setattr(photo_facts_module, "_facts", dying)
    with pytest.raises(KeyboardInterrupt):
        ingest(shop / "feed.csv", shop / "photos", tmp_path / "cut")
    with pytest.raises(CatalogError, match="holds no finished catalog: run 'attire ingest' again"):
        Catalog.load(tmp_path / "cut")
    opened.clear()
    monkeypatch.setattr(photo_facts_module, "_facts", lambda name, *rest: opened.append(name) or facts(name, *rest))  # type: ignore[func-returns-value]
    assert ingest(shop / "feed.csv", shop / "photos", tmp_path / "cut").digest == expected.digest
    assert len(opened) < len(expected.photos), "two chunks were saved before the kill"
    assert not (tmp_path / "cut" / ".work").exists()


def test_bad_rows_are_reported_at_once_or_quarantined(shop: Path, tmp_path: Path) -> None:
    words = tmp_path / "taxonomy.toml"
    words.write_text('categories = ["Shirts"]\n[keys.neck]\ncategories = ["Shirts"]\nvalues = ["Round", "V"]\n')
    feed = feed_of(
        shop,
        "a,Shirts,0.png,Round",
        "b,Shrits,1.png,V",
        "c,Shirts,2.png,Rond",
        "a,Shirts,0.png,Round",
        "d,Shirts,3.png,V",
        ",Shirts,4.png,V",
    )
    with pytest.raises(FeedError) as caught:
        ingest(feed, shop / "photos", tmp_path / "out", taxonomy=words)
    message = "\n".join(caught.value.problems)
    for fault in (
        "row 3: category='Shrits' is not one of 1 categories; did you mean 'Shirts'?",
        "row 4: neck='Rond' is not one of 2 values; did you mean 'Round'?",
        "row 5: id 'a' is already in row 2",
        "row 7: the id is empty",
    ):
        assert fault in message
    assert not (tmp_path / "out").exists(), "nothing was written"
    catalog = ingest(feed, shop / "photos", tmp_path / "out", taxonomy=words, bad_rows="quarantine")
    assert catalog.ids == ["a", "d"]
    assert catalog.quarantine.filter(kind="row")["row"].to_list() == [3, 4, 5, 7]


@pytest.mark.parametrize(
    ("header", "fault"),
    [("sku,category,image", "No column 'id'"), ("id,category,photo", "No column 'image'")],
)
def test_missing_columns(shop: Path, tmp_path: Path, header: str, fault: str) -> None:
    with pytest.raises(FeedError, match=fault):
        ingest(feed_of(shop, "a,Shirts,0.png", header=header), shop / "photos", tmp_path / "out")


def test_an_edited_taxonomy_is_kept_and_applied(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest(shop / "feed.csv", shop / "photos", out)
    text = (out / "taxonomy.toml").read_text(encoding="utf-8")
    (out / "taxonomy.toml").write_text(text.replace('"Shirts"', '"Hemden"'), encoding="utf-8")
    with pytest.raises(CatalogError, match="was edited after ingest"):
        Catalog.load(out)
    with pytest.raises(FeedError, match="category='Shirts' is not one of"):
        ingest(shop / "feed.csv", shop / "photos", out)
    alias = '\n[category_aliases]\n"Shirts" = "Hemden"\n\n[keys.colour]'
    edited = text.replace('"Shirts"', '"Hemden"').replace("\n[keys.colour]", alias, 1)
    (out / "taxonomy.toml").write_text(edited, encoding="utf-8")
    catalog = ingest(shop / "feed.csv", shop / "photos", out)
    assert "Hemden" in catalog.products["category"].unique()
    assert (out / "taxonomy.toml").read_text(encoding="utf-8") == edited


def test_a_new_value_redrafts_an_untouched_draft(shop: Path, tmp_path: Path) -> None:
    ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    text = (shop / "feed.csv").read_text(encoding="utf-8").replace("red", "crimson")
    (shop / "feed.csv").write_text(text, encoding="utf-8")
    catalog = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert "crimson" in catalog.taxonomy.keys["colour"].values


def test_invalid_options(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'tabel' is not a source .* did you mean 'table'"):
        ingest(shop / "feed.csv", shop / "photos", tmp_path / "out", source="tabel")
    with pytest.raises(TaxonomyError, match="cannot read the taxonomy"):
        ingest(shop / "feed.csv", shop / "photos", tmp_path / "out", taxonomy=tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="does not exist"):
        ingest(shop / "feed.csv", shop / "nowhere", tmp_path / "out")


def test_an_output_that_cannot_be_written(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match=r"cannot write the catalog .* choose another --out"):
        ingest(shop / "feed.csv", shop / "photos", tmp_path / "file" / "out")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ingest_module, "write_catalog", full)
    with pytest.raises(CatalogError, match=r"No space left on device\. Free space"):
        ingest(shop / "feed.csv", shop / "photos", tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_damaged_catalogs_do_not_open(shop: Path, tmp_path: Path) -> None:
    out = ingest(shop / "feed.csv", shop / "photos", tmp_path / "out").path
    pl.DataFrame({"id": ["x"]}).write_parquet(out / "labels.parquet")
    with pytest.raises(CatalogError, match=r"labels.parquet is missing or was changed after ingest"):
        Catalog.load(out)
    (out / MANIFEST).write_text("{")
    with pytest.raises(CatalogError, match="cannot be read"):
        Catalog.load(out)
    with pytest.raises(CatalogError, match="does not exist"):
        Catalog.load(tmp_path / "nowhere")


def test_a_catalog_can_be_moved_with_its_photos(shop: Path, tmp_path: Path) -> None:
    tar = shutil.make_archive(str(tmp_path / "photos"), "tar", shop / "photos")
    ingest(shop / "feed.csv", tar, tmp_path / "out").path.rename(tmp_path / "moved")
    assert all(path.is_file() for paths in Catalog.load(tmp_path / "moved").photo_paths() for path in paths)
