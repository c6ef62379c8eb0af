"""Learning from decisions: what is learned, honest calibration, one run at a time, and the page's button."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from polars.testing import assert_frame_equal

from attire.bundle import ModelBundle
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.cli import app
from attire.config import load_recipe
from attire.errors import CatalogError, ConfigError
from attire.evaluation.report import Report
from attire.files import locked, read_parquet
from attire.inference.bulk import predict
from attire.inference.decoding import ProductPhotos
from attire.inference.embedded import EmbeddedEngine
from attire.learning.learn import learn
from attire.review import learner as learner_module
from attire.review.app import open_review, review_app
from attire.review.learn_status import LOCK, STATUS, read_status, write_status
from attire.review.options import Options
from attire.review.store.events import STORE, Store, Verdict
from attire.training import retrain as retraining
from attire.training.data import without_audited
from attire.training.folds import divide_again, earlier_folds
from attire.training.run import train

HOST = "http://127.0.0.1:8100"
TINY = {
    "backbone": "test_resnet",
    "size_px": (32, 24),
    "trunk": 16,
    "colour": 8,
    "folds": 2,
    "batch_size": 16,
    "attributes": {"epochs": 2},
}


@pytest.fixture(scope="module")
def run(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalog that nobody has reviewed, and a run on it."""
    folder = tmp_path_factory.mktemp("learn")
    shutil.copytree(catalog.path, folder / "catalog")
    shutil.copytree(catalog.path.parent / "photos", folder / "photos")
    split(folder / "catalog", val=0.3, seed=1)
    recipe = load_recipe("frozen", TINY)
    train(folder / "catalog", recipe=recipe, out=folder / "run", weights="none", workers=0)
    return folder


@pytest.fixture
def shop(run: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(run, tmp_path / "shop", dirs_exist_ok=True)


def decide(shop: Path, *products: str, key: str = "colour", value: str = "red") -> None:
    store = Store(shop / "catalog" / STORE)
    held = store.held()
    verdicts = [Verdict(id, key, "set", (value,), held[id, key].version if (id, key) in held else 0) for id in products]
    store.decide("Ann", verdicts)
    store.close()


def of_split(shop: Path, name: str) -> tuple[str, ...]:
    return Splits.load(shop / "catalog")[name]


def test_decisions_are_learned_and_compared_on_unseen_products(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained, val = of_split(shop, "train"), of_split(shop, "val")
    decide(shop, *trained[:5], val[0])
    before = (shop / "run" / "bundle" / "bundle.json").read_bytes()
    app(
        ["learn", f"{shop}/catalog", "--bundle", f"{shop}/run/bundle", "--out", f"{shop}/new"],
        result_action="return_value",
    )
    printed = capsys.readouterr().out
    assert "5 new decisions" in printed
    assert "1 on products of val and test" in printed
    new, old = ModelBundle.load(shop / "new" / "bundle"), ModelBundle.load(shop / "run" / "bundle")
    catalog = Catalog.load(shop / "catalog")
    assert new.provenance["catalog"] == catalog.digest
    assert catalog[trained[0]].labels["colour"] == ("red",)
    seen = {*np.array(catalog.ids)[in_learned_groups(catalog, new.learned)]}  # type: ignore[arg-type]
    for side in ("before", "after"):
        assert not seen & {*read_parquet(shop / "new" / side / "products.parquet")["id"]}
        assert Report.load(shop / "new" / side).counts.products == len(val)
    assert (shop / "run" / "bundle" / "bundle.json").read_bytes() == before
    assert new.digest != old.digest
    assert new.record is not None
    status = read_status(shop / "catalog")
    assert status is not None
    assert (status.state, status.start) == ("finished", old.digest)
    assert earlier_folds(new)
    again = learn(shop / "catalog", new, shop / "third", workers=0)  # from what the first one left
    assert (again.learned, again.version) == (0, None)


def test_predictions_are_those_of_predict(shop: Path) -> None:
    bundle, catalog = shop / "run" / "bundle", shop / "catalog"
    engine = EmbeddedEngine(ModelBundle.load(bundle), Catalog.load(catalog))
    predict(bundle, catalog, shop / "looked-up.parquet", format="long", engine=engine)
    predict(bundle, catalog, shop / "computed.parquet", format="long", engine="torch")
    ours, theirs = (read_parquet(shop / f"{name}.parquet") for name in ("looked-up", "computed"))
    columns = ["id", "category", "category_confidence", "key", "values", "confidence", "reason"]
    assert_frame_equal(ours.select(columns), theirs.select(columns), abs_tol=1e-5)
    again = predict(bundle, catalog, shop / "looked-up.parquet", format="long", engine="torch")
    assert again.resumed == again.products  # so `attire predict` takes the file for finished


def test_photos_are_looked_up_by_relative_paths_too(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.load(shop / "catalog")
    engine = EmbeddedEngine(ModelBundle.load(shop / "run" / "bundle"), catalog)
    photo = catalog.photo_paths()[0][0]
    monkeypatch.chdir(photo.parent)
    absolute, relative = (list(engine.inputs([ProductPhotos("p", (path,))])) for path in (photo, Path(photo.name)))
    np.testing.assert_array_equal(absolute[1], relative[1])
    with pytest.raises(CatalogError, match="not in the catalog's cache"):
        list(engine.inputs([ProductPhotos("p", (photo.with_name("other.jpg"),))]))


def test_folds_go_on_without_what_they_answer(shop: Path) -> None:
    catalog, bundle = Catalog.load(shop / "catalog"), ModelBundle.load(shop / "run" / "bundle")
    folds = earlier_folds(bundle)
    assert len(folds) == 2
    trained = of_split(shop, "train")
    groups = dict(zip(catalog.ids, catalog.products["group"], strict=True))
    parts = list(divide_again(catalog, trained, folds, 1))
    for fold, (others, own) in zip(folds, parts, strict=True):
        learned = in_learned_groups(catalog, fold.learned)
        assert own
        assert not learned[catalog.rows_of(own)].any()
        assert learned[catalog.rows_of(others)].all()
        assert not {groups[id] for id in own} & {groups[id] for id in others}
    assert sorted(id for _, own in parts for id in own) == sorted(trained)
    known = folds[0]._replace(learned=folds[0].learned | folds[1].learned)  # groups of both became one
    parts = list(divide_again(catalog, trained, [known, folds[1]], 1))
    assert not parts[0][1]
    assert {id for _, own in parts for id in own} < {*trained}


def test_new_products_are_dealt_evenly(shop: Path) -> None:
    catalog, bundle = Catalog.load(shop / "catalog"), ModelBundle.load(shop / "run" / "bundle")
    val = of_split(shop, "val")  # no fold has learned them
    (_, first), (_, second) = divide_again(catalog, val, earlier_folds(bundle), 1)
    count = [len({catalog[id].group for id in part}) for part in (first, second)]
    assert abs(count[0] - count[1]) <= 1
    assert sorted((*first, *second)) == sorted(val)


def test_without_its_folds_all_heads_begin_anew(shop: Path) -> None:
    shutil.copytree(shop / "run" / "bundle", shop / "alone")
    bundle = ModelBundle.load(shop / "alone")
    assert not earlier_folds(bundle)
    recipe = retraining.head_recipe(bundle, continued=False)
    assert (recipe.attributes, recipe.batch_size) == (load_recipe("frozen").attributes, 256)
    short = retraining.head_recipe(bundle, continued=True)
    assert (short.attributes.epochs, short.trained_stages, short.folds) == (retraining.EPOCHS, 0, 2)


def test_the_random_sample_is_not_learned(shop: Path) -> None:
    trained = of_split(shop, "train")
    store = Store(shop / "catalog" / STORE)
    from attire.review.store.samples import add_sampled

    add_sampled(store, [(trained[0], "colour")])
    store.close()
    decide(shop, *trained[:3])
    outcome = learn(shop / "catalog", shop / "run" / "bundle", shop / "new", workers=0)
    catalog = Catalog.load(shop / "catalog")
    assert trained[0] in catalog.audited
    assert trained[0] not in without_audited(catalog, trained)
    assert outcome.sampled == sum(id in catalog.audited for id in trained[:3])
    assert outcome.learned == 3 - outcome.sampled
    record = earlier_folds(ModelBundle.load(shop / "new" / "bundle"))
    assert len(record) == 2


def test_a_second_run_is_refused(shop: Path) -> None:
    with locked(shop / "catalog" / LOCK), pytest.raises(ConfigError, match="another attire learn is working on"):
        learn(shop / "catalog", shop / "run" / "bundle", shop / "new")
    (shop / "taken").mkdir()
    with pytest.raises(ConfigError, match=r"taken exists already\. Choose another --out"):
        learn(shop / "catalog", shop / "run" / "bundle", shop / "taken")


def test_a_killed_run_leaves_nothing_behind(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(shop, of_split(shop, "train")[0])

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("attire.learning.learn.compare", stop)
        with pytest.raises(KeyboardInterrupt):
            learn(shop / "catalog", shop / "run" / "bundle", shop / "new", workers=0)
    assert not (shop / "new").exists()
    assert {path.name for path in shop.iterdir()} == {"catalog", "photos", "run"}
    ModelBundle.load(shop / "run" / "bundle")
    status = read_status(shop / "catalog")
    assert status is not None
    assert (status.state, status.error) == ("failed", "it was interrupted")
    write_status(shop / "catalog", status.model_copy(update={"state": "running"}))  # as after a kill
    killed = read_status(shop / "catalog")
    assert killed is not None
    assert killed.error.startswith("it was stopped before it was finished")
    (shop / "catalog" / STATUS).write_text("{")
    assert read_status(shop / "catalog") is None


def test_bundles_whose_heads_cannot_be_trained_alone_are_refused(untrained: ModelBundle) -> None:
    for changes, reason in (
        ({"head": "csra", "trunk": 0, "colour": 0, "pooling": "last"}, "csra"),
        (None, "does not record a recipe"),
    ):
        recipe = {} if changes is None else load_recipe("base", changes).model_dump(mode="json")
        spec = untrained.spec.model_copy(update={"provenance": {"recipe": recipe}})
        with pytest.raises(ConfigError, match=reason):
            retraining.head_recipe(replace(untrained, spec=spec), continued=True)


@pytest.fixture
def page(shop: Path) -> Iterator[TestClient]:
    predictions = shop / "p.parquet"
    bundle = ModelBundle.load(shop / "run" / "bundle")
    engine = EmbeddedEngine(bundle, Catalog.load(shop / "catalog"))
    predict(bundle, shop / "catalog", predictions, format="long", engine=engine)
    context = open_review(
        shop / "catalog", Options(predictions=predictions, bundle=bundle.path, reviewer="Ann", audit=5)
    )
    with TestClient(review_app(context), base_url=HOST, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        yield client


def follow(page: TestClient, state: str) -> str:
    """Wait until learning is in `state`, and return that part of the page."""
    for _ in range(300):
        learning = page.get("/api/learn").json()
        if learning["state"] == state:
            return str(learning["html"])
        time.sleep(0.05)
    raise AssertionError(learning)


def test_the_page_learns_and_goes_on(page: TestClient, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has learned all decisions so far" in page.get("/").text
    sampled = {id for id, _ in page.app.state.context.queues.sampled}  # type: ignore[attr-defined]
    trained = [id for id in of_split(shop, "train") if id not in sampled]
    decide(shop, *trained[:2])
    assert "2 decisions are not learned yet." in page.get("/").text
    commands: list[list[str]] = []

    def in_process(learner: learner_module.Learner) -> Iterator[str]:
        command = [*original(learner)]
        commands.append(command)
        yield from (sys.executable, "-c", "import time; time.sleep(30)")

    original = learner_module.Learner._command
    monkeypatch.setattr(learner_module.Learner, "_command", in_process)
    assert page.post("/api/learn", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert page.post("/api/learn").json()["state"] == "running"
    refused = page.post("/api/learn")
    assert (refused.status_code, refused.text.split(",")[0]) == (422, "Learning is already under way")
    learner = page.app.state.context.learner  # type: ignore[attr-defined]
    learner._process.kill()
    learner._process.wait()
    failed = follow(page, "failed")
    assert "Learning failed" in failed
    assert "learning.log" in failed
    command = commands[0]
    assert command[1:4] == ["-m", "attire", "learn"]
    assert command[-6:] == ["--precision", "0.95", "--confidence", "0.9", "--scope", "key"]
    outcome = app(command[3:], result_action="return_value")  # what the process would do
    assert outcome is None
    learner._process = None
    decide(shop, trained[2])  # meanwhile
    html = follow(page, "finished")
    assert "2 decisions learned in" in html
    assert "1 decision is not learned yet." not in html  # the page still has the old bundle
    digest = page.app.state.context.data.digest  # type: ignore[attr-defined]
    assert page.post("/api/learn/continue").json()["state"] == "idle"
    context = page.app.state.context  # type: ignore[attr-defined]
    assert context.data.digest != digest
    assert (trained[2], "colour") in context.store.held()
    assert "1 decision is not learned yet." in page.get("/").text
    assert page.post("/api/learn/continue").json()["state"] == "idle"  # the second reviewer's click


@pytest.mark.usefixtures("page")
def test_a_page_without_a_bundle_has_no_button(shop: Path) -> None:
    context = open_review(shop / "catalog", Options(predictions=shop / "p.parquet", reviewer="Ann"))
    with TestClient(review_app(context), base_url=HOST, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        assert 'id="learn"' not in client.get("/").text
        refused = client.post("/api/learn")
        assert (refused.status_code, refused.text.split(".")[0]) == (422, "Learning needs a bundle")
