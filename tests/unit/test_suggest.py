"""What to label next: the choice against brute force, the products that may be chosen, and the feed to fill in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.drawn_feed import draw_feed
from helpers.review_context import write_predictions

from attire.acquisition.design import BIAS, LEAST_DOUBT, PRIOR, Fields, choose
from attire.acquisition.evidence import principal_components
from attire.acquisition.suggest import suggest
from attire.acquisition.typical import choose_typical
from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.sources.options import SourceOptions
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.catalog.suggestions import SUGGESTION_TABLE, SUGGESTIONS, suggestions_of
from attire.config import load_recipe
from attire.errors import CatalogError, ConfigError
from attire.removal.remove import remove
from attire.review.app import open_review
from attire.review.options import Options
from attire.review.queues import Filters
from attire.taxonomy import CATEGORY

RECIPE = load_recipe(
    "frozen", {"backbone": "test_resnet", "size_px": (32, 24), "pooling": "last", "trunk": 0, "colour": 0}
)


def drawn(seed: int, products: int = 40, keys: int = 3) -> Fields:
    random = np.random.default_rng(seed)
    applies = random.random((products, keys + 1)) < 0.8
    applies[:, 0] = True
    labelled = applies & (random.random(applies.shape) < 0.3)
    return Fields(
        features=random.normal(size=(products, 5)).astype(np.float32),
        doubt=random.random(applies.shape).astype(np.float32),
        applies=applies,
        labelled=labelled,
        open=applies & ~labelled,
        unsure_category=random.random(products) < 0.5,
    )


def brute_force_gains(fields: Fields, taught: list[tuple[int, int]]) -> np.ndarray:
    """The gain of each open field by its definition: trace(covariance of the weights times the doubt of all products),
    before and after the label."""
    x = fields.features - fields.features.mean(axis=0)
    x = np.column_stack([x / np.sqrt((x**2).sum(axis=1).mean()), np.full(len(x), BIAS)]).astype(float)
    gains = np.zeros(fields.open.shape)
    for number in range(fields.open.shape[1]):
        doubt = fields.doubt[:, number].astype(float)
        information = PRIOR * np.eye(x.shape[1])
        for row in np.flatnonzero(fields.labelled[:, number]).tolist():
            information += max(doubt[row], LEAST_DOUBT) * np.outer(x[row], x[row])
        for row in (row for row, other in taught if other == number):
            information += doubt[row] * np.outer(x[row], x[row])
        everything = (x * (doubt * fields.applies[:, number])[:, None]).T @ x

        def unsure(matrix: np.ndarray, everything: np.ndarray = everything) -> float:
            return float(np.trace(np.linalg.inv(matrix) @ everything))

        for row in np.flatnonzero(fields.open[:, number]).tolist():
            after = information + doubt[row] * np.outer(x[row], x[row])
            gains[row, number] = unsure(information) - unsure(after)
    return gains


@pytest.mark.parametrize("seed", range(3))
def test_every_choice_is_the_one_that_lowers_the_doubt_of_all_products_most(seed: int) -> None:
    fields, taught, chosen = drawn(seed), list[tuple[int, int]](), set[int]()
    for choice in list(choose(fields, share=0.5))[:8]:
        gains = brute_force_gains(fields, taught)
        gains[list(chosen)] = 0
        row = int(gains.max(axis=1).argmax())
        assert choice.row == row
        wanted = gains[row] >= 0.5 * gains[row].max()
        wanted[0] |= fields.open[row, 0] and fields.unsure_category[row]
        assert set(choice.fields) == set(np.flatnonzero(wanted).tolist())
        assert choice.gains == pytest.approx(gains[row, list(choice.fields)])
        chosen.add(row)
        taught += [(row, field) for field in choice.fields]


def test_every_open_product_is_chosen_once_and_only_open_fields_are_asked() -> None:
    fields = drawn(7)
    choices = list(choose(fields))
    rows = [choice.row for choice in choices]
    assert sorted(rows) == np.flatnonzero(fields.open.any(axis=1)).tolist()
    assert all(fields.open[choice.row, list(choice.fields)].all() for choice in choices)
    assert all(choice.fields[0] == 0 for choice in choices if 0 in choice.fields)


def test_a_batch_covers_clusters_and_keys_without_labels() -> None:
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(4), 25)
    features = (np.eye(4)[cluster] * 5 + random.normal(scale=0.1, size=(100, 4))).astype(np.float32)
    everything = np.ones((100, 3), dtype=bool)
    labelled = np.zeros_like(everything)
    labelled[:, 0] = True
    labelled[random.random(100) < 0.5, 1] = True  # the last key has no label
    fields = Fields(
        features, np.ones((100, 3), np.float32), everything, labelled, everything & ~labelled, np.zeros(100, dtype=bool)
    )
    first = list(choose(fields))[:4]
    assert sorted(cluster[choice.row] for choice in first) == [0, 1, 2, 3]
    assert {field for choice in first for field in choice.fields} == {2}


@pytest.mark.parametrize("n", [1, 3, 8, 100])
def test_without_a_model_each_cluster_gives_its_most_typical_product(n: int) -> None:
    random = np.random.default_rng(n)
    cluster = np.repeat(np.arange(3), (40, 25, 35))
    features = (np.eye(3)[cluster] * 9 + random.normal(size=(100, 3))).astype(np.float32)
    known = np.zeros((100, 2), dtype=bool)
    known[:, 0] = True  # of the category, which says nothing about keys
    every = np.ones_like(known)
    fields = Fields(features, np.ones((100, 2), np.float32), every, known, every & ~known, np.zeros(100, dtype=bool))
    choices = list(choose_typical(fields, n))
    assert len({choice.row for choice in choices}) == len(choices) == n
    assert all(choice.fields == (1,) for choice in choices)
    assert all(0 < gain <= 1 for choice in choices for gain in choice.gains)
    if n == 3:  # the largest cluster first; each time the one with the nearest others
        assert [cluster[choice.row] for choice in choices] == [0, 2, 1]
        for choice in choices:
            own = np.flatnonzero(cluster == cluster[choice.row])
            distance = np.linalg.norm(features[own, None] - features[None, own], axis=2)
            nearest = np.sort(distance, axis=1)[:, 1:21].mean(axis=1)
            assert own[nearest.argmin()] == choice.row


def test_without_a_model_clusters_with_labels_wait() -> None:
    features = np.repeat(np.array([[0.0, 0.0], [9.0, 9.0]], np.float32), 10, axis=0) + np.linspace(0, 1, 20)[:, None]
    every = np.ones((20, 2), dtype=bool)
    labelled = np.zeros_like(every)
    labelled[3] = True
    fields = Fields(
        features.astype(np.float32), np.ones((20, 2), np.float32), every, labelled, every & ~labelled, every[:, 0]
    )
    (first,) = choose_typical(fields, 1)
    assert first.row >= 10
    assert first.fields == (0, 1)
    assert len(list(choose_typical(fields, 50))) == 19
    one = np.ones((5, 2), dtype=bool)
    same = Fields(np.ones((5, 3), np.float32), one.astype(np.float32), one, ~one, one, one[:, 0])
    assert [choice.row for choice in choose_typical(same, 9)] == [0, 1, 2, 3, 4]


def test_principal_components_keep_the_distances() -> None:
    values = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    components = principal_components(values, 6)
    distances = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (scaled, components)]
    np.testing.assert_allclose(distances[0], distances[1], rtol=1e-4, atol=1e-4)


@pytest.fixture
def own(catalog: Catalog, splits: Splits, tmp_path: Path) -> Catalog:
    """A copy of the split catalog that a test may write into."""
    assert splits.train
    shutil.copytree(catalog.path, tmp_path / "catalog", symlinks=True)
    shutil.copytree(catalog.path.parent / "photos", tmp_path / "photos")
    return Catalog.load(tmp_path / "catalog")


def test_only_fields_without_a_label_of_products_of_train_are_suggested(own: Catalog, untrained: ModelBundle) -> None:
    suggested = suggest(own, untrained, n=1000, workers=0)
    train = set(Splits.load(own).train)
    assert set(suggested.table["product"]) <= train
    blank = {id for id in train if own[id].category and not own[id].labels.get("colour")}
    assert blank
    for id, key in suggested.table.select("product", "key").iter_rows():
        assert key in own.taxonomy.keys
        assert key not in own[id].labels
    assert blank <= set(suggested.table["product"])
    assert suggested.table["rank"].to_list() == list(range(1, len(suggested.table) + 1))
    saved = suggestions_of(own)
    assert saved is not None
    assert saved.equals(suggested.table)


def test_products_of_the_random_sample_and_decided_fields_are_left_out(own: Catalog, untrained: ModelBundle) -> None:
    everything = suggest(own, untrained, n=1000, workers=0).table
    audited, cleared = everything["product"].unique(maintain_order=True)[:2]
    own.audited = frozenset({audited})
    own.reviewed = pl.DataFrame({"id": [cleared], "key": ["colour"]}).with_columns(sampled=pl.lit(False))
    later = suggest(own, untrained, n=1000, workers=0).table
    assert audited not in set(later["product"])
    assert (cleared, "colour") not in set(later.select("product", "key").iter_rows())
    assert len(later) < len(everything)


def test_without_a_bundle_or_a_category_the_category_is_asked_first(tmp_path: Path) -> None:
    feed = draw_feed(tmp_path, 30)
    rows = pl.read_csv(feed, infer_schema=False).with_columns(
        pl.when(pl.int_range(pl.len()) < 10).then(pl.lit("")).otherwise("category").alias("category"),
        tags=pl.lit(""),
    )
    rows.write_csv(feed)
    taxonomy = tmp_path / "t.toml"
    taxonomy.write_text(
        'version = 1\ncategories = ["Shirts", "Trousers", "Belts"]\n[keys.colour]\ncategories = ["Shirts", "Belts"]\n'
        'values = ["red", "green", "blue"]\n[keys.tags]\narity = "many"\ncategories = ["Shirts"]\n'
        'values = ["logo", "zip"]\n'
    )
    catalog = ingest(feed, tmp_path / "photos", tmp_path / "catalog", taxonomy=taxonomy)
    suggested = suggest(catalog, n=1000, recipe=RECIPE, weights="none", workers=0)
    asked = set(suggested.table.select("product", "key").iter_rows())
    assert {product for product, key in asked if key == CATEGORY} == {f"p{number:03d}" for number in range(10)}
    assert {product for product, key in asked if key == "tags"} == {
        id for id in catalog.ids if catalog[id].category == "Shirts"
    }


def test_the_filled_feed_is_read_back(own: Catalog, untrained: ModelBundle, tmp_path: Path) -> None:
    sheet = tmp_path / "feed.csv"
    suggested = suggest(own, untrained, n=5, out=sheet, workers=0)
    assert suggested.products == 5
    asked = suggested.table.group_by("product", maintain_order=True).agg(pl.col("key").str.join(", "))
    rows = pl.read_csv(sheet, infer_schema=False)
    assert rows.select("id", "ask").rows() == asked.rows()
    answers = {"colour": "green", "tags": "logo|zip"}
    filled = [
        pl.when(pl.col("ask").str.contains(key)).then(pl.lit(answers[key])).otherwise(key).alias(key) for key in answers
    ]
    rows.with_columns(filled).write_csv(sheet)
    assert suggested.command == f"attire ingest {sheet} --update --ignore photo ask --out {own.path}"
    assert all(Path(photo).is_file() for photo in rows["photo"])
    now = ingest(sheet, (), own.path, update=True, options=SourceOptions(ignore=("photo", "ask")))
    assert len(now) == len(own)
    for id in own.ids:
        wanted = set(suggested.table.filter(pl.col("product") == id)["key"])
        others = {key: values for key, values in own[id].labels.items() if key not in wanted}
        assert now[id].labels == others | {key: tuple(answers[key].split("|")) for key in wanted}
    assert now.products.equals(own.products)


def test_cells_that_a_spreadsheet_would_run_are_not_written(tmp_path: Path) -> None:
    feed = draw_feed(tmp_path, 12)
    rows = pl.read_csv(feed, infer_schema=False).with_columns(
        id=pl.when(pl.col("id") == "p003").then(pl.lit("=1+1")).otherwise("id"),
        title=pl.lit("=HYPERLINK(1)"),
        colour=pl.when(pl.int_range(pl.len()) % 2 == 0).then("colour"),
    )
    rows.write_csv(feed)
    catalog = ingest(feed, tmp_path / "photos", tmp_path / "catalog")
    sheet = tmp_path / "sheet.csv"
    suggested = suggest(catalog, n=100, out=sheet, recipe=RECIPE, weights="none", workers=0)
    written = pl.read_csv(sheet, infer_schema=False)
    assert "=1+1" in set(suggested.table["product"])
    assert "=1+1" not in set(written["id"])
    assert suggested.left_out == 1
    assert written["title"].null_count() == len(written)


def test_refusals(own: Catalog, untrained: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--n 0: expected the number of products"):
        suggest(own, untrained, n=0)
    with pytest.raises(ConfigError, match=r"feed\.xlsx: expected a file name that ends in \.csv"):
        suggest(own, untrained, out=tmp_path / "feed.xlsx")
    filled = tmp_path / "filled.csv"
    filled.write_text("answers of people")
    with pytest.raises(ConfigError, match=r"filled\.csv exists, and people may have filled it in"):
        suggest(own, untrained, out=filled)
    assert filled.read_text() == "answers of people"
    own.audited = frozenset(own.ids)
    with pytest.raises(CatalogError, match="the train split of the catalog has no product"):
        suggest(own, untrained)
    (own.path / SUGGESTIONS).write_bytes(b"no parquet")
    with pytest.raises(CatalogError, match=r"suggestions\.parquet cannot be read .*Run attire suggest .* again"):
        suggestions_of(own)
    SUGGESTION_TABLE.forget(own.path, ["p001"])
    assert suggestions_of(own) is None


def test_the_review_page_has_the_queue_in_the_order_of_the_ranks(own: Catalog, untrained: ModelBundle) -> None:
    predictions = write_predictions(own, own.path.parent / "p.parquet")
    options = Options(predictions=predictions, store=str(own.path.parent / "s.sqlite"), audit=0)
    assert "useful" not in open_review(own.path, options).queues.offered
    table = suggest(own, untrained, n=4, workers=0).table
    stated = own.ids[0]  # labelled since it was suggested
    assert own[stated].labels["colour"]
    table = pl.concat([pl.DataFrame([(stated, "colour", 9.0, 0)], table.schema, orient="row"), table])
    table.write_parquet(own.path / SUGGESTIONS)
    queues = open_review(own.path, options).queues
    assert "useful" in queues.offered
    found, wanted = queues.of(Filters(queue="useful")), table[1:]
    assert found["product"].unique(maintain_order=True).equals(wanted["product"].unique(maintain_order=True))
    assert set(found.rows()) == set(wanted.select("product", "key").rows())


def test_a_purge_erases_the_suggestions_of_its_products(own: Catalog, untrained: ModelBundle) -> None:
    table = suggest(own, untrained, n=4, workers=0).table
    remove(own, [table["product"][0]], purge=True)
    assert suggestions_of(own).equals(table.filter(pl.col("product") != table["product"][0]))  # type: ignore[union-attr]


def test_a_catalog_that_was_not_split_is_asked_as_a_whole(own: Catalog, untrained: ModelBundle) -> None:
    (own.path / "splits.json").unlink()
    whole = set(suggest(own, untrained, n=1000, workers=0).table["product"])
    split(own, val=0.3, seed=1)
    assert set(suggest(own, untrained, n=1000, workers=0).table["product"]) < whole
