"""Wrong labels are found: beside cleanlab where the questions agree, by their kinds, and in files for review."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.review_context import write_predictions
from numpy.typing import NDArray
from PIL import Image

from attire.auditing.audit import NETWORKS, audit
from attire.auditing.doubts import count_anchors, doubts, mean_rate, noise_rate
from attire.auditing.field_labels import FieldLabels
from attire.auditing.noise import anchors, noise_matrix, posterior, without_noise
from attire.auditing.suspecting import Suspects, find_suspects
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.catalog.suspects import SCHEMA, SUSPECT_TABLE, SUSPECTS, Kind, stated_labels, suspects_of
from attire.catalog.twins import shared_photos
from attire.cli import app
from attire.config import load_recipe
from attire.errors import CatalogError, ConfigError
from attire.review.data import ReviewData
from attire.review.queues import Filters, Queues
from attire.review.views import product_view
from attire.taxonomy import CATEGORY, SEPARATOR, Key, Taxonomy
from attire.training.data import RunData
from attire.training.fold_answers import OutOfFold

SMALL = {"backbone": "test_resnet", "size_px": (32, 24), "trunk": 16, "colour": 0, "attributes": {"epochs": 1}}


def simulated(
    values: int, products: int, rate: float, seed: int, skill: float = 6
) -> tuple[FieldLabels, NDArray[np.bool_]]:
    """A field with good answers and labels of which `rate` are uniformly flipped, and which of them are."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, values, products)
    logits = rng.normal(0, 1.5, (products, values)) + skill * np.eye(values)[true]
    clean = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probability = clean * (1 - rate) + (1 - clean) * rate / (values - 1)  # a network learns the flips, too
    wrong = rng.random(products) < rate
    stated = np.where(wrong, (true + rng.integers(1, values, products)) % values, true)
    names = tuple(f"v{number}" for number in range(values))
    eye = np.eye(values, dtype=bool)
    return FieldLabels("key", names, False, np.arange(products), eye[stated], probability, eye), wrong


def judged(field: FieldLabels) -> NDArray[np.float64]:
    every = np.ones(len(field.rows), dtype=bool)
    return doubts(field, every, mean_rate([(field, count_anchors(field, every))])).wrong


@pytest.mark.parametrize("seed", range(3))
def test_of_two_values_the_ranking_is_that_of_cleanlab(seed: int) -> None:
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is an oracle only: pip install cleanlab")
    field, _ = simulated(2, 400, 0.1, seed, skill=3)
    quality = rank.get_label_quality_scores(field.stated.argmax(axis=1), field.probability, method="self_confidence")
    # Of two values there is one wrong one, so the probability that the label is wrong falls with its confidence.
    assert np.array_equal(np.argsort(-judged(field), kind="stable"), np.argsort(quality, kind="stable"))


@pytest.mark.parametrize(("values", "seed"), [(3, 0), (6, 1), (12, 2)])
def test_clear_errors_are_the_issues_of_cleanlab(values: int, seed: int) -> None:
    filters = pytest.importorskip("cleanlab.filter", reason="cleanlab is an oracle only: pip install cleanlab")
    field, wrong = simulated(values, 1000, 0.1, seed, skill=12)
    issues = filters.find_label_issues(field.stated.argmax(axis=1), field.probability, n_jobs=1)
    suspects = judged(field) >= 0.5
    assert (suspects == issues).mean() > 0.99
    assert (suspects == wrong).mean() > 0.99


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_anchors_count_the_flipped_labels(rate: float) -> None:
    field, wrong = simulated(5, 8000, rate, 3, skill=5)
    found = count_anchors(field, np.ones(8000, dtype=bool))
    every = noise_rate(field, doubts(field, np.ones(8000, dtype=bool), rate), found)
    assert every.low <= wrong.mean() <= every.high
    assert every.anchors == found.number == pytest.approx(2000, abs=10)
    assert wrong[judged(field) >= 0.5].mean() > 0.9


def test_noise_is_taken_out_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    clean = rng.dirichlet([0.2] * 4, 500)
    noise = np.full((4, 4), 0.05)
    np.fill_diagonal(noise, 0.85)
    before, after = (np.abs(found - clean).mean() for found in (clean @ noise, without_noise(clean @ noise, noise)))
    assert after < 0.6 * before


def test_a_label_that_nobody_else_has_is_no_division_by_zero() -> None:
    stated, probability = np.array([0, 0, 3]), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    noise = noise_matrix(stated, probability, 0.1)
    assert np.allclose(noise.sum(axis=1), 1)
    assert np.isfinite(posterior(stated, probability, noise)).all()
    assert anchors(stated[:0], probability[:0], np.eye(4, dtype=bool)) == (0, 0)


TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "colour": Key(categories=("Shirts", "Belts"), values=("red", "blue", "navy"), parents={"navy": "blue"}),
        "tags": Key(arity="many", categories=("Shirts",), values=("logo", "zip", "pocket")),
    },
)
ODD = {  # beside a hundred products whose labels are those that the network answers
    "colour": ("Shirts", {"colour": ["red"], "tags": ["logo"]}),
    "coarse": ("Shirts", {"colour": ["blue"], "tags": ["logo"]}),
    "missing": ("Shirts", {"colour": ["navy"], "tags": ["logo"]}),
    "false": ("Shirts", {"colour": ["navy"], "tags": ["logo", "pocket"]}),
    "category": ("Belts", {"colour": ["navy"]}),
    "stray": ("Belts", {"colour": ["navy"], "tags": ["zip"]}),
    "twin-1": ("Shirts", {"colour": ["red"], "tags": ["logo"]}),
    "twin-2": ("Shirts", {"colour": ["navy"], "tags": ["logo"]}),
}
ANSWERS: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "colour": ("Shirts", "navy", ["logo"]),
    "coarse": ("Shirts", "navy", ["logo"]),
    "missing": ("Shirts", "navy", ["logo", "zip"]),
    "false": ("Shirts", "navy", ["logo"]),
    "category": ("Shirts", "navy", ["logo"]),
    "stray": ("Belts", "navy", []),
    "twin-1": ("Shirts", "unsure", ["logo"]),
    "twin-2": ("Shirts", "unsure", ["logo"]),
}


def made(folder: Path) -> Catalog:
    """A catalog of ordinary products and `ODD` ones; the twins share a photo."""
    (folder / "taxonomy.toml").write_text(TAXONOMY.to_toml())
    rng = np.random.default_rng(0)
    rows: list[dict[str, str]] = []
    odd = [(id, category, labels) for id, (category, labels) in ODD.items()]
    plain = [(f"p{n:03d}", *ordinary(n)) for n in range(100)]
    for id, category, labels in [*plain, *odd]:
        photo = f"{id.partition('-')[0] if id.startswith('twin') else id}.png"
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((48, 48)).save(folder / photo)
        cells = {"colour": "|".join(labels["colour"]), "tags": "|".join(labels.get("tags", []))}
        rows.append({"id": id, "category": category, "image": photo, **cells})
    pl.DataFrame(rows).write_csv(folder / "feed.csv")
    return ingest(folder / "feed.csv", folder, folder / "catalog", taxonomy=folder / "taxonomy.toml")


def ordinary(number: int) -> tuple[str, dict[str, list[str]]]:
    colour = [("red", "blue", "navy")[number % 3]]
    tags = [["logo"], ["zip"], ["logo", "zip"], ["pocket"]][number % 4]
    return ("Belts", {"colour": colour}) if number % 5 == 0 else ("Shirts", {"colour": colour, "tags": tags})


def answered(catalog: Catalog) -> OutOfFold:
    """Sure answers: `ANSWERS`, or else the labels."""
    width, logits = len(catalog), 7.0
    category = np.full((width, 2), -logits / 2, np.float32)
    attributes = np.full((width, TAXONOMY.width), -logits / 2, np.float32)
    for row, product in enumerate(catalog):
        colours, tags = product.labels.get("colour", ("red",)), product.labels.get("tags", ())
        name, colour, shown = ANSWERS.get(product.id, (str(product.category), colours[0], tags))
        category[row, TAXONOMY.category_index[name]] = logits / 2
        for value in ("red", "navy") if colour == "unsure" else (colour,):
            attributes[row, TAXONOMY.column_index["colour", value]] = logits / 2
        for tag in shown:
            attributes[row, TAXONOMY.column_index["tags", tag]] = logits / 2
        if product.id == "twin-1":
            attributes[row, TAXONOMY.column_index["colour", "navy"]] += 1
    rows = np.arange(width)
    return OutOfFold(rows, rows % 3 + 1, catalog.targets(), category, attributes, rows >= 0)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, Suspects]:
    catalog = made(tmp_path_factory.mktemp("odd"))
    return catalog, find_suspects(catalog, answered(catalog))


@pytest.mark.parametrize(
    ("product", "key", "kind", "stated", "proposed"),
    [
        ("colour", "colour", Kind.WRONG_VALUE, "red", "navy"),
        ("missing", "tags", Kind.MISSING_VALUE, "logo", "logo|zip"),
        ("false", "tags", Kind.WRONG_VALUE, "logo|pocket", "logo"),
        ("category", CATEGORY, Kind.WRONG_CATEGORY, "Belts", "Shirts"),
        ("stray", "tags", Kind.DOES_NOT_APPLY, "zip", None),
        ("twin-1", "colour", Kind.CONTRADICTS_TWIN, "red", "navy"),
    ],
)
def test_kinds(
    odd: tuple[Catalog, Suspects], product: str, key: str, kind: Kind, stated: str, proposed: str | None
) -> None:
    catalog, found = odd
    row = found.table.row(by_predicate=(pl.col("product") == product) & (pl.col("key") == key), named=True)
    assert (row["kind"], row["stated"], row["proposed"]) == (kind, stated, proposed)
    assert row["score"] >= 0.5
    assert row["fold"] == int(catalog.rows_of([product])[0]) % 3 + 1
    assert row["twin"] == ("twin-2" if product == "twin-1" else None)


def test_nothing_else_is_suspected(odd: tuple[Catalog, Suspects]) -> None:
    _, found = odd
    assert sorted(found.table["product"]) == ["category", "colour", "false", "missing", "stray", "twin-1"]
    assert found.table["kind"].to_list()[-1] == Kind.DOES_NOT_APPLY  # it harms nobody, so it comes last


def test_judged_products_are_audited_but_nothing_is_learned_from_them(odd: tuple[Catalog, Suspects]) -> None:
    catalog, _ = odd
    answers = answered(catalog)
    is_learned = answers.is_learned.copy()
    is_learned[catalog.rows_of(["colour"])] = False
    flipped = answers.attributes.copy()
    other = OutOfFold(answers.row, answers.fold, answers.truth, answers.category, flipped, is_learned)
    flipped[catalog.rows_of(["colour"])] *= -1  # must change its own row only
    before = OutOfFold(answers.row, answers.fold, answers.truth, answers.category, answers.attributes, is_learned)
    tables = [find_suspects(catalog, one).table.filter(pl.col("product") != "colour") for one in (before, other)]
    assert tables[0].equals(tables[1])
    assert "colour" in find_suspects(catalog, before).table["product"]


def test_twins_share_their_first_photo(odd: tuple[Catalog, Suspects]) -> None:
    catalog, _ = odd
    assert [[catalog.ids[row] for row in pair] for pair in shared_photos(catalog, only_first=True)] == [
        ["twin-1", "twin-2"]
    ]


def test_folds_divide_train_and_val_and_keep_groups_together(catalog: Catalog, tmp_path: Path) -> None:
    shutil.copytree(catalog.path, tmp_path / "catalog")
    copy = Catalog.load(tmp_path / "catalog")
    splits = split(copy, val=0.3, test=0.2, seed=1, anew=True)
    copy.audited = frozenset(splits.train[:5])
    data = RunData.of_all(copy, splits, load_recipe("audit", SMALL), 3, None, 0)
    own = [parts.calibration.ids for parts in data.folds if parts.calibration is not None]
    assert sorted(id for ids in own for id in ids) == sorted((*splits.train, *splits.val))
    for parts, ids in zip(data.folds, own, strict=True):
        assert not {*parts.train.ids} & ({*ids} | copy.audited | {*splits.test})


@pytest.fixture(scope="module")
def audited(catalog: Catalog, splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, Path]:
    """A copy of the catalog, and what the command wrote."""
    assert not splits.test
    folder = tmp_path_factory.mktemp("audited")
    shutil.copytree(catalog.path, folder / "catalog")
    options = ["--backbone", "test_resnet", "--size-px", "32", "24", "--weights", "none", "--workers", "0"]
    sets = ["--set", "trunk=16", "--set", "colour=0", "--set", "attributes.epochs=1", "--set", "batch_size=16"]
    command = ["audit", str(folder / "catalog"), "--out", str(folder / "out"), "--folds", "2", *options, *sets]
    app(command, result_action="return_value")
    return Catalog.load(folder / "catalog"), folder / "out"


def test_the_command_writes_its_files(audited: tuple[Catalog, Path]) -> None:
    catalog, out = audited
    names = {path.name for path in out.iterdir()}
    assert names >= {"suspects.parquet", "suspects.csv", "suspects.xlsx", "keys.csv", "report.html"}
    assert not any(name.startswith((NETWORKS, ".")) for name in names)
    table = pl.read_parquet(out / SUSPECTS)
    assert dict(table.schema) == SCHEMA
    found = suspects_of(catalog)
    assert found is not None
    assert found.equals(table)
    openpyxl = pytest.importorskip("openpyxl")
    sheet = [[*row] for row in openpyxl.load_workbook(out / "suspects.xlsx").active.iter_rows(values_only=True)]
    assert sheet[0] == table.columns
    assert [row[0] for row in sheet[1:]] == table["product"].to_list()
    page = (out / "report.html").read_text()
    assert "90 products of train and val" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # it needs no network
    keys = pl.read_csv(out / "keys.csv")
    assert keys["key"].to_list() == ["category", "colour", "tags"]
    assert keys["labels"][0] == 90


@pytest.mark.parametrize(
    ("options", "message"), [({"folds": 1}, "expected 2 or more"), ({"recipe": "original"}, "two|another one")]
)
def test_what_cannot_be_audited(
    catalog: Catalog, splits: Splits, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        audit(catalog, splits, out=tmp_path, **options)


def row(product: str, key: str, stated: str, score: float, twin: str | None = None) -> dict[str, Any]:
    values = [product, key, Kind.WRONG_VALUE, stated, "blue", score, 0.9, 1, twin]
    return dict(zip(SCHEMA, values, strict=True))


@pytest.fixture
def copied(catalog: Catalog, tmp_path: Path) -> Catalog:
    shutil.copytree(catalog.path, tmp_path / "catalog")
    return Catalog.load(tmp_path / "catalog")


def labelled(catalog: Catalog, count: int) -> list[tuple[str, str]]:
    """Products with a colour, and that colour."""
    rows = catalog.labels.filter(key="colour").head(count)
    return [*rows.select("id", "value").iter_rows()]


def test_stale_suspects_are_left_out(copied: Catalog) -> None:
    (a, red), (b, _), (c, blue) = labelled(copied, 3)
    rows = [row(c, "colour", blue, 0.9), row(a, "colour", red, 0.8), row(b, "colour", "another", 0.7)]
    SUSPECT_TABLE.save(copied, pl.DataFrame([*rows, row("gone", "colour", "red", 0.6)], SCHEMA))
    found = suspects_of(copied)
    assert found is not None
    assert found["product"].to_list() == [c, a]
    (copied.path / SUSPECTS).write_bytes(b"no table")
    with pytest.raises(CatalogError, match=r"suspects\.parquet cannot be read .* Run attire audit"):
        suspects_of(copied)


def test_a_purge_erases_suspects(copied: Catalog) -> None:
    SUSPECT_TABLE.save(
        copied, pl.DataFrame([row("a", "k", "x", 0.9), row("b", "k", "x", 0.8, "a"), row("c", "k", "x", 0.7)], SCHEMA)
    )
    SUSPECT_TABLE.forget(copied.path, ["a"])
    assert pl.read_parquet(copied.path / SUSPECTS)["product"].to_list() == ["c"]


def test_review_takes_the_suspects_of_the_audit(copied: Catalog) -> None:
    data = ReviewData(copied, write_predictions(copied, copied.path.parent / "p.parquet"))
    before = Queues(data).of(Filters(queue="suspect"))
    assert len(before)
    assert set(before["key"]) <= {"colour", CATEGORY}
    contradicted = set(data.fields.filter("suspect").select("product", "key").iter_rows())
    agreeing = [(id, value) for id, value in labelled(copied, 20) if (id, "colour") not in contradicted]
    (a, of_a), (b, of_b) = agreeing[:2]
    SUSPECT_TABLE.save(copied, pl.DataFrame([row(b, "colour", of_b, 0.99), row(a, "colour", of_a, 0.7)], SCHEMA))
    queues = Queues(data)
    assert queues.of(Filters(queue="suspect")).rows() == [(b, "colour"), (a, "colour")]
    field = next(f for f in product_view(data, a, {}, suspected=queues.suspected).fields if f.key == "colour")
    assert field.doubtful  # "accept all" must not confirm it


def test_labels_of_keys_that_do_not_apply_are_reviewed_too(copied: Catalog) -> None:
    """The model has no answer to them, so predictions have no row."""
    predictions = write_predictions(copied, copied.path.parent / "p.parquet")
    id, key, value = stated_labels(copied).filter(pl.col("key") == "tags").row(0)
    rows = pl.read_parquet(predictions)
    rows.filter(~((pl.col("id") == id) & (pl.col("key") == key))).write_parquet(predictions)
    data = ReviewData(copied, predictions)
    suspect = row(id, key, value, 0.9) | {"kind": Kind.DOES_NOT_APPLY, "proposed": None}
    SUSPECT_TABLE.save(copied, pl.DataFrame([suspect], SCHEMA))
    queues = Queues(data)
    assert queues.of(Filters(queue="suspect")).rows() == [(id, "tags")]
    everything = queues.of(Filters(queue="all"))
    assert len(everything) == len(data.fields) + 1
    assert everything["product"].rle_id().n_unique() == len(data.products)  # a product's fields are in one place
    assert (id, "tags") not in queues.sampled
    view = product_view(data, id, {}, wanted=["tags"], suspected=queues.suspected)
    field = next(field for field in view.fields if field.key == "tags")
    assert (field.status_title, field.proposal, field.doubtful) == (
        "does not apply?",
        tuple(value.split(SEPARATOR)),
        True,
    )
