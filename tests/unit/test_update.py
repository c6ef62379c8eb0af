"""Updating a catalog with weekly feeds: equal to one ingest of everything, nothing lost, nothing opened twice."""

from __future__ import annotations

import logging
import random
import re
import shutil
import tarfile
import tomllib
from pathlib import Path

import polars as pl
import pytest
from helpers.killing import DECIDED_AT, KilledError, killed_at
from helpers.shop import PHOTOS, Shop, draw_photos, row

from attire.catalog import photo_facts
from attire.catalog.ingest import ingest
from attire.catalog.new_words import NEW_WORDS
from attire.catalog.store import TAXONOMY, Catalog
from attire.cli import app
from attire.errors import CatalogError, ConfigError, FeedError
from attire.files import file_sha256

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("photos"))


FIRST = {
    "a": row(0, colour="red", tags="logo|zip", title="Acme"),
    "b": row(1, "Belts", colour="blue", group="g1"),
    "c": row(2, colour="red"),
}


@pytest.fixture
def shop(tmp_path: Path, photos: Path) -> Shop:
    """A shop with the catalog of `FIRST`."""
    shop = Shop(tmp_path, photos)
    shop.ingest(FIRST)
    return shop


def labels_of(catalog: Catalog, id: str) -> dict[str, tuple[str, ...]]:
    return catalog[id].labels


def without_counts(taxonomy: Path) -> str:
    """The text of a drafted taxonomy without the numbers of products, so that its lines can be edited."""
    return re.sub(r" # [\d,]+$", "", taxonomy.read_text(), flags=re.MULTILINE)


def weeks_of(draw: random.Random) -> list[dict[str, dict[str, str]]]:
    """Ten weekly feeds. New words appear, products change their photos, and cells are blank at random."""
    ids = [f"p{number:02d}" for number in range(24)]
    weeks = []
    seen: set[str] = set()
    for week in range(10):
        rows = {}
        for id in draw.sample(ids, 6):
            maybe = {
                "category": draw.choice(["Shirts", "Belts", "Hats"][: 2 + (week > 4)]),
                "title": f"Acme {id} {week}",
                "group": f"g{draw.randrange(8)}",
                "image": "|".join(f"{draw.randrange(PHOTOS)}.png" for _ in range(draw.choice([1, 1, 2]))),
                "colour": draw.choice(["red", "blue", "green", "navy"][: 2 + week // 4]),
                "tags": "|".join(draw.sample(["logo", "zip", "hood"], draw.choice([1, 1, 1, 2]))),
                "fit": draw.choice(["slim", "wide"]) if week > 5 else "",
            }
            is_new = id not in seen
            rows[id] = {
                name: cell
                for name, cell in maybe.items()
                if draw.random() < 0.6 or (is_new and name == "image") or (week == 0 and name == "category")
            }
            if "image" in rows[id]:
                rows[id]["image"] = "|".join(dict.fromkeys(rows[id]["image"].split("|")))
            seen.add(id)
        weeks.append(rows)
    return weeks


@pytest.mark.parametrize("seed", range(3))
def test_ten_weekly_updates_equal_one_ingest_of_everything(tmp_path: Path, photos: Path, seed: int) -> None:
    shop, final = Shop(tmp_path, photos), dict[str, dict[str, str]]()
    for number, rows in enumerate(weeks_of(random.Random(seed))):
        weekly = shop.update(rows, f"week{number}.csv")
        for id, cells in rows.items():
            final.setdefault(id, {}).update(cells)
    feed = shop.feed(final, "all.csv")
    drafted = ingest(feed, photos, tmp_path / "drafted")
    for name in ("products", "labels"):
        once, often = getattr(drafted, name), getattr(weekly, name)
        assert once.sort(once.columns[:3]).equals(often.sort(once.columns[:3])), name
    assert weekly.photos.select("name", "sha256").equals(drafted.photos.select("name", "sha256"))
    assert {name: {*key.values} for name, key in weekly.taxonomy.keys.items()} == {
        name: {*key.values} for name, key in drafted.taxonomy.keys.items()
    } or seed, "values that no product has any more stay"
    checked = ingest(feed, photos, tmp_path / "checked", taxonomy=weekly.path / TAXONOMY)
    assert sorted(checked.labels.rows()) == sorted(weekly.labels.rows())
    assert len(weekly.history()) == 10
    assert not (weekly.path / NEW_WORDS).exists()


def test_blank_cells_leave_what_is_known_and_stated_ones_replace_it(shop: Shop) -> None:
    catalog = shop.update({"a": {"colour": "blue"}, "b": {"title": "Belt", "category": "Shirts"}, "d": row(5, "Belts")})
    assert catalog.ids == ["a", "b", "c", "d"]
    a, b = catalog["a"], catalog["b"]
    assert (a.category, a.title, a.images) == ("Shirts", "Acme", ("0.png",))
    assert a.labels == {"colour": ("blue",), "tags": ("logo", "zip")}
    assert (b.category, b.title, b.labels) == ("Shirts", "Belt", {"colour": ("blue",)})
    assert catalog["c"].labels == {"colour": ("red",)}
    (first, second) = catalog.history()
    assert (second.mode, second.added, second.changed, second.unchanged, second.gone) == ("update", 1, 2, 1, 0)
    assert (first.mode, first.added, first.gone) == ("replace", 3, 0)


def test_known_photos_are_neither_opened_nor_needed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    facts = photo_facts._facts

    def opening(name: str, path: Path, root: Path) -> photo_facts.Facts:
        opened.append(name)
        return facts(name, path, root)

    monkeypatch.setattr(photo_facts, "_facts", opening)
    only_new = shop.folder / "new"
    only_new.mkdir()
    shutil.copy(shop.photos / "30.png", only_new)
    catalog = shop.update({"d": row(30), "a": row(0, colour="blue"), "e": row(1)}, images=only_new)
    assert opened == ["30.png"]
    assert catalog["d"].group == catalog["a"].group == "a", "the new photo equals a known one"
    assert catalog["a"].images == ("0.png",), "named again, and not in --images any more"
    assert catalog["e"].images == (), "a photo of another product is not taken for one that is missing"
    assert catalog.quarantine.filter(kind="photo")["reason"].to_list() == ["not found in --images"]
    assert len(catalog.photos) == 4


def test_groups_of_the_feed_last_over_the_weeks(shop: Shop) -> None:
    catalog = shop.update({"d": row(5, "Belts", group="g1"), "e": row(6, group="g2")})
    assert catalog["d"].group == catalog["b"].group == "b"
    catalog = shop.update({"b": {"group": "g2"}})
    assert [catalog[id].group for id in "bde"] == ["b", "d", "b"]


def test_another_photo_of_the_same_name_is_not_mixed_up(shop: Shop) -> None:
    shop.update({"d": row(0)}, images=shop.photos)
    other = shop.folder / "week2"
    other.mkdir()
    shutil.copy(shop.photos / "20.png", other / "0.png")
    catalog = shop.update({"e": row(0)}, images=other)
    assert catalog["e"].images == ()
    (reason,) = catalog.quarantine.filter(kind="photo")["reason"]
    assert "the catalog has another photo of this name" in reason
    assert "give more of the path" in reason
    assert catalog["a"].images == ("0.png",)
    catalog = shop.update({"e": row("week2/0.png")}, images=other)
    paths = dict(zip(catalog.ids, catalog.photo_paths(), strict=True))
    assert paths["e"] == (other / "0.png",)
    assert paths["a"] == (shop.photos / "0.png",)
    assert catalog.quarantine.is_empty()


def test_unpacked_photos_of_earlier_weeks_are_kept(tmp_path: Path, photos: Path) -> None:
    shop, archives = Shop(tmp_path, photos), []
    for week in range(2):
        folder = tmp_path / f"week{week}"
        folder.mkdir()
        shutil.copy(photos / f"{week}.png", folder)
        archives.append(shutil.make_archive(str(folder), "tar", folder))
    shop.ingest({"a": row(0, colour="red")}, images=archives[0])
    catalog = shop.update({"b": row(1)}, images=archives[1])
    assert all(path.is_file() for paths in catalog.photo_paths() for path in paths)
    assert shop.ingest({"b": row(1)}, replace=True, images=archives[1]).ids == ["b"]
    assert len(list((shop.out / "photos").glob("*/*"))) == 1


def test_unusable_photos_stay_listed_until_they_are_replaced(shop: Shop) -> None:
    folder = shop.folder / "bad"
    folder.mkdir()
    (folder / "x.png").write_text("not a photo")
    shop.update({"d": row("x.png")}, images=folder)
    catalog = shop.update({"e": row(5)})
    photo, product = catalog.quarantine.rows(named=True)
    assert (photo["id"], photo["name"], photo["row"], photo["reason"][:4]) == ("d", "x.png", None, "text")
    assert (product["kind"], product["id"]) == ("product", "d")
    shutil.copy(shop.photos / "7.png", folder / "x.png")
    catalog = shop.update({"d": row("x.png")}, images=folder)
    assert catalog.quarantine.is_empty()
    assert catalog["d"].images == ("x.png",)


def test_new_words_of_an_edited_taxonomy_cost_a_label_not_a_row(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.edit()
    week = {
        "a": {"colour": "redd", "tags": "logo|neon", "title": "New"},
        "d": row(5, "Hats", colour="redd", tags="zip"),
        "e": row(6, fit="slim", colour="blue"),
    }
    catalog = shop.update(week)
    assert catalog["a"].title == "New"
    assert (labels_of(catalog, "a"), labels_of(catalog, "d")) == ({}, {"tags": ("zip",)})
    assert (catalog["d"].category, labels_of(catalog, "e")) == (None, {"colour": ("blue",)})
    assert catalog.quarantine.is_empty()
    assert tomllib.loads((shop.out / NEW_WORDS).read_text()) == {
        "categories": [["Hats", 1, "Shirts"]],
        "keys": [["fit", 1, ""]],
        "values": {"colour": [["redd", 2, "red"]], "tags": [["neon", 1, ""]]},
    }
    assert "4 words are not in the taxonomy" in caplog.text
    assert "colour: 'redd' (2 products, nearest 'red')" in caplog.text
    assert "Add them as values or aliases" in caplog.text
    # As soon as the words are known, what the feeds stated counts, without reading those feeds again.
    shop.edit("[keys.tags]", '[keys.colour.aliases]\nredd = "red"\n\n[keys.tags]')
    shop.edit('    "Belts",', '    "Belts", "Hats",')
    catalog = shop.update({"f": row(7)}, "week3.csv")
    assert labels_of(catalog, "a") == {"colour": ("red",)}
    assert (catalog["d"].category, labels_of(catalog, "d")) == ("Hats", {"colour": ("red",), "tags": ("zip",)})
    assert tomllib.loads((shop.out / NEW_WORDS).read_text()) == {"values": {"tags": [["neon", 1, ""]]}}
    catalog = shop.update({"a": {"tags": "zip"}})
    assert labels_of(catalog, "a") == {"colour": ("red",), "tags": ("zip",)}
    assert not (shop.out / NEW_WORDS).exists()


def test_an_unknown_category_is_no_blank_cell(shop: Shop) -> None:
    shop.edit()
    assert shop.update({"c": {"category": "Hats"}})["c"].category is None
    assert shop.update({"c": {"category": "Belts"}})["c"].category == "Belts"
    assert not (shop.out / NEW_WORDS).exists()


def test_at_most_ten_new_words_are_printed(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.edit()
    shop.update({f"n{number:02d}": row(5, colour=f"word {number}") for number in range(13)})
    assert "... and 3 more" in caplog.text
    assert len(tomllib.loads((shop.out / NEW_WORDS).read_text())["values"]["colour"]) == 13


def test_a_drafted_taxonomy_is_extended_at_the_end(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "attire")
    before = Catalog.load(shop.out).taxonomy
    week = {f"n{n}": row(5, "Hats", colour="AAA", fit="slim") for n in range(9)} | {"a": {"colour": "RED|aaa"}}
    catalog = shop.update(week)
    after = catalog.taxonomy
    assert after.categories == (*before.categories, "Hats")
    assert after.keys["colour"].values == (*before.keys["colour"].values, "AAA")
    assert after.keys["colour"].arity == "many"
    assert list(after.keys) == ["colour", "tags", "fit"]
    assert after.keys["fit"].categories == ("Hats",)
    assert "Hats" in after.keys["colour"].categories
    assert labels_of(catalog, "a")["colour"] == ("red", "AAA")
    assert "new words were appended to the drafted taxonomy: category 'Hats', colour 'AAA', fit 'slim'" in caplog.text
    assert '"AAA", # 10' in (shop.out / TAXONOMY).read_text()
    assert shop.update({"a": {"colour": "blue"}}).taxonomy == after, "words stay, also if no product has them any more"


def test_an_edited_taxonomy_renames_labels_of_products_that_the_feed_lacks(shop: Shop) -> None:
    shop.edit('"red"', '"crimson"')
    catalog = shop.update({"d": row(5)})
    assert labels_of(catalog, "c") == {}
    shop.edit("[keys.tags]", '[keys.colour.aliases]\nred = "crimson"\n\n[keys.tags]')
    assert labels_of(shop.update({"d": row(5)}), "c") == {"colour": ("crimson",)}


def test_a_key_that_takes_one_value_by_now_costs_the_label_and_not_the_words(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    before = labels_of(Catalog.load(shop.out), "a")
    shop.edit('"many"', '"one"')
    catalog = shop.update({"d": row(5)})
    assert labels_of(catalog, "a") == {"colour": ("red",)}
    assert "tags takes one value, and 1 product in the catalog has several: no label until a feed" in caplog.text
    shop.edit('"one"\ncategories = ["Shirts"]\nvalues', '"many"\ncategories = ["Shirts"]\nvalues')
    assert labels_of(shop.update({"d": row(5)}), "a") == before


def test_bad_rows_of_an_update_leave_their_product_as_it_is(shop: Shop) -> None:
    week = {"a": {"colour": "red|blue"}, "d": {"category": "Shirts"}, "e": row(5)}
    shop.edit()
    with pytest.raises(FeedError, match=r"(?s)2 problems.*colour takes one value.*it names no photo"):
        shop.update(week)
    catalog = shop.update(week, bad_rows="quarantine")
    assert catalog.ids == ["a", "b", "c", "e"]
    assert labels_of(catalog, "a")["colour"] == ("red",)
    assert catalog.quarantine["kind"].to_list() == ["row", "row"]


def test_update_and_replace_exclude_each_other(shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"--update keeps the products .* give one of the two"):
        shop.update(FIRST, replace=True)


def test_a_damaged_catalog_is_not_updated(shop: Shop) -> None:
    pl.DataFrame({"id": ["x"]}).write_parquet(shop.out / "labels.parquet")
    with pytest.raises(CatalogError, match=r"labels.parquet is missing or was changed.* with --replace"):
        shop.update({"d": row(5)})
    assert len(shop.ingest(FIRST, replace=True)) == 3
    assert [entry.number for entry in Catalog.load(shop.out).history()] == [1, 2]


@pytest.mark.parametrize("moment", range(0, 20, 3))
def test_a_killed_update_leaves_the_old_catalog_or_the_new_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    shop.edit()
    week = {"a": {"colour": "blue"}, "d": row(5, colour="mauve")}
    before, copy = shop.update({"c": {"title": "C"}}).digest, Shop(shop.folder / "copy", shop.photos)
    shutil.copytree(shop.out, copy.out)
    expected = copy.update(week)
    with killed_at(moment, monkeypatch), pytest.raises(KilledError):
        shop.update(week)
    decided = moment >= DECIDED_AT
    catalog = Catalog.load(shop.out)
    assert catalog.digest == (expected.digest if decided else before)
    assert len(catalog.history()) == 2 + decided
    assert (shop.out / NEW_WORDS).exists() == decided
    again = shop.update(week)
    assert again.digest == expected.digest
    assert {path.name for path in shop.out.iterdir()} == {path.name for path in copy.out.iterdir()}
    assert again.history()[-1].number == 3 + decided


def test_versions_record_what_they_were_made_from(shop: Shop) -> None:
    feed = shop.feed({"d": row(5, colour="red")}, "week.csv")
    catalog = ingest(feed, shop.photos, shop.out, update=True)
    version = catalog.history()[-1]
    assert (version.number, version.feed, version.feed_sha256) == (2, str(feed), file_sha256(feed))
    assert version.digest == catalog.digest
    assert version.when.utcoffset() is not None
    shop.ingest({"d": row(5, colour="red")}, "week.csv", replace=True)
    last = Catalog.load(shop.out).history()[-1]
    assert (last.mode, last.added, last.changed, last.unchanged, last.gone) == ("replace", 0, 0, 1, 3)


def test_labels_know_where_they_are_from(shop: Shop) -> None:
    shop.update({"a": {"colour": "blue", "tags": "logo"}, "c": {"colour": "red"}}, "week2.csv")
    catalog = shop.update({"d": row(5, colour="red")}, "week3.csv")
    origins = catalog.origins()
    assert origins.select("id", "key", "value").rows() == catalog.labels.rows()
    since = {(id, value): (number, Path(feed).name) for id, _, value, number, _, feed, _ in origins.iter_rows()}
    assert since[("a", "blue")] == (2, "week2.csv")
    assert since[("a", "logo")] == since[("c", "red")] == (1, "first.csv"), "stated again is not new"
    assert since[("d", "red")] == (3, "week3.csv")


def test_versions_are_compared(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.update({"a": {"colour": "blue", "title": "New"}, "b": {"tags": "zip"}, "d": row(5, colour="red")})
    shop.ingest({"a": row(0, colour="blue"), "d": row(6)}, replace=True)
    catalog = Catalog.load(shop.out)
    first = catalog.diff(1, 2)
    assert (first.added, first.gone) == (["d"], [])
    assert first.fields.rows() == [
        ("@title", "a", "Acme", "New"),
        ("colour", "a", "red", "blue"),
        ("tags", "b", None, "zip"),
    ]
    second = catalog.diff(2, 3)
    assert (second.added, second.gone) == ([], ["b", "c"])
    counts = {key: tuple(counts) for key, *counts in second.by_key().drop("examples").iter_rows()}
    assert counts == {"title": (0, 1, 0), "images": (0, 0, 1), "colour": (0, 1, 0), "tags": (0, 1, 0)}
    app(["history", str(shop.out)], result_action="return_value")
    assert "first.csv" in capsys.readouterr().out
    app(["history", str(shop.out), "--diff", "1", "2"], result_action="return_value")
    printed = capsys.readouterr().out
    assert "a: red → blue" in printed
    assert "1 ('d')" in printed
    with pytest.raises(CatalogError, match="has no version 7: it has 1 to 3"):
        catalog.diff(1, 7)
    (shop.out / "versions" / "0001.parquet").write_bytes(b"PAR1")
    with pytest.raises(CatalogError, match=r"0001.parquet was changed after ingest"):
        catalog.diff(1, 2)
    with pytest.raises(CatalogError, match="holds no finished catalog"):
        app(["history", str(shop.folder)], result_action="return_value")


def test_a_catalog_without_versions_can_be_updated(tmp_path: Path, photos: Path) -> None:
    for archive in FORMATS.glob("*.tar.xz"):
        with tarfile.open(archive) as earlier:
            earlier.extractall(tmp_path, filter="data")
    before = Catalog.load(tmp_path / "catalog")
    labels, products = before.labels, before.products
    assert before.history() == []
    with pytest.raises(CatalogError, match="has no versions yet"):
        before.origins()
    shop = Shop(tmp_path, photos)
    known = before.ids[0]
    catalog = shop.update({"new": row(5, before.products["category"][0], colour="red"), known: {"title": "New"}})
    assert (
        catalog.labels.filter(pl.col("id") != "new")
        .sort("id", "key", "value")
        .equals(labels.sort("id", "key", "value"))
    )
    columns = ["id", "group", "category", "images"]
    assert catalog.products.filter(pl.col("id") != "new").select(columns).equals(products.select(columns))
    (version,) = catalog.history()
    assert (version.added, version.changed, version.unchanged) == (1, 1, len(products) - 1)
    since = catalog.origins()
    assert since.filter(pl.col("since").is_null())["id"].n_unique() == labels["id"].n_unique()
    assert since.filter(pl.col("since") == 1)["id"].to_list() == ["new"]


def test_a_lost_version_costs_only_the_history(shop: Shop) -> None:
    shutil.rmtree(shop.out / "versions")
    catalog = shop.update({"d": row(5, "Belts", colour="blue")})
    assert catalog.ids == ["a", "b", "c", "d"]
    assert labels_of(catalog, "a") == {"colour": ("red",), "tags": ("logo", "zip")}


def test_words_of_a_changed_taxonomy_apply_to_all_products_and_come_back(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    tags_before = labels_of(Catalog.load(shop.out), "a")["tags"]
    drafted = without_counts(shop.out / TAXONOMY)
    text = drafted.replace('    "zip",\n', "").replace('    "blue",\n', "").replace("[keys.colour]", "[keys.paint]")
    text = text.replace("[keys.tags]", '[keys.paint.aliases]\nblue = "red"\n\n[keys.tags]\nretired = ["zip"]')
    text = text.replace("[keys.paint]", '[key_aliases]\ncolour = "paint"\n\n[keys.paint]', 1)
    (shop.out / TAXONOMY).write_text(text)
    week = {"d": row(5, colour="blue", tags="zip")}
    changed = shop.update(week)
    assert labels_of(changed, "a") == {"paint": ("red",), "tags": ("logo",)}
    assert labels_of(changed, "b") == {"paint": ("red",)}
    assert labels_of(changed, "d") == {"paint": ("red",)}
    assert "retired words are no labels, 2 products: tags 'zip' (2)" in caplog.text
    assert not (shop.out / NEW_WORDS).exists()
    since = changed.origins().filter(pl.col("id") != "d")["since"].to_list()
    assert since == [1] * len(since), "a renamed label is the label that it was"
    (shop.out / TAXONOMY).write_text(text.replace('retired = ["zip"]', "").replace('"logo",', '"logo",\n"zip",'))
    assert labels_of(shop.update(week), "a")["tags"] == tags_before
    assert labels_of(Catalog.load(shop.out), "d") == {"paint": ("red",), "tags": ("zip",)}


def test_a_removed_key_and_category_come_back_with_their_words(shop: Shop) -> None:
    before = list(Catalog.load(shop.out))
    drafted = without_counts(shop.out / TAXONOMY)
    text = drafted.replace('    "Belts",\n', "").replace(', "Belts"', "").replace('"Belts", ', "")
    (shop.out / TAXONOMY).write_text(text[: text.index("[keys.tags]")])
    without = shop.update({"d": row(5)})
    assert (without["b"].category, list(without.taxonomy.keys)) == (None, ["colour"])
    assert labels_of(without, "a") == {"colour": ("red",)}
    assert "tags" in (shop.out / NEW_WORDS).read_text()
    (shop.out / TAXONOMY).write_text(drafted)
    again = shop.update({"d": row(5)})
    assert [again[product.id] for product in before] == before


def test_a_retired_word_of_a_feed_replaces_the_label_that_the_catalog_knows(shop: Shop) -> None:
    shop.edit("[keys.colour]", '[keys.colour]\nretired = ["n.a."]')
    catalog = shop.update({"a": {"colour": "N.A."}})
    assert labels_of(catalog, "a") == {"tags": ("logo", "zip")}
    assert labels_of(shop.update({"d": row(5)}), "a") == {"tags": ("logo", "zip")}


def test_the_draft_warns_of_words_to_look_at_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    week = {"d": row(5, colour="Unknown"), "e": row(6, colour="reddish"), "f": row(7, colour="redish")}
    shop.update(week)
    assert "the drafted taxonomy has words that say nothing: 1, such as colour 'Unknown'" in caplog.text
    assert "pairs of nearly the same words: 1, such as colour 'reddish' and 'redish'" in caplog.text
    caplog.clear()
    shop.update(week)
    assert "the drafted taxonomy has" not in caplog.text, "it is the same taxonomy"
