"""Prediction with a fake engine: many products equal one by one, photos are pooled, faults are told, runs resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.images import open_photo
from attire.catalog.store import Catalog
from attire.errors import ConfigError, FeedError, PhotoError, TaxonomyError
from attire.predict import bulk
from attire.predict.bulk import predict
from attire.predict.logits import ProductPhotos, stream
from attire.predict.predictor import Predictor
from attire.prediction import Answer
from attire.taxonomy import Taxonomy

Floats = NDArray[np.float32]
READERS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".csv": pl.scan_csv,
    ".jsonl": pl.scan_ndjson,
    ".parquet": pl.scan_parquet,
}


class MeanColour:
    """An engine whose logits are a fixed linear map of a photo's mean colour; counts what it computed."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        random = np.random.default_rng(0)
        self.category = random.normal(size=(3, len(taxonomy.categories))).astype(np.float32)
        self.attributes = random.normal(size=(3, taxonomy.width)).astype(np.float32)
        self.photos, self.largest = 0, 0

    def logits(self, pixels: Floats) -> tuple[Floats, Floats]:
        self.photos += len(pixels)
        self.largest = max(self.largest, len(pixels))
        colour = pixels.mean(axis=(2, 3))
        return colour @ self.category, colour @ self.attributes


@pytest.fixture
def engine(catalog: Catalog) -> MeanColour:
    return MeanColour(catalog.taxonomy)


@pytest.fixture
def photos(catalog: Catalog) -> list[tuple[Path, ...]]:
    return catalog.photo_paths()


def test_many_products_equal_one_by_one(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    products = [ProductPhotos(str(n), paths) for n, paths in enumerate(photos)]
    together = list(stream(engine, untrained.preprocess, products, batch_size=7))
    assert [found.id for found in together] == [product.id for product in products]
    assert engine.largest <= 7
    for paths, found in zip(photos, together, strict=True):
        pixels = np.stack([untrained.preprocess(open_photo(path)) for path in paths])
        category, attributes = engine.logits(pixels)
        assert found.category is not None
        assert found.attributes is not None
        np.testing.assert_allclose(found.category, category.mean(axis=0), atol=0.02)  # JPEG's draft mode may be near
        np.testing.assert_allclose(found.attributes, attributes.mean(axis=0), atol=0.02)


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


def test_the_predictor_answers_in_the_words_of_the_taxonomy(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    predictor = Predictor(untrained, engine)
    said = predictor(photos[0], id="p")
    assert said.category in untrained.taxonomy.categories
    assert said.bundle == untrained.digest
    colour = said["colour"]
    assert isinstance(colour, Answer)
    assert colour.values[0] in untrained.taxonomy.keys["colour"].values
    with Image.open(photos[0][0]) as image:
        views = (str(photos[0][0]), photos[0][0].read_bytes(), image.convert("RGB"))
    answers = [predictor(view) for view in views]
    assert answers[0] == answers[1] == answers[2]


def test_a_known_category_overrules_the_network(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]]
) -> None:
    predictor = Predictor(untrained, engine)
    assert "tags" in predictor(photos[0], category="shirts").attributes
    belt = predictor(photos[0], category="Belts")
    assert (belt.category, belt.category_confidence) == ("Belts", 1.0)
    assert "tags" not in belt.attributes
    with pytest.raises(TaxonomyError, match="did you mean 'Belts'"):
        predictor(photos[0], category="Belst")


def test_the_predictor_refuses_what_it_cannot_read(untrained: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    predictor = Predictor(untrained)
    with pytest.raises(PhotoError, match=r"text\.jpg"):
        predictor(str(tmp_path / "text.jpg"))
    with pytest.raises(PhotoError, match="at least one"):
        predictor([])


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
    about = json.loads((tmp_path / f"out{suffix}.json").read_text())
    assert about["bundle"] == untrained.digest
    assert {p.name for p in tmp_path.iterdir()} == {f"out{suffix}", f"out{suffix}.json"}, "nothing else is left"


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


def test_unreadable_and_missing_photos_are_in_the_output_with_the_reason(
    untrained: ModelBundle, engine: MeanColour, photos: list[tuple[Path, ...]], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photos[0][0].read_bytes())
    (folder / "b.png").write_bytes(photos[1][0].read_bytes()[:200])
    (tmp_path / "feed.csv").write_text("id,category,image\na,,a.png\nb,,b.png\nc,,c.png\nd,,a.png|c.png\n")
    made = predict(untrained, tmp_path / "feed.csv", tmp_path / "o.csv", images=folder, engine=engine)
    assert (made.products, made.unread) == (4, 2)
    errors = dict(pl.read_csv(made.out).select("id", "error").iter_rows())
    assert errors["a"] is None
    assert errors["b"].startswith("b.png: ")
    assert "c.png" in errors["c"]
    assert "c.png" in errors["d"]
    assert pl.read_csv(made.out)["category"].null_count() == 2


def test_a_killed_run_goes_on(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PART", 20)
    whole = predict(untrained, catalog.path, tmp_path / "whole.csv", engine=MeanColour(catalog.taxonomy)).out

    class Dying(MeanColour):
        def logits(self, pixels: Floats) -> tuple[Floats, Floats]:
            if self.photos > 60:
                raise KeyboardInterrupt
            return super().logits(pixels)

    with pytest.raises(KeyboardInterrupt):
        predict(untrained, catalog.path, tmp_path / "cut.csv", engine=Dying(catalog.taxonomy), batch_size=8)
    assert not (tmp_path / "cut.csv").exists(), "a killed run never looks finished"
    engine = MeanColour(catalog.taxonomy)
    second = predict(untrained, catalog.path, tmp_path / "cut.csv", engine=engine)
    assert 0 < second.resumed < 90
    assert engine.photos < 90
    assert second.out.read_text() == whole.read_text()


@pytest.mark.parametrize(
    ("source", "out", "error", "told"),
    [
        ("catalog", "o.xlsx", ConfigError, "one of .csv, .jsonl, .parquet"),
        ("nowhere", "o.csv", FeedError, "does not exist"),
        ("feed.csv", "o.csv", FeedError, "needs --images"),
        ("empty", "o.csv", FeedError, "holds no photo"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, source: str, out: str, error: type, told: str
) -> None:
    (tmp_path / "feed.csv").write_text("id,category,image\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=told):
        predict(untrained, catalog.path if source == "catalog" else tmp_path / source, tmp_path / out)
    assert not (tmp_path / out).exists()
