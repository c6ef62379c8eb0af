"""Products are removed as a version, or purged from everything; a kill leaves the old or the new version."""

from __future__ import annotations

import logging
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers.killing import KilledError, killed_at
from helpers.postgres import Cluster
from helpers.shop import Shop, draw_photos, row
from safetensors.numpy import save_file

from attire.catalog.content import REVIEWED
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.catalog.versions import read_content
from attire.cli import app
from attire.errors import CatalogError, ConfigError, ReviewStoreError
from attire.learned import LEARNED, Learned
from attire.pixels.content_cache import cache_folder
from attire.pixels.embedding_cache import EmbeddingCache, cache_embeddings
from attire.pixels.photo_cache import PhotoCache, cache_photos
from attire.removal import remove as removal_module
from attire.removal.remove import Removed, remove
from attire.removal.traces import beside
from attire.review.apply import apply_reviews
from attire.review.store.events import STORE, Store, Verdict
from attire.review.store.redaction import redact
from attire.review.store.samples import add_sampled, sampled

WORD = "unmistakable"
FIRST = {
    "a": row(0, colour="red", tags="logo|zip", title="Acme"),
    "b-gone": row("10.png|12.png", "Belts", colour="blue", title=f"{WORD} belt", group="g1"),
    "c": row("20.png|12.png", colour="red", group="g1"),
    "d": row(5, colour="blue", fit="slim"),
    **{f"e{number}": row(number + 21, colour="red") for number in range(8)},
}
OWN, SHARED = "10.png", "12.png"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw_photos(folder)
    with tarfile.open(folder.parent / "photos.tar", "w") as tar:
        tar.add(folder, ".")
    return folder.parent / "photos.tar"


@pytest.fixture
def shop(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A catalog with versions, photos from an archive, splits, caches and decisions, also on the product `b-gone`."""
    monkeypatch.delenv("ATTIRE_CACHE", raising=False)
    shop = Shop(tmp_path, archive)
    shop.ingest(FIRST)
    catalog = shop.update({"b-gone": {"tags": "logo"}, "a": {"colour": "blue"}})
    split(catalog, val=0.3, seed=1)
    cache_photos(catalog, 16)
    photos = [photo for views in catalog.photo_digests() for photo in views]
    cache_embeddings(
        cache_folder(catalog), {"x": 1}, photos, lambda new: [np.array([[int(p[:8], 16), 1.0] for p in new], "f4")]
    )
    store = Store(shop.out / STORE)
    store.decide("Ann", [Verdict("b-gone", "colour", "set", ("red",), 0), Verdict("a", "colour", "set", ("red",), 0)])
    store.decide("Bob", [Verdict("b-gone", "colour", "set", ("blue",), 1)])
    add_sampled(store, [("b-gone", "colour"), ("d", "colour")])
    store.close()
    apply_reviews(shop.out)
    split(shop.out)
    return shop


def sha_of(catalog: Catalog) -> dict[str, str]:
    return dict(catalog.photos.select("name", "sha256").iter_rows())


def traces_of(folder: Path, *texts: str) -> list[str]:
    """The files below `folder` that contain one of the texts, and files named by it."""
    words = [text.encode() for text in texts]
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (any(word in path.read_bytes() for word in words) or path.stem in texts)
    ]


def test_removed_products_are_a_version_and_the_others_stay(shop: Shop) -> None:
    before = Catalog.load(shop.out)
    splits, digests, photos = Splits.load(before), sha_of(before), sorted((shop.out / "photos").rglob("*.png"))
    removed = remove(before, ["b-gone"])
    catalog = Catalog.load(shop.out)
    assert catalog.ids == sorted(FIRST.keys() - {"b-gone"})
    assert removed.changes.gone == ["b-gone"]
    assert removed.changes.changed == []
    version = catalog.history()[-1]
    assert (version.mode, version.number, version.gone, version.unchanged) == ("remove", removed.version, 1, 11)
    assert "b-gone" not in {*catalog.labels["id"], *catalog.reviewed["id"], *catalog.products["group"]}
    now = Splits.load(catalog)
    assert now.train == tuple(id for id in splits.train if id != "b-gone")
    assert now.val == tuple(id for id in splits.val if id != "b-gone")
    assert sorted((shop.out / "photos").rglob("*.png")) == photos, "photos stay"
    assert sha_of(catalog) == {name: sha for name, sha in digests.items() if name != OWN}
    assert catalog.diff(version.number - 1, version.number).gone == ["b-gone"]
    assert catalog.origins().select("id", "key", "value").rows() == catalog.labels.rows()
    assert split(catalog) == now


def test_a_removed_product_that_comes_back_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    remove(shop.out, ["b-gone", "d"])
    with caplog.at_level(logging.WARNING, "attire"):
        shop.update({"b-gone": FIRST["b-gone"], "z": row(8)})
    assert "product 'b-gone', which had been removed, comes back" in caplog.text
    assert apply_reviews(shop.out).version is not None
    assert Catalog.load(shop.out)["b-gone"].labels["colour"] == ("blue",), "with its decisions"


def test_decisions_on_removed_products_are_left_out(shop: Shop) -> None:
    remove(shop.out, ["b-gone"])
    applied = apply_reviews(shop.out)
    assert (applied.version, applied.gone) == (None, 1)


@pytest.mark.parametrize("purge", [False, True])
def test_unknown_ids_are_named_and_nothing_is_removed(shop: Shop, purge: bool) -> None:
    before = Catalog.load(shop.out).digest
    with pytest.raises(CatalogError, match=r"7 of 8 ids are not in .*: 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more\."):
        remove(shop.out, ["a", *(f"x{number}" for number in range(7))], purge=purge)
    with pytest.raises(CatalogError, match=r"1 of 1 ids are not in .*'b-gon'; did you mean 'b-gone'"):
        remove(shop.out, "b-gon", purge=purge)
    with pytest.raises(ConfigError, match="no products to remove"):
        remove(shop.out, purge=purge)
    with pytest.raises(CatalogError, match="does not exist"):
        remove(shop.folder / "nothing", "a")
    assert Catalog.load(shop.out).digest == before


def test_a_purge_leaves_nothing_but_the_chain_of_decisions(shop: Shop) -> None:
    before = Catalog.load(shop.out)
    digests, own = sha_of(before), sha_of(before)[OWN]
    numbers = [entry.number for entry in before.history()]
    assert traces_of(shop.out, "b-gone", WORD, own)
    removed = remove(before, ["b-gone"], purge=True, look_in=[])
    catalog = Catalog.load(shop.out)
    assert traces_of(shop.out, "b-gone", WORD, own) == []
    assert (removed.purged, removed.cached, removed.reviews) == (1, 2, 2)
    assert [entry.number for entry in catalog.history()] == [*numbers, removed.version]
    for entry in catalog.history():
        assert "b-gone" not in set(read_content(shop.out, entry).products["id"])
    assert {path.stem for path in (shop.out / "photos").rglob("*.png")} == {
        sha for name, sha in digests.items() if name != OWN
    }
    store = Store(shop.out / STORE, create=False)
    events = store.history()
    assert [(event.version, event.reviewer, event.key) for event in events] == [
        (1, "Ann", "colour"),
        (1, "Ann", "colour"),
        (2, "Bob", "colour"),
    ]
    assert [event._mapping["values"] for event in events] == [[], ["red"], []]
    assert events[0].product == events[2].product
    assert {decision.product for decision in store.held().values() if decision.decided} == {"a"}
    assert store.decided()["product"].to_list() == ["a"]
    assert sampled(store) == {("d", "colour")}
    assert not store.undo("Bob").saved, "redacted decisions are not undone"
    store.close()
    assert apply_reviews(shop.out).version is None
    assert not (shop.out / "purge.json").exists()
    assert Splits.load(catalog)


def test_caches_keep_the_other_photos_in_place(shop: Shop) -> None:
    catalog = Catalog.load(shop.out)
    photos = sha_of(catalog)
    (embeddings,) = cache_folder(catalog).glob("embeddings-*")
    pixels = cache_folder(catalog) / "photos-16"
    before, cached = EmbeddingCache.open(embeddings), PhotoCache.open(pixels)
    others = [sha for name, sha in photos.items() if name != OWN]
    expected, views = before[others], cached.entries[cached.rows(others)].tolist()
    copies = [cached.pixels(*view[1:4]).copy() for view in views]
    remove(catalog, ["b-gone"], purge=True, look_in=[])
    for opened in (before, EmbeddingCache.open(embeddings)):
        assert (opened[others] == expected).all(), "also for a process that had it open"
    assert EmbeddingCache.open(embeddings).missing(list(photos.values())) == [photos[OWN]]
    again = PhotoCache.open(pixels)
    assert (again.rows([photos[OWN]]) < 0).all()
    for cache in (cached, again):
        assert all((cache.pixels(*view[1:4]) == copy).all() for view, copy in zip(views, copies, strict=True))
    offset, height, width = cached.entries[cached.rows([photos[OWN]])][0].item()[1:4]
    assert not again.pixels(offset, height, width).any()
    shop.update({"b-gone": FIRST["b-gone"]})
    assert (cache_photos(shop.out, 16).rows(list(photos.values())) >= 0).all()


def test_a_damaged_cache_is_emptied(shop: Shop) -> None:
    pixels = cache_folder(Catalog.load(shop.out)) / "photos-16"
    (pixels / "index.bin").write_bytes(b"damaged")
    remove(shop.out, ["b-gone"], purge=True, look_in=[])
    assert (pixels / "pixels.u8").stat().st_size == 0


def test_your_own_photos_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "catalog" / "photos").mkdir(parents=True)
    shop = Shop(tmp_path, draw_photos(tmp_path / "catalog" / "photos"))
    shop.ingest(FIRST)
    before = sorted(shop.photos.rglob("*"))
    removed = remove(shop.out, ["b-gone"], purge=True)
    assert removed.photos == removed.reviews == 0
    assert sorted(shop.photos.rglob("*")) == before


def test_reports_and_bundles_that_hold_something_are_listed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = Catalog.load(shop.out)
    report, other = shop.folder / "reports" / "a", shop.folder / "reports" / "b"
    for folder, ids in ((report, ["a", "b-gone"]), (other, ["a"])):
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text("{}")
        catalog.products.filter(id=ids[-1]).write_parquet(folder / "products.parquet")
    for name, photos in (("learned", [sha_of(catalog)[OWN]]), ("not", [sha_of(catalog)["5.png"]]), ("unknown", None)):
        folder = shop.folder / "runs" / name / "bundle"
        folder.mkdir(parents=True)
        (folder / "bundle.json").write_text(f'{{"provenance": {{"catalog": "{catalog.digest}"}}}}')
        if photos is not None:
            save_file({"photos": Learned.of(photos).photos}, folder / LEARNED)
    names = shop.folder / "ids.txt"
    names.write_text("b-gone\n\n", encoding="utf-8")
    app(["remove", str(shop.out), "--ids-from", str(names), "--purge"], result_action="return_value")
    printed = capsys.readouterr().out
    assert f"{report}: report with answers, labels and perhaps photos of 1 product" in printed
    assert f"{other}:" not in printed
    assert "runs/learned/bundle: bundle that learned from 1 photo of them" in printed
    assert "runs/unknown/bundle: bundle trained on this catalog, which may have learned from them" in printed
    assert "runs/not/bundle" not in printed


@pytest.mark.parametrize("moment", range(0, 26, 3))
def test_a_killed_purge_leaves_the_old_catalog_or_the_new_one_and_is_finished(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, moment: int
) -> None:
    before, own = Catalog.load(shop.out).digest, sha_of(Catalog.load(shop.out))[OWN]
    with killed_at(moment, monkeypatch), pytest.raises(KilledError):
        remove(shop.out, ["b-gone"], purge=True, look_in=[])
    is_new = Catalog.load(shop.out).digest != before
    assert is_new == (shop.out / "purge.json").exists()
    _finish(shop, is_new, own, caplog)


@pytest.mark.parametrize("step", ["remove_unlisted", "forget_photos", "_redact"])
@pytest.mark.parametrize("after", [False, True])
def test_a_purge_that_is_killed_later_is_finished(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, after: bool
) -> None:
    own, run = sha_of(Catalog.load(shop.out))[OWN], getattr(removal_module, step)

    def killed(*arguments: object) -> None:
        if after:
            run(*arguments)
        raise KilledError

    monkeypatch.setattr(removal_module, step, killed)
    with pytest.raises(KilledError):
        remove(shop.out, ["b-gone"], purge=True, look_in=[])
    monkeypatch.setattr(removal_module, step, run)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "attire"):
        assert "b-gone" not in Catalog.load(shop.out).ids
    assert "the purge was interrupted" in caplog.text
    for change in (
        lambda: shop.update({"z": row(8)}),
        lambda: apply_reviews(shop.out),
        lambda: remove(shop.out, "a"),
    ):
        with pytest.raises((CatalogError, ConfigError), match=r"interrupted.*attire remove .* --purge"):
            change()
    _finish(shop, True, own, caplog)


def _finish(shop: Shop, is_new: bool, own: str, caplog: pytest.LogCaptureFixture) -> Removed:
    """Run the purge again, and check that it is complete."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "attire"):
        removed = remove(shop.out, ["b-gone"], purge=True, look_in=[])
    assert ("the purge of 1 products was interrupted and is finished now" in caplog.text) == is_new
    assert (removed.version is None) == is_new
    assert removed.purged == 1
    assert traces_of(shop.out, "b-gone", WORD, own) == []
    assert not (shop.out / "purge.json").exists()
    assert [entry.number for entry in Catalog.load(shop.out).history()] == [1, 2, 3, 4]
    return removed


def test_an_interrupted_purge_asks_for_its_store(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    store = shop.folder / "team.sqlite"
    (shop.out / STORE).rename(store)

    def killed(*_: object) -> None:
        raise KilledError

    redacting = removal_module._redact
    monkeypatch.setattr(removal_module, "_redact", killed)
    with pytest.raises(KilledError):
        remove(shop.out, ["b-gone"], purge=True, store=store, look_in=[])
    monkeypatch.setattr(removal_module, "_redact", redacting)
    with pytest.raises(ConfigError, match=r"team.sqlite still has decisions on them: name it with --store"):
        remove(shop.out, purge=True, look_in=[])
    assert remove(shop.out, purge=True, store=store, look_in=[]).reviews == 2


def test_a_store_in_use_is_compacted_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attire.review.store.database.BUSY_S", 0)
    reader = sqlite3.connect(shop.out / STORE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM events").fetchall()
    with pytest.raises(ReviewStoreError, match="stop attire review and run the command again"):
        remove(shop.out, ["b-gone"], purge=True, look_in=[])
    reader.close()
    assert remove(shop.out, purge=True, look_in=[]).purged == 1
    assert traces_of(shop.out, "b-gone") == []


def test_what_the_review_page_made_is_searched_too(tmp_path: Path) -> None:
    for name in ("catalog/learned/001", "catalog/photos", "runs/a", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    assert sorted(beside(tmp_path / "catalog")) == [tmp_path / "catalog" / "learned", tmp_path / "runs"]


def test_redaction_on_postgresql(postgres: Cluster) -> None:
    store = Store(postgres.new_database())
    store.decide("Ann", [Verdict("b-gone", "colour", "set", ("red",), 0), Verdict("a", "colour", "set", ("red",), 0)])
    assert redact(store, ["b-gone"]) == 1
    assert redact(store, ["b-gone"]) == 0
    assert {event.product for event in store.history()}.isdisjoint({"b-gone"})
    with pytest.raises(ReviewStoreError, match="append-only"), store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    store.close()


def test_a_catalog_without_versions_can_be_purged(tmp_path: Path, archive: Path) -> None:
    shop = Shop(tmp_path, archive)
    shop.ingest(FIRST)
    for file in (shop.out / "versions").iterdir():
        file.unlink()
    remove(shop.out, ["b-gone"], purge=True)
    catalog = Catalog.load(shop.out)
    assert catalog.reviewed.schema == REVIEWED
    assert traces_of(shop.out, "b-gone", WORD) == []
    assert shop.update({"z": row(8)}).ids[-1] == "z"
