"""Queues and their order, the fields on the page, the measured precision, and the export."""

from __future__ import annotations

import csv
import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.review_context import write_predictions
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.store import Catalog
from attire.cli import app
from attire.errors import ConfigError, FeedError, MissingExtraError, ReviewStoreError
from attire.inference.bulk import predict
from attire.labels import contradicted, encode
from attire.review.audit import audit
from attire.review.data import ReviewData
from attire.review.export import export
from attire.review.queues import Filters, Queues, after, waiting
from attire.review.store.events import Store, Verdict
from attire.review.views import FieldView, product_view
from attire.taxonomy import CATEGORY, Key, Taxonomy


def alternatives(**alternative: object) -> pl.Expr:
    """A column of alternatives with this one in each row."""
    return pl.lit(json.dumps([alternative]))


def coats(folder: Path, rows: Sequence[tuple[str, str, str]], taxonomy: Taxonomy | None = None) -> Catalog:
    """A catalog of coats that share a photo; rows are (id, title, details)."""
    if taxonomy is not None:
        (folder / "taxonomy.toml").write_text(taxonomy.to_toml())
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    with (folder / "coats.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "details", "category", "image"])
        writer.writerows([*row, "Coats", "a.png"] for row in rows)
    given = None if taxonomy is None else folder / "taxonomy.toml"
    return ingest(folder / "coats.csv", folder, folder / "coats", taxonomy=given)


def answered(catalog: Catalog, details: Sequence[tuple[str, ...]], path: Path) -> ReviewData:
    """Confident answers for the details of coats."""
    pl.DataFrame(
        {
            "id": catalog.ids,
            "category": "Coats",
            "category_confidence": 0.99,
            "category_alternatives": None,
            "key": "details",
            "values": ["|".join(answer) for answer in details],
            "confidence": 0.97,
            "alternatives": None,
            "reason": None,
        }
    ).write_parquet(path)
    return ReviewData(catalog, path)


@pytest.fixture(scope="module")
def data(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> ReviewData:
    return ReviewData(catalog, write_predictions(catalog, tmp_path_factory.mktemp("review") / "p.parquet"))


@pytest.fixture(scope="module")
def queues(data: ReviewData) -> Queues:
    return Queues(data, audit=40)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "review.sqlite")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_format_of_predictions_is_read_alike(
    catalog: Catalog, data: ReviewData, tmp_path: Path, suffix: str
) -> None:
    read = ReviewData(catalog, write_predictions(catalog, tmp_path / f"p{suffix}"))
    columns = ["product", "key", "answer", "stated", "suspect"]
    assert read.fields.select(columns).equals(data.fields.select(columns))
    assert read.products == catalog.ids
    assert read.precision == 0.95


def test_what_predict_writes_is_read(catalog: Catalog, untrained: ModelBundle, tmp_path: Path) -> None:
    output = predict(untrained, catalog.path, tmp_path / "p.jsonl", format="long")
    data = ReviewData(catalog, output.out)
    filled = pl.read_ndjson(output.out).filter(pl.col("reason").is_null())
    answers = data.fields.filter((pl.col("key") != CATEGORY) & pl.col("answer").is_not_null())
    assert len(answers) == len(filled)
    assert set(data.fields.filter(pl.col("key") == CATEGORY)["answer"]) <= set(catalog.taxonomy.categories)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop("alternatives"), "no column 'alternatives'.*--format long"),
        (lambda rows: rows.with_columns(id=pl.lit("p999")), "product 'p999'.*Predict .* again"),
        (lambda rows: rows.with_columns(values=pl.lit("reed")), r"colour='reed'.*did you mean 'red'"),
        (lambda rows: rows.with_columns(key=pl.lit("cut")), "has the key 'cut'"),
        (lambda rows: rows.with_columns(key=pl.lit("cut"), values=None), "has the key 'cut'"),
        (lambda rows: rows.with_columns(values=pl.lit("red|blue")), "colour of product 'p000' takes one value"),
        (lambda rows: rows.with_columns(confidence=pl.lit("sure")), "cannot read.*conversion.*Predict again"),
        (
            lambda rows: rows.with_columns(confidence=math.nan),
            r"colour of product 'p000' has a confidence outside 0\.\.1",
        ),
        (lambda rows: pl.concat([rows, rows]), "colour of product 'p000' is in two rows"),
        (lambda rows: rows.with_columns(alternatives=pl.lit("[{")), "cannot read the predictions.*JSON"),
        (lambda rows: rows.with_columns(alternatives=pl.lit("{}")), "cannot read the predictions.*JSON"),
        (lambda rows: rows.with_columns(alternatives=pl.lit("[" * 2000)), "cannot read the predictions.*JSON"),
        (lambda rows: rows.with_columns(alternatives=alternatives(value="reed", confidence=0.1)), "colour='reed'"),
        (lambda rows: rows.with_columns(alternatives=alternatives(value="red", confidence=7)), "confidence outside"),
        (lambda rows: rows.with_columns(alternatives=alternatives(value="red")), "confidence outside"),
        (lambda rows: rows.with_columns(alternatives=alternatives(confidence=0.1)), "alternative without a value"),
    ],
)
def test_predictions_that_do_not_fit_the_catalog_are_refused(
    catalog: Catalog, tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    path = write_predictions(catalog, tmp_path / "p.parquet")
    change(pl.read_parquet(path).filter(pl.col("key") == "colour")).write_parquet(path)
    with pytest.raises(FeedError, match=message):
        ReviewData(catalog, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the record of the predictions"),
        ("[]", "the record of the predictions"),
        ("[" * 100_000, "the record of the predictions"),
        (b"\xff", "the record of the predictions"),
        ('{"precision": "high"}', "precision is 'high'"),
        ('{"precision": NaN}', "precision is nan"),
    ],
)
def test_a_damaged_record_of_the_predictions_is_reported(
    catalog: Catalog, tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = write_predictions(catalog, tmp_path / "p.parquet")
    path.with_name("p.parquet.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FeedError, match=rf"p\.parquet\.json.*{message}.*Predict again"):
        ReviewData(catalog, path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_path_is_taken_literally(catalog: Catalog, tmp_path: Path, suffix: str) -> None:
    write_predictions(catalog, tmp_path / f"week1{suffix}", catalog.ids[:5])
    chosen = write_predictions(catalog, tmp_path / f"week1x{suffix}", catalog.ids[:7])
    assert ReviewData(catalog, chosen.rename(tmp_path / f"week[1]{suffix}")).products == catalog.ids[:7]


def test_only_another_value_contradicts_a_key_that_takes_several(store: Store, tmp_path: Path) -> None:
    """The same rule as in an evaluation: an answer that names only stated values is right and contradicts no label."""
    cases: list[tuple[tuple[str, ...], tuple[str, ...], str, tuple[str, ...]]] = [
        # stated, answered, status, proposed
        (("hood", "zip"), ("zip",), "stated", ("hood", "zip")),
        (("hood", "zip"), ("zip", "hood"), "sure", ("zip", "hood")),
        (("hood",), ("hood", "zip"), "suspect", ("hood", "zip")),
        (("hood", "zip"), ("hood", "pocket"), "suspect", ("hood", "pocket", "zip")),
        (("hood",), ("pocket",), "suspect", ("hood", "pocket")),
        ((), ("pocket",), "sure", ("pocket",)),
        (("pocket",), ("pocket",), "sure", ("pocket",)),
    ]
    catalog = coats(tmp_path, [(f"p{n}", "", "|".join(stated)) for n, (stated, *_) in enumerate(cases)])
    taxonomy = catalog.taxonomy
    data = answered(catalog, [answer for _, answer, *_ in cases], tmp_path / "p.parquet")
    queues = Queues(data, audit=100)
    suspects = queues.of(Filters(queue="suspect")).rows()
    assert suspects == [(f"p{n}", "details") for n, (_, _, status, _) in enumerate(cases) if status == "suspect"]
    chosen = encode(taxonomy, [None] * len(cases), [{"details": answer} for _, answer, *_ in cases]).hot
    wrong = contradicted(taxonomy, catalog.targets().hot, chosen)
    assert [(catalog.ids[row], "details") for row in np.flatnonzero(wrong)] == suspects, "as in an evaluation"
    for id, (stated, _, status, proposed) in zip(catalog.ids, cases, strict=True):
        _, field = product_view(data, id, {}).fields
        assert (field.status, set(field.proposal)) == (status, set(proposed))
        assert field.confidence == pytest.approx(0.97)
        assert set(field.proposal) >= set(stated), "Enter takes no label away"
        store.decide("Ann", [Verdict(id, "details", "accept", field.proposal, 0)])
    result = audit(queues, store)
    assert (result.overall.right, result.overall.judged) == (7, 7)
    assert [row.judged for row in result.feed] == [1, 3, 3]
    store.decide(
        "Ben", [Verdict("p4", "details", "set", ("hood",), 1), Verdict("p3", "details", "set", ("pocket",), 1)]
    )
    assert audit(queues, store).overall.right == 5, "a filled value that a reviewer removes is wrong"


def test_a_coarser_answer_is_right_and_takes_no_stated_value_away(store: Store, tmp_path: Path) -> None:
    cases: list[tuple[tuple[str, ...], tuple[str, ...], str, tuple[str, ...]]] = [
        # stated, answered, status, proposed
        (("patch pocket",), ("pocket",), "stated", ("patch pocket",)),
        (("patch pocket", "hood"), ("pocket", "hood"), "stated", ("hood", "patch pocket")),
        (("patch pocket",), ("pocket", "hood"), "suspect", ("hood", "patch pocket")),
        (("pocket",), ("patch pocket",), "suspect", ("pocket", "patch pocket")),
        ((), ("pocket",), "sure", ("pocket",)),
    ]
    values, parents = ("hood", "pocket", "patch pocket"), {"patch pocket": "pocket"}
    details = Key(arity="many", categories=("Coats",), values=values, parents=parents)
    taxonomy = Taxonomy(categories=("Coats",), keys={"details": details})
    rows = [(f"p{n}", "", "|".join(stated)) for n, (stated, *_) in enumerate(cases)]
    catalog = coats(tmp_path, rows, taxonomy)
    data = answered(catalog, [answer for _, answer, *_ in cases], tmp_path / "p.parquet")
    queues = Queues(data, audit=100)
    for id, (_, _, status, proposed) in zip(catalog.ids, cases, strict=True):
        _, field = product_view(data, id, {}).fields
        assert (field.status, field.proposal) == (status, proposed)
        store.decide("Ann", [Verdict(id, "details", "accept", field.proposal, 0)])
    suspects = queues.of(Filters(queue="suspect")).rows()
    assert suspects == [(f"p{n}", "details") for n, (_, _, status, _) in enumerate(cases) if status == "suspect"]
    assert audit(queues, store).overall.right == 5
    store.decide("Ben", [Verdict("p3", "details", "set", ("pocket",), 1)])
    store.decide("Ben", [Verdict("p4", "details", "set", ("patch pocket",), 1)])
    assert audit(queues, store).overall.right == 4, "pocket was right, but patch pocket was not"


def test_queues_contain_the_right_fields(data: ReviewData, queues: Queues) -> None:
    fields = {(row["product"], row["key"]): row for row in data.fields.iter_rows(named=True)}
    abstained, suspect, sample, everything = (
        [fields[field] for field in queues.of(Filters(queue=name)).iter_rows()]
        for name in ("abstained", "suspect", "audit", "all")
    )
    assert abstained
    assert all(row["answer"] is None and row["stated"] is None for row in abstained)
    assert suspect
    assert all(row["answer"] != row["stated"] and row["stated"] for row in suspect)
    assert [row["confidence"] for row in suspect] == sorted((row["confidence"] for row in suspect), reverse=True)
    assert len(sample) == 40
    assert all(row["answer"] for row in sample)
    assert len(everything) == len(fields)


def test_filters_narrow(data: ReviewData, queues: Queues) -> None:
    def of(**filters: object) -> pl.DataFrame:
        fields = queues.of(Filters.model_validate({"queue": "all", **filters}))
        return fields.join(data.fields, on=["product", "key"], how="left", maintain_order="left")

    assert set(of(category="Belts")["category"]) == {"Belts"}
    assert set(of(key="tags")["key"]) == {"tags"}
    red = of(key="colour", value="red")
    assert all(
        "red" in (row["answer"] or row["alternatives"], row["stated"]) or "red" in row["alternatives"]
        for row in red.iter_rows(named=True)
    )
    assert 0 < len(red) < len(of(key="colour"))
    assert of(low=0.94, high=0.96)["confidence"].is_between(0.94, 0.96).all()
    assert set(of(text="P007")["product"]) == {"p007"}
    assert 0 < of(text="acme 1")["product"].n_unique() < 90


def test_the_sample_is_random_seeded_and_keeps_its_members(data: ReviewData, catalog: Catalog, tmp_path: Path) -> None:
    small, large, other = (
        set(Queues(data, audit=n, seed=s).sample().select("product", "key").iter_rows())
        for n, s in ((20, 0), (60, 0), (20, 1))
    )
    assert small < large
    assert len(small & other) < 15
    fewer = ReviewData(catalog, write_predictions(catalog, tmp_path / "p.parquet", catalog.ids[:70]))
    kept = set(Queues(fewer, audit=20).sample().select("product", "key").iter_rows())
    assert kept >= {field for field in small if field[0] in catalog.ids[:70]}, "new predictions keep the sample"


def test_decided_fields_leave_the_queue(queues: Queues, store: Store) -> None:
    filters = Filters(queue="suspect")
    before = waiting(queues, store, filters)
    product, key = before.row(0)
    store.decide("Ann", [Verdict(product, key, "clear", (), 0)])
    left = waiting(queues, store, filters)
    assert left.rows() == before.rows()[1:]
    products = left["product"].to_list()
    assert after(queues, filters, products, product) == products
    assert after(queues, filters, products, products[3]) == products[4:]
    store.undo("Ann")
    assert waiting(queues, store, filters).rows() == before.rows()


def test_the_page_shows_the_proposal_and_its_source(data: ReviewData, queues: Queues, store: Store) -> None:
    def view(product: str, key: str) -> FieldView:
        shown = product_view(data, product, store.held([product]), wanted={key}, sampled={(product, "tags")})
        return next(field for field in shown.fields if field.key == key)

    product, _ = queues.of(Filters(queue="suspect", key="colour")).row(0)
    field = view(product, "colour")
    stated = data.catalog[product].labels["colour"]
    assert (field.status, field.stated, field.doubtful) == ("suspect", stated, True)
    assert field.proposal == field.shown != stated
    assert [option.stated for option in field.options[:2]] == [False, True]
    sampled = view(queues.of(Filters(queue="all", key="tags", low=0.9)).row(0)[0], "tags")
    assert (sampled.status, sampled.doubtful) == ("sure", True), "'accept all' must skip the sample"
    product, _ = queues.of(Filters(queue="abstained", key="colour")).row(0)
    field = view(product, "colour")
    assert (field.status, field.shown, len(field.options)) == ("abstained", (), 3)
    store.decide("Ann", [Verdict(product, "colour", "set", ("blue",), 0)])
    field = view(product, "colour")
    assert (field.status, field.shown, field.version) == ("decided", ("blue",), 1)
    assert [option.value for option in field.options if option.chosen] == ["blue"]


@pytest.mark.parametrize(("filled", "status"), [(True, "suspect"), (False, "stated")])
def test_a_category_that_is_left_open_does_not_contradict_the_feed(
    catalog: Catalog, store: Store, tmp_path: Path, filled: bool, status: str
) -> None:
    path = write_predictions(catalog, tmp_path / "p.parquet")
    other = "Belts" if catalog["p000"].category != "Belts" else "Shirts"
    first = pl.col("id") == "p000"
    likeliest = json.dumps([{"value": other, "confidence": 0.6}])
    pl.read_parquet(path).with_columns(
        category=pl.when(first).then(pl.lit(other if filled else None)).otherwise("category"),
        category_confidence=pl.when(first).then(0.95 if filled else None).otherwise("category_confidence"),
        category_alternatives=pl.when(first & (not filled)).then(pl.lit(likeliest)).otherwise("category_alternatives"),
    ).write_parquet(path)
    data = ReviewData(catalog, path)
    (suspects,) = data.fields.filter((pl.col("product") == "p000") & (pl.col("key") == CATEGORY))["suspect"]
    field = product_view(data, "p000", store.held(["p000"])).fields[0]
    assert (field.status, suspects) == (status, status == "suspect")
    assert field.proposal == ((other,) if suspects else (catalog["p000"].category,))
    assert {option.value for option in field.options[:2]} == {other, catalog["p000"].category}


def test_keys_follow_the_decided_category(data: ReviewData, store: Store) -> None:
    belt = data.catalog.products.filter(pl.col("category") == "Belts")["id"][0]
    store.decide("Ann", [Verdict(belt, CATEGORY, "set", ("Shirts",), 0)])
    view = product_view(data, belt, store.held([belt]))
    assert view.category == "Shirts"
    assert [field.key for field in view.fields] == [CATEGORY, "colour", "tags"]
    assert view.fields[2].status == "empty"


def test_precision_is_measured_on_the_judged_fields_of_the_sample(queues: Queues, store: Store) -> None:
    assert audit(queues, store).judged == 0
    rows = queues.sample().filter(pl.col("key") != CATEGORY).head(12).select("product", "key", "answer").rows()
    verdicts = [Verdict(product, key, "accept", tuple(answer.split("|")), 0) for product, key, answer in rows]
    verdicts[0] = replace(verdicts[0], action="clear", values=())
    verdicts[1] = replace(verdicts[1], action="not applicable", values=())
    store.decide("Ann", verdicts)
    outside = queues.of(Filters(queue="abstained")).row(0)
    store.decide("Ann", [Verdict(outside[0], outside[1], "set", ("red",), 0)])
    result = audit(queues, store)
    assert (result.sampled, result.judged) == (40, 12)
    assert (result.overall.right, result.overall.judged) == (10, 12)
    assert result.overall.interval[0] < 10 / 12 < result.overall.interval[1]
    assert sum(row.judged for row in result.feed) == 12
    assert result.confidences[0] == replace(result.overall, title="any")
    store.undo("Ann")
    store.undo("Ann")
    assert audit(queues, store).judged == 0


def test_export_writes_the_changes_and_a_feed_that_ingest_reads(
    catalog: Catalog, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = catalog.labels.filter(pl.col("key") == "colour")["id"].to_list()
    changed, removed, kept, recategorised = labelled[:4]
    unlabelled = next(id for id in catalog.ids if id not in labelled)
    other = "red" if catalog[changed].labels["colour"] != ("red",) else "blue"
    store.decide("Ann", [Verdict(changed, "colour", "set", (other,), 0), Verdict(removed, "colour", "clear", (), 0)])
    store.decide("Ben", [Verdict(unlabelled, "colour", "accept", ("green",), 0)])
    store.decide("Ben", [Verdict(kept, "colour", "accept", catalog[kept].labels["colour"], 0)])
    store.decide(
        "Ben",
        [
            Verdict(
                recategorised,
                CATEGORY,
                "set",
                ("Belts" if catalog[recategorised].category != "Belts" else "Shirts",),
                0,
            )
        ],
    )
    store.decide("Ben", [Verdict(kept, "tags", "set", ("logo", "zip"), 0)])
    store.undo("Ben")
    exported = export(catalog, store, tmp_path / "out")
    assert (exported.decided, exported.changed) == (5, 4)
    with exported.diff.open(encoding="utf-8") as file:
        rows = {(row["id"], row["key"]): row for row in csv.DictReader(file)}
    assert rows[changed, "colour"]["after"] == other
    assert rows[changed, "colour"]["who"] == "Ann"
    assert rows[removed, "colour"]["after"] == ""
    assert rows[unlabelled, "colour"]["before"] == ""
    assert (recategorised, "category") in rows
    program, *arguments = shlex.split(exported.command.replace("NEW_CATALOG", "new"))
    monkeypatch.chdir(tmp_path)
    assert program == "attire"
    app(arguments, result_action="return_value")
    new = Catalog.load(tmp_path / "new")
    assert new.ids == catalog.ids
    assert new.taxonomy == catalog.taxonomy
    assert new.products.drop("category").equals(catalog.products.drop("category"))
    assert new.photos["sha256"].to_list() == catalog.photos["sha256"].to_list()
    assert new[changed].labels["colour"] == (other,)
    assert "colour" not in new[removed].labels
    assert new[unlabelled].labels["colour"] == ("green",)
    untouched = [id for id in catalog.ids if id not in (changed, removed, unlabelled, recategorised)]
    assert [new[id] for id in untouched] == [catalog[id] for id in untouched]


def test_formulas_are_escaped_in_the_table_for_people_but_not_in_the_feed(store: Store, tmp_path: Path) -> None:
    catalog = coats(tmp_path, [("=1+1", "@Coat", "zip|hood"), ("-p2", "'+quoted", "hood"), ("p3", "", "hood|zip")])
    key = "details"
    store.decide(
        "=HYPERLINK(1)", [Verdict("=1+1", key, "clear", (), 0), Verdict("-p2", key, "set", ("hood", "zip"), 0)]
    )
    store.decide("Ann", [Verdict("p3", key, "set", ("zip", "hood"), 0)])
    exported = export(catalog, store, tmp_path / "out of [1] $HOME 'x'")
    with exported.diff.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["who"]) for row in rows] == [("'-p2", "'=HYPERLINK(1)"), ("'=1+1", "'=HYPERLINK(1)")]
    assert exported.changed == 2, "the same values in another order are no change"
    app(shlex.split(exported.command.replace("NEW_CATALOG", str(tmp_path / "new")))[1:], result_action="return_value")
    new = Catalog.load(tmp_path / "new")
    assert new.ids == catalog.ids
    assert [new[id].title for id in new.ids] == [catalog[id].title for id in catalog.ids]
    assert set(new["-p2"].labels["details"]) == {"hood", "zip"}


def test_a_store_of_another_catalog_is_refused(catalog: Catalog, store: Store, tmp_path: Path) -> None:
    store.decide("Ann", [Verdict("p999", "colour", "clear", (), 0)])
    with pytest.raises(ConfigError, match=r"'p999'.*--store"):
        export(catalog, store, tmp_path / "out")
    command = ["review", "export", str(catalog.path), "--out", str(tmp_path / "x")]
    with pytest.raises(ConfigError, match="not reviewed yet"):
        app(command, result_action="return_value")
    with pytest.raises(ReviewStoreError, match="No such file"):
        app([*command, "--store", str(tmp_path / "typo.sqlite")], result_action="return_value")


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (Verdict("p001", "cut", "set", ("slim",), 0), "'cut' is not one of 2 keys"),
        (Verdict("p001", "colour", "set", ("reed",), 0), "colour='reed'.*did you mean 'red'"),
        (Verdict("p001", CATEGORY, "set", ("Hats",), 0), "Hats"),
        (Verdict("p001", "colour", "set", ("red", "blue"), 0), "takes one value"),
    ],
)
def test_decisions_with_unknown_words_are_reported(
    catalog: Catalog, store: Store, tmp_path: Path, verdict: Verdict, message: str
) -> None:
    store.decide("Ann", [verdict])
    with pytest.raises(ConfigError, match=rf"'p001' that does not fit the taxonomy of .*{message}"):
        export(catalog, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_extras_are_named(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"attire\[postgres\]"):
        Store("postgresql://somebody@nowhere/x")
    for module in ("attire.review.app", "attire.review.decisions"):
        monkeypatch.setitem(sys.modules, module, None)
    for command in (["review", "--predictions", "p.parquet"], ["review", "export", "--out", str(tmp_path / "x")]):
        with pytest.raises(MissingExtraError, match=r"attire\[review\]"):
            app([*command, str(catalog.path)], result_action="return_value")
