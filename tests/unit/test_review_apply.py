"""Decisions of reviewers in the catalog: written once, above the feeds, undone, and never trained on if sampled."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
from helpers.killing import KilledError, killed_at
from helpers.review_context import write_predictions
from helpers.shop import Shop, draw_photos, row

import attire
from attire.catalog.splits import split
from attire.catalog.store import TAXONOMY, Catalog
from attire.cli import app
from attire.config import load_recipe
from attire.errors import CatalogError, ConfigError
from attire.review.app import open_review
from attire.review.apply import Applied, apply_reviews
from attire.review.export import FEED, export
from attire.review.options import Options
from attire.review.store.events import STORE, Action, Store, Verdict
from attire.review.store.samples import add_sampled, sampled
from attire.taxonomy import CATEGORY
from attire.training.data import RunData

FIRST = {
    "a": row(0, colour="red", tags="logo|zip", title="Acme"),
    "b": row(10, "Belts", colour="blue"),
    "c": row(20, colour="red"),
    "d": row(5, colour="blue", fit="slim"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("photos"))


class ReviewedShop(Shop):
    """A shop whose catalog is reviewed by Ann."""

    def decide(self, product: str, key: str, action: Action, *values: str) -> None:
        store = Store(self.out / STORE)
        before = store.held().get((product, key))
        store.decide("Ann", [Verdict(product, key, action, values, before.version if before else 0)])
        store.close()

    def undo(self) -> None:
        store = Store(self.out / STORE)
        store.undo("Ann")
        store.close()

    def apply(self) -> Applied:
        return apply_reviews(self.out)

    @property
    def catalog(self) -> Catalog:
        return Catalog.load(self.out)


@pytest.fixture
def shop(tmp_path: Path, photos: Path) -> ReviewedShop:
    shop = ReviewedShop(tmp_path, photos)
    shop.ingest(FIRST)
    return shop


def test_every_kind_of_decision_is_written_as_a_version(shop: ReviewedShop) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.decide("a", "tags", "clear")
    shop.decide("b", "fit", "accept", "slim")
    shop.decide("c", CATEGORY, "set", "Belts")
    shop.decide("c", "colour", "not applicable")
    shop.decide("d", CATEGORY, "clear")
    before = shop.catalog
    photos, groups = before.photos, before.products["group"]
    applied = shop.apply()
    catalog = shop.catalog
    assert (applied.version, applied.decided, applied.fields) == (2, 6, 6)
    assert applied.changes.changed == ["a", "b", "c", "d"]
    assert catalog["a"].labels == {"colour": ("blue",)}
    assert catalog["b"].labels == {"colour": ("blue",), "fit": ("slim",)}
    assert (catalog["c"].category, catalog["c"].labels) == ("Belts", {})
    assert (catalog["d"].category, catalog["d"].labels) == (None, {"colour": ("blue",), "fit": ("slim",)})
    assert catalog.photos.equals(photos)
    assert catalog.products["group"].equals(groups)
    version = catalog.history()[-1]
    assert (version.mode, Path(version.feed).name, version.changed, version.reviewed) == ("review", STORE, 4, 6)
    fields = {(key, id): (was, now) for key, id, was, now in catalog.diff(1, 2).fields.iter_rows()}
    assert fields[CATEGORY, "c"] == ("Shirts", "Belts")
    assert fields["tags", "a"] == ("logo|zip", None)


def test_labels_of_reviews_say_so(shop: ReviewedShop) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.decide("a", "tags", "accept", "logo", "zip")
    shop.apply()
    origins = {(id, key): (since, reviewer) for id, key, _, since, _, _, reviewer in shop.catalog.origins().iter_rows()}
    assert origins["a", "colour"] == origins["a", "tags"] == (2, "Ann")
    assert origins["b", "colour"] == (1, None)
    assert shop.catalog.origins().select("id", "key", "value").rows() == shop.catalog.labels.rows()


def test_applying_again_adds_nothing(shop: ReviewedShop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.apply()
    written = {path: path.stat().st_mtime_ns for path in shop.out.iterdir() if path.suffix == ".parquet"}
    app(["review", "apply", str(shop.out)], result_action="return_value")
    assert "Nothing new" in capsys.readouterr().out
    assert len(shop.catalog.history()) == 2
    assert written == {path: path.stat().st_mtime_ns for path in written}
    shop.decide("b", "colour", "accept", "blue")
    app(["review", "apply", str(shop.out)], result_action="return_value")
    assert "attire split" in capsys.readouterr().out
    version = shop.catalog.history()[-1]
    assert (version.number, version.changed, version.reviewed) == (3, 0, 1), "an accepted label is protected"
    assert dict(shop.catalog.reviewed.select("id", "since").iter_rows()) == {"a": 2, "b": 3}
    app(["history", str(shop.out)], result_action="return_value")
    assert "review" in capsys.readouterr().out


def test_undo_after_applying_gives_the_field_back_to_the_feed(shop: ReviewedShop) -> None:
    before = shop.catalog
    shop.decide("a", "colour", "set", "blue")
    shop.decide("a", CATEGORY, "set", "Belts")
    shop.apply()
    shop.undo()
    shop.apply()
    assert shop.catalog["a"].category == "Shirts"
    assert shop.catalog["a"].labels["colour"] == ("blue",)
    shop.update({"a": {"colour": "red", "tags": "zip"}})
    shop.undo()
    assert shop.apply().version == 5
    assert shop.catalog["a"].labels == {"colour": ("red",), "tags": ("zip",)}
    assert shop.catalog.reviewed.is_empty()
    assert not (shop.out / "reviewed.parquet").exists()
    shop.update({"a": {"tags": "logo|zip"}})
    assert shop.catalog.digest == before.digest


@pytest.mark.parametrize("replace", [False, True])
def test_reviews_outrank_later_feeds(shop: ReviewedShop, caplog: pytest.LogCaptureFixture, replace: bool) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.decide("b", "colour", "clear")
    shop.decide("c", CATEGORY, "set", "Belts")
    shop.decide("d", "colour", "accept", "blue")
    shop.apply()
    week = {
        "a": row(0, colour="green"),
        "b": row(10, "Belts", colour="red"),
        "c": row(20, colour="green"),
        "d": row(5, colour="blue"),
    }
    with caplog.at_level(logging.INFO, "attire"):
        shop.ingest(week, "week.csv", replace=replace, update=not replace)
    assert "week.csv: 3 fields keep the reviewer's value" in caplog.text
    catalog = shop.catalog
    assert catalog["a"].labels["colour"] == ("blue",)
    assert "colour" not in catalog["b"].labels
    assert (catalog["c"].category, catalog["c"].labels["colour"]) == ("Belts", ("green",))
    assert shop.apply().version is None
    caplog.clear()
    with caplog.at_level(logging.INFO, "attire"):
        shop.update({"a": {"colour": "green"}}, "week2.csv", feed_wins=True)
    assert "in 1 field the value of this feed replaces the reviewer's" in caplog.text
    assert shop.catalog["a"].labels["colour"] == ("green",)
    assert shop.catalog["c"].category == "Belts", "the feed does not state it"
    assert shop.apply().version is None, "the same decision does not come back"
    shop.decide("a", "colour", "set", "red")
    shop.apply()
    assert shop.catalog["a"].labels["colour"] == ("red",), "a new one counts"


def test_reviews_follow_the_words_of_the_taxonomy(shop: ReviewedShop, caplog: pytest.LogCaptureFixture) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.apply()
    text = (shop.out / TAXONOMY).read_text()
    (shop.out / TAXONOMY).write_text(text.replace('"blue"', '"navy"') + '\n[keys.colour.aliases]\n"blue" = "navy"\n')
    shop.update({"c": {"title": "C"}})
    assert shop.catalog["a"].labels["colour"] == ("navy",)
    assert shop.apply().version is None, "it is the same decision in another word"
    (shop.out / TAXONOMY).write_text(text.replace('"blue"', '"indigo"'))
    with caplog.at_level(logging.WARNING, "attire"):
        shop.update({"c": {"title": "C 2"}})
    assert "colour" not in shop.catalog["a"].labels, "neither the reviewer's unknown word nor the feed's red"
    assert "colour: 'navy' (3 products)" in caplog.text
    assert shop.apply().waiting == 1
    (shop.out / TAXONOMY).write_text(text)
    shop.update({"c": {"title": "C 3"}})
    shop.apply()
    assert shop.catalog["a"].labels["colour"] == ("blue",)


def test_reviews_follow_a_key_that_is_renamed(shop: ReviewedShop) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.apply()
    text = (shop.out / TAXONOMY).read_text()
    (shop.out / TAXONOMY).write_text(
        'key_aliases = {"colour" = "shade"}\n' + text.replace("[keys.colour", "[keys.shade")
    )
    shop.update({"c": {"title": "C"}})
    assert shop.catalog["a"].labels["shade"] == ("blue",)
    assert shop.apply().version is None, "it is the same decision of a key with another name"
    shop.decide("b", "colour", "set", "blue")
    shop.apply()
    assert shop.catalog["b"].labels["shade"] == ("blue",)


def test_decisions_that_do_not_fit_the_taxonomy_change_nothing(shop: ReviewedShop) -> None:
    shop.decide("a", "colour", "set", "blue", "red")
    before = shop.catalog.digest
    with pytest.raises(CatalogError, match=r"product 'a': colour takes one value, decided is 'blue\|red'"):
        shop.apply()
    assert shop.catalog.digest == before


def test_an_edited_taxonomy_is_ingested_first(shop: ReviewedShop) -> None:
    shop.decide("a", "colour", "set", "blue")
    shop.edit()
    with pytest.raises(CatalogError, match=r"taxonomy.toml was edited after ingest"):
        shop.apply()


def test_other_stores_are_refused_and_products_that_are_gone_are_told(shop: ReviewedShop) -> None:
    with pytest.raises(ConfigError, match="was not reviewed yet"):
        shop.apply()
    shop.decide("a", "colour", "set", "blue")
    shop.decide("b", "colour", "set", "red")
    shop.ingest({id: cells for id, cells in FIRST.items() if id != "b"}, replace=True)
    applied = shop.apply()
    assert (applied.decided, applied.gone) == (1, 1)
    shop.decide("zz", "colour", "set", "blue")
    with pytest.raises(ConfigError, match=r"decisions on 1 products that are not in .* \('zz'\)"):
        shop.apply()


def test_the_page_and_the_export_show_what_the_feed_states(shop: ReviewedShop, tmp_path: Path) -> None:
    shop.decide("a", "colour", "set", "blue")
    store = Store(shop.out / STORE)
    export(shop.catalog, store, tmp_path / "before")
    shop.apply()
    again = export(shop.catalog, store, tmp_path / "after")
    assert again.changed == 1
    assert (tmp_path / "after" / FEED).read_text() == (tmp_path / "before" / FEED).read_text()
    predictions = write_predictions(shop.catalog, tmp_path / "p.parquet")
    context = open_review(shop.out, Options(predictions=predictions))
    assert context.data.catalog["a"].labels["colour"] == ("red",)
    assert context.data.catalog.digest == shop.catalog.digest
    with (tmp_path / "after" / FEED).open(encoding="utf-8") as file:
        assert {line["id"]: line["colour"] for line in csv.DictReader(file)}["a"] == "blue"


def test_the_random_sample_is_never_trained_on(catalog: Catalog, tmp_path: Path) -> None:
    shop = ReviewedShop(tmp_path, catalog.path.parent / "photos")
    attire.ingest(catalog.path.parent / "feed.csv", shop.photos, shop.out)
    context = open_review(shop.out, Options(predictions=write_predictions(shop.catalog, tmp_path / "p.csv"), audit=20))
    sample = context.queues.sampled
    assert sampled(context.store) == sample
    judged = sorted(field for field in sample if field[1] == "colour")[:3]
    for id, key in judged:
        shop.decide(id, key, "set", "red")
    other = next(id for id in shop.catalog.ids if id not in {id for id, _ in sample})
    shop.decide(other, "colour", "set", "red")
    assert not shop.catalog.audited
    applied = shop.apply()
    audited = shop.catalog.audited
    assert {id for id, _ in judged} <= audited
    assert other not in audited
    assert applied.audited == len(audited)
    splits = split(shop.catalog, val=0.3, seed=1)
    recipe = load_recipe("frozen", {"calibration": 0.2, "folds": 0})
    data = RunData.of(shop.catalog, splits, recipe, cache=False, workers=0)
    assert data.whole.calibration is not None
    learned = [photo for part in data.whole if part for photos in part.digests for photo in photos]
    digests = dict(zip(shop.catalog.ids, shop.catalog.photo_digests(), strict=True))
    assert not {photo for id in audited for photo in digests[id]}.intersection(learned)
    assert set(learned) == {photo for id in set(splits.train) - audited for photo in digests[id]}
    for id in splits.train:
        shop.decide(id, "tags", "clear")
    store = Store(shop.out / STORE)
    add_sampled(store, [(id, "tags") for id in splits.train])
    shop.apply()
    with pytest.raises(CatalogError, match="is in the random sample of attire review"):
        RunData.of(shop.catalog, split(shop.catalog), recipe, cache=False, workers=0)


@pytest.mark.parametrize("moment", range(0, 20, 2))
def test_a_killed_apply_leaves_the_old_catalog_or_the_new_one(
    shop: ReviewedShop, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    shop.decide("a", "colour", "set", "blue")
    before = shop.catalog.digest
    with killed_at(moment, monkeypatch), pytest.raises(KilledError):
        shop.apply()
    decided = moment > 10  # moves before: 5 tables, taxonomy (2), version (2), manifest; and the deciding one
    assert (shop.catalog.digest != before) == decided
    assert len(shop.catalog.history()) == 1 + decided
    assert shop.apply().version == (None if decided else 2)
    assert shop.catalog["a"].labels["colour"] == ("blue",)
