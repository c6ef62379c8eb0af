"""Prediction with a fake engine: batches, several photos per product, faults, titles, formats, resumed runs."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.fake_engines import MeanColour
from numpy.typing import NDArray
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import Bytes, Floats
from attire.errors import ConfigError, FeedError, PhotoError, TaxonomyError
from attire.inference import bulk
from attire.inference.bulk import predict
from attire.inference.chunks import RowBuilder
from attire.inference.decoding import ProductPhotos
from attire.inference.logits import Inputs, catalog_logits, stream
from attire.inference.output import Format
from attire.inference.predictor import Predictor
from attire.inference.product_logits import LogitsTable, ProductLogits
from attire.photos.image import open_photo
from attire.prediction import Answer, Prediction
from attire.score.calibration import Calibration
from attire.score.decisions import prediction
from attire.score.promise import Promise
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader

INPUTS: tuple[Inputs, ...] = ("photo", "title", "both")
READERS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".csv": pl.scan_csv,
    ".jsonl": pl.scan_ndjson,
    ".parquet": pl.scan_parquet,
}


@pytest.fixture
def calibrated(untrained: ModelBundle) -> ModelBundle:
    """The untrained bundle as if it had been calibrated."""
    calibration = Calibration(
        category_temperature=1.2,
        temperature=(0.8, 1.1),
        thresholds={"0.9": tuple(np.linspace(0.3, 0.9, untrained.taxonomy.width))},
    )
    return replace(untrained, spec=untrained.spec.model_copy(update={"calibration": calibration}))


@pytest.fixture
def engine(catalog: Catalog) -> MeanColour:
    return MeanColour(catalog.taxonomy)


@pytest.fixture
def photos(catalog: Catalog) -> list[tuple[Path, ...]]:
    return catalog.photo_paths()


def test_batched_products_equal_single_ones(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    products = [ProductPhotos(str(n), paths) for n, paths in enumerate(photos)]
    together = list(stream(engine, untrained.preprocess, products, batch_size=7))
    assert [logits.id for logits in together] == [product.id for product in products]
    assert engine.largest <= 7
    for paths, logits in zip(photos, together, strict=True):
        pixels = np.stack([untrained.preprocess.resize(open_photo(path)) for path in paths])
        category, attributes = engine.logits(pixels)
        assert logits.category is not None
        assert logits.attributes is not None
        np.testing.assert_allclose(logits.category, category.mean(axis=0), atol=0.02)  # JPEG draft mode is inexact
        np.testing.assert_allclose(logits.attributes, attributes.mean(axis=0), atol=0.02)


def test_a_table_has_the_logits_of_its_products(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").touch()
    second = untrained.taxonomy.categories[1]
    products = [
        ProductPhotos("none", [tmp_path / "empty.jpg"], category=second),
        *(ProductPhotos(str(n), paths) for n, paths in enumerate(photos[:3])),
        ProductPhotos("known", photos[3], title="red belt", category=second),
    ]
    single = list(stream(engine, untrained.preprocess, products))
    remaining = stream(engine, untrained.preprocess, products)
    tables = [LogitsTable.take(remaining, 3, untrained.taxonomy) for _ in range(3)]
    assert [len(table) for table in tables] == [3, 2, 0]
    assert [table.ids for table in tables] == [["none", "0", "1"], ["2", "known"], []]
    assert [table.faults for table in tables] == [[single[0].faults, (), ()], [(), ()], []]
    assert [table.answered.tolist() for table in tables] == [[1, 2], [0, 1], []]
    assert [table.known.tolist() for table in tables] == [[-1, -1], [-1, 1], []]
    assert [(table.stated, table.titled) for table in tables] == [(1, 0), (1, 1), (0, 0)]
    for name in ("category", "attributes"):
        rows = np.concatenate([getattr(table, name) for table in tables])
        np.testing.assert_array_equal(rows, [getattr(logits, name) for logits in single[1:]])


def test_one_photo_of_a_product_may_be_unreadable(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").touch()
    good = photos[0][0]
    products = [
        ProductPhotos("both", [good, tmp_path / "empty.jpg"]),
        ProductPhotos("none", [tmp_path / "empty.jpg"]),
        ProductPhotos("good", [good]),
    ]
    both, none, alone = stream(engine, untrained.preprocess, products)
    np.testing.assert_array_equal(both.category, alone.category)
    assert len(both.faults) == 1
    assert both.faults[0].startswith("empty.jpg: ")
    assert none.category is None
    assert not alone.faults


def test_the_predictor_answers_with_values_of_the_taxonomy(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    predictor = Predictor(untrained, engine)
    answer = predictor(photos[0], id="p")
    assert answer.category in untrained.taxonomy.categories
    assert answer.bundle == untrained.digest
    colour = answer["colour"]
    assert isinstance(colour, Answer)
    assert colour.values[0] in untrained.taxonomy.keys["colour"].values
    with Image.open(photos[0][0]) as image:
        views = (str(photos[0][0]), photos[0][0].read_bytes(), image.convert("RGB"))
    answers = [predictor(view) for view in views]
    assert answers[0] == answers[1] == answers[2]


def test_a_known_category_replaces_the_predicted_one(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    predictor = Predictor(untrained, engine)
    assert "tags" in predictor(photos[0], category="shirts").attributes
    belt = predictor(photos[0], category="Belts")
    assert (belt.category, belt.category_confidence) == ("Belts", 1.0)
    assert "tags" not in belt.attributes
    with pytest.raises(TaxonomyError, match="did you mean 'Belts'"):
        predictor(photos[0], category="Belst")


def test_the_predictor_refuses_unreadable_photos(untrained: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    predictor = Predictor(untrained)
    with pytest.raises(PhotoError, match=r"text\.jpg"):
        predictor(str(tmp_path / "text.jpg"))
    with pytest.raises(PhotoError, match="at least one"):
        predictor([])


def test_a_photo_with_an_output_that_is_not_a_number_is_a_fault(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = engine.logits

    def overflowing(pixels: Bytes) -> tuple[Floats, Floats]:
        category, attributes = right(pixels)
        category[0, 0] = np.inf
        return category, attributes

    monkeypatch.setattr(engine, "logits", overflowing)
    products = [ProductPhotos("a", photos[0][:1]), ProductPhotos("b", photos[1][:1])]
    broken, fine = stream(engine, untrained.preprocess, products)
    assert broken.category is None
    assert broken.faults == ("the network's output for a photo is not a number",)
    assert fine.category is not None
    assert not fine.faults


def test_a_prediction_shows_its_photo_and_answers_in_a_notebook(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    answer = Predictor(untrained, engine, precision=None)(photos[0], id="<p>")
    page = answer._repr_html_()
    assert "<p>&lt;p&gt;</p><img" in page
    assert all(f"<th>{key}</th>" in page for key in ("category", "colour"))
    content = base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])
    with Image.open(io.BytesIO(content)) as thumbnail, Image.open(photos[0][0]) as photo:
        assert thumbnail.width * photo.height == pytest.approx(thumbnail.height * photo.width, rel=0.05)


class Titled(MeanColour):
    """An engine that reads titles too: each n-gram shifts all logits."""

    def titled_logits(self, pixels: Bytes | None, text: NDArray[np.int32]) -> tuple[Floats, Floats]:
        category, attributes = self.logits(np.zeros((len(text), 3, 1, 1), np.uint8) if pixels is None else pixels)
        shift = text.sum(axis=1, keepdims=True).astype(np.float32)
        return category + shift, attributes + shift


@pytest.fixture
def titled(untrained: ModelBundle) -> ModelBundle:
    """The untrained bundle as if it read titles."""
    network = untrained.spec.network.model_copy(update={"text": "title", "text_buckets": 64})
    return replace(untrained, spec=untrained.spec.model_copy(update={"network": network}))


def test_each_photo_of_a_product_is_read_with_its_title(
    untrained: ModelBundle, catalog: Catalog, photos: list[tuple[Path, ...]]
) -> None:
    engine, reader = Titled(catalog.taxonomy), TitleReader(64)
    titles = ["", "red belt", "blue", "", *(f"shirt {n}" for n in range(len(photos) - 4))]
    products = [ProductPhotos(str(n), paths, title=titles[n]) for n, paths in enumerate(photos)]
    bare = stream(engine, untrained.preprocess, products, batch_size=7)
    both = stream(engine, untrained.preprocess, products, batch_size=7, reader=reader)
    for title, without, logits in zip(titles, bare, both, strict=True):
        assert without.category is not None
        assert logits.category is not None
        np.testing.assert_allclose(logits.category - without.category, reader([title]).sum(), rtol=1e-5)


def test_a_catalog_is_answered_from_photos_titles_or_both(titled: ModelBundle, catalog: Catalog) -> None:
    engine = Titled(catalog.taxonomy)
    title = catalog[catalog.ids[1]].title
    assert title
    assert not catalog[catalog.ids[0]].title
    tables = {inputs: catalog_logits(titled, catalog, catalog.ids[:2], engine, inputs=inputs) for inputs in INPUTS}
    assert all(table.ids == catalog.ids[:2] for table in tables.values())
    assert tables["photo"].answered.tolist() == tables["both"].answered.tolist() == [0, 1]
    shift = TitleReader(64)([title]).sum()
    np.testing.assert_allclose(tables["both"].category[1], tables["photo"].category[1] + shift, rtol=1e-5)
    np.testing.assert_allclose(tables["both"].category[0], tables["photo"].category[0])
    assert (tables["title"].answered.tolist(), tables["title"].faults) == ([1], [("no title",), ()])
    np.testing.assert_allclose(tables["title"].category[0], shift)


def test_titles_are_refused_by_bundles_and_engines_that_do_not_read_them(
    untrained: ModelBundle, titled: ModelBundle, engine: MeanColour, catalog: Catalog, photos: list[tuple[Path, ...]]
) -> None:
    with pytest.raises(ConfigError, match=r"reads photos only.*--text title"):
        catalog_logits(untrained, catalog, catalog.ids, engine, inputs="both")
    with pytest.raises(ConfigError, match="reads photos only"):
        Predictor(untrained, engine)(photos[0], title="red belt")
    with pytest.raises(ConfigError, match="--engine torch"):
        Predictor(titled, engine)(photos[0], title="red belt")
    without, with_title = (Predictor(titled, Titled(catalog.taxonomy))(photos[0], title=t) for t in ("", "red belt"))
    assert without.category == with_title.category, "a title shifts all logits by the same amount"


def test_a_feed_with_titles(
    titled: ModelBundle, catalog: Catalog, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    (tmp_path / "feed.csv").write_text(f"id,title,image\na,red belt,{photos[0][0].name}\nb,,nowhere.png\n")
    texts: list[Floats] = []

    class Recording(Titled):
        def titled_logits(self, pixels: Bytes | None, text: NDArray[np.int32]) -> tuple[Floats, Floats]:
            texts.append(text.astype(np.float32))
            return super().titled_logits(pixels, text)

    engine = Recording(catalog.taxonomy)
    summary = predict(titled, tmp_path / "feed.csv", tmp_path / "o.csv", images=photos[0][0].parent, engine=engine)
    assert (summary.products, summary.unread) == (2, 1), "a title alone is not enough"
    np.testing.assert_array_equal(np.concatenate(texts), TitleReader(64)(["red belt"]))
    assert json.loads((tmp_path / "o.csv.json").read_text())["titles"] == 1


def test_known_categories_of_a_feed_replace_predicted_ones(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    feed, photo = tmp_path / "feed.csv", photos[0][0]
    feed.write_text(f"id,category,image\na,,{photo.name}\nb,belts,{photo.name}\nc,Shirts,{photo.name}\n")
    rows = {}
    for known in (False, True):
        out = tmp_path / f"{known}.csv"
        predict(untrained, feed, out, images=photo.parent, engine=engine, precision=None, known_category=known)
        rows[known] = {row["id"]: row for row in pl.read_csv(out).iter_rows(named=True)}
    assert len({row["category"] for row in rows[False].values()}) == 1, "one photo, one answer"
    assert rows[True]["a"] == rows[False]["a"]
    categories = {id: (row["category"], row["category_confidence"]) for id, row in rows[True].items() if id != "a"}
    assert categories == {"b": ("Belts", 1.0), "c": ("Shirts", 1.0)}
    assert rows[True]["b"]["tags"] is None, "keys apply to the known category"
    assert rows[True]["c"]["tags"] is not None


def test_known_categories_of_a_catalog(
    untrained: ModelBundle, engine: MeanColour, catalog: Catalog, tmp_path: Path
) -> None:
    summary = predict(untrained, catalog.path, tmp_path / "o.csv", engine=engine, known_category=True)
    assert pl.read_csv(summary.out)["category"].to_list() == catalog.products["category"].to_list()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,Belst,X\nb,Shirts,X\nc,Belst,X\n", r"2 problems.*row 2: .*did you mean 'Belts'.*and 1 more row: 4"),
        ("a,Belts,X\na,Shirts,X\n", r"1 problem .*row 3: id 'a' has another category, 'Belts', in an earlier row"),
        ("a,,X\n", "has no category for any product.*--category"),
    ],
)
def test_invalid_known_categories_are_reported(
    untrained: ModelBundle, photos: list[tuple[Path, ...]], tmp_path: Path, rows: str, message: str
) -> None:
    (tmp_path / "feed.csv").write_text("id,category,image\n" + rows.replace("X", photos[0][0].name))
    with pytest.raises(FeedError, match=f"(?s){message}"):
        predict(untrained, tmp_path / "feed.csv", tmp_path / "o.csv", images=photos[0][0].parent, known_category=True)
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("suffix", READERS)
def test_wide_output_has_a_row_per_product(
    untrained: ModelBundle, engine: MeanColour, catalog: Catalog, tmp_path: Path, suffix: str
) -> None:
    summary = predict(untrained, catalog.path, tmp_path / f"out{suffix}", engine=engine)
    assert (summary.products, summary.unread, summary.resumed) == (90, 0, 0)
    rows = READERS[suffix](summary.out).collect()
    assert rows["id"].to_list() == list(catalog.ids)
    assert rows.columns[:5] == ["id", "category", "category_confidence", "colour", "colour__confidence"]
    assert rows.filter(pl.col("category") == "Belts")["tags"].null_count() == (rows["category"] == "Belts").sum()
    record = json.loads((tmp_path / f"out{suffix}.json").read_text())
    assert record["bundle"] == untrained.digest
    assert record["engine"] == "mean colour"
    assert record["versions"]["polars"] == pl.__version__
    assert {p.name for p in tmp_path.iterdir()} == {f"out{suffix}", f"out{suffix}.json"}, "no temporary files are left"


def test_long_output_has_reasons_and_alternatives(
    untrained: ModelBundle, engine: MeanColour, catalog: Catalog, tmp_path: Path
) -> None:
    rows = pl.read_parquet(predict(untrained, catalog.path, tmp_path / "o.parquet", engine=engine, format="long").out)
    assert len(rows) == 90 * 2
    for row in rows.iter_rows(named=True):
        assert (row["values"] is None) == (row["reason"] is not None)
        if row["reason"] == "not applicable":
            assert (row["key"], row["alternatives"]) == ("tags", None)
        else:
            assert all(0 <= other["confidence"] <= 1 for other in json.loads(row["alternatives"]))


@pytest.mark.parametrize("precision", [0.9, None])
@pytest.mark.parametrize("format", ["wide", "long"])
def test_tables_equal_single_predictions(calibrated: ModelBundle, format: Format, precision: float | None) -> None:
    random, taxonomy = np.random.default_rng(0), calibrated.taxonomy
    category = random.normal(0, 3, (200, len(taxonomy.categories))).astype(np.float32)
    attributes = random.normal(0, 3, (200, taxonomy.width)).astype(np.float32)
    products = [ProductLogits(str(n), category[n], attributes[n], ()) for n in range(200)]
    products[3] = ProductLogits("3", None, None, ("a.jpg: empty", "b.jpg: not found"))
    products[7] = ProductLogits("7", category[7], attributes[7], ("a.jpg: empty",))
    decisions = calibrated.decide(category, attributes)
    accepted = calibrated.accepted(decisions, precision)
    rows = []
    for n, product in enumerate(products):
        answer = prediction(taxonomy, decisions, accepted, n, product.id, calibrated.digest)
        rows += _wide(product, answer) if format == "wide" else _long(product, answer, taxonomy)
    table = RowBuilder(calibrated, format, None if precision is None else Promise(precision=precision)).rows(
        LogitsTable.take(products, len(products), taxonomy)
    )
    assert len(table) == len(rows)
    empty = table["confidence" if format == "long" else "colour__confidence"].null_count()
    assert empty > 1 or precision is None, "some answers are not confident enough"
    for row, expected in zip(table.iter_rows(named=True), rows, strict=True):
        assert {k: pytest.approx(v, rel=1e-5) if isinstance(v, float) else v for k, v in expected.items()} == {
            k: v for k, v in row.items() if v is not None
        }


def test_unreadable_products_have_rows(untrained: ModelBundle) -> None:
    unread = [ProductLogits("a", None, None, ("a.jpg: empty",)), ProductLogits("b", None, None, ())]
    logits = LogitsTable.take(unread, 2, untrained.taxonomy)
    wide = RowBuilder(untrained, "wide", None).rows(logits)
    assert wide.select("id", "category", "colour", "error").rows() == [
        ("a", None, None, "a.jpg: empty"),
        ("b", None, None, None),
    ]
    long = RowBuilder(untrained, "long", None).rows(logits)
    assert long["reason"].to_list() == ["unreadable: a.jpg: empty", "unreadable: "]


def _category(prediction: Prediction) -> dict[str, object]:
    if prediction.category is None:
        return {}
    return {"category": prediction.category, "category_confidence": prediction.category_confidence}


def _wide(product: ProductLogits, prediction: Prediction) -> list[dict[str, object]]:
    """The expected row of the wide format, without its empty cells."""
    row: dict[str, object] = {"id": product.id}
    if product.faults:
        row["error"] = "; ".join(product.faults)
    if product.category is not None:
        row |= _category(prediction)
        for key, answer in prediction.attributes.items():
            if isinstance(answer, Answer):
                row |= {key: "|".join(answer.values), f"{key}__confidence": answer.confidence}
    return [row]


def _long(product: ProductLogits, prediction: Prediction, taxonomy: Taxonomy) -> list[dict[str, object]]:
    if product.category is None:
        return [{"id": product.id, "reason": f"unreadable: {'; '.join(product.faults)}"}]
    rows = []
    for key in taxonomy.keys:
        answer = prediction.attributes.get(key)
        row: dict[str, object] = {
            "id": product.id,
            **_category(prediction),
            "category_alternatives": json.dumps([asdict(other) for other in prediction.category_alternatives]),
            "key": key,
        }
        if answer is None:
            row["reason"] = "not applicable"
        else:
            row["alternatives"] = json.dumps([asdict(other) for other in answer.alternatives])
            if isinstance(answer, Answer):
                row |= {"values": "|".join(answer.values), "confidence": answer.confidence}
            else:
                row["reason"] = f"abstained: {answer.reason}"
        rows.append(row)
    return rows


def test_unreadable_and_missing_photos_are_reported_in_the_output(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photos[0][0].read_bytes())
    (folder / "b.png").write_bytes(photos[1][0].read_bytes()[:200])
    (tmp_path / "feed.csv").write_text("id,category,image\na,,a.png\nb,,b.png\nc,,c.png\nd,,a.png|c.png\n")
    summary = predict(untrained, tmp_path / "feed.csv", tmp_path / "o.csv", images=folder, engine=engine)
    assert (summary.products, summary.unread) == (4, 2)
    errors = dict(pl.read_csv(summary.out).select("id", "error").iter_rows())
    assert errors["a"] is None
    assert errors["b"].startswith("b.png: ")
    assert "c.png" in errors["c"]
    assert "c.png" in errors["d"]
    assert pl.read_csv(summary.out)["category"].null_count() == 2


def test_a_killed_run_resumes(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 20)
    expected = predict(untrained, catalog.path, tmp_path / "uninterrupted.csv", engine=MeanColour(catalog.taxonomy)).out

    class Dying(MeanColour):
        def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
            if self.photos > 60:
                raise KeyboardInterrupt
            return super().logits(pixels)

    with pytest.raises(KeyboardInterrupt):
        predict(untrained, catalog.path, tmp_path / "killed.csv", engine=Dying(catalog.taxonomy), batch_size=8)
    assert not (tmp_path / "killed.csv").exists(), "a killed run never looks finished"
    engine = MeanColour(catalog.taxonomy)
    second = predict(untrained, catalog.path, tmp_path / "killed.csv", engine=engine)
    assert 0 < second.resumed < 90
    assert engine.photos < 90
    assert second.out.read_text() == expected.read_text()


@pytest.mark.parametrize(
    ("source", "out", "error", "message"),
    [
        ("catalog", "o.xlsx", ConfigError, "one of .csv, .jsonl, .parquet"),
        ("nowhere", "o.csv", FeedError, "does not exist"),
        ("feed.csv", "o.csv", FeedError, "needs --images"),
        ("empty", "o.csv", FeedError, "contains no photo"),
    ],
)
def test_invalid_inputs_are_refused_first(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, source: str, out: str, error: type, message: str
) -> None:
    (tmp_path / "feed.csv").write_text("id,category,image\na,,a.png\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        predict(untrained, catalog.path if source == "catalog" else tmp_path / source, tmp_path / out)
    assert not (tmp_path / out).exists()
