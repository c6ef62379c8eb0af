"""Evaluate a bundle on a catalog of real files and write the report's directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.bundles import accepting_bundle, save_bundle
from helpers.full_disk import little_room
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.balance import RARE, balance
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.errors import CatalogError, ConfigError, ReportError, StorageError
from attire.evaluation.baselines import MODE, MODE_WITHIN_CATEGORY, MODE_WITHIN_PREDICTED, baselines
from attire.evaluation.compare import compare
from attire.evaluation.evaluate import evaluate
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report
from attire.evaluation.selection import choose
from attire.evaluation.tables import verdict
from attire.labels import Targets
from attire.learned import Learned
from attire.model.network import build_network
from attire.score.decisions import Decisions
from attire.score.promise import Promise
from attire.score.thresholds import HeldBack, Thresholds
from attire.taxonomy import Taxonomy


def test_a_report_is_written_with_photos_split_and_evidence(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    report = evaluate(untrained, catalog, "val", out=tmp_path)
    assert Report.load(tmp_path).model_dump_json() == report.model_dump_json()
    html = (tmp_path / "report.html").read_text()
    assert html.count('<img src="data:image/jpeg;base64,') > 5
    assert "no operating point" in html
    evidence = Evidence.load(tmp_path)
    assert evidence.ids == splits.val
    assert report.division is not None
    assert {part.part: part.products for part in report.division.parts} == {
        "train": len(splits.train),
        "val": len(splits.val),
    }
    common = balance(catalog, splits).filter(pl.col("count") >= RARE)
    largest = np.abs(common["deviation"].to_numpy()).max()
    assert abs(report.division.furthest[0].deviation) == pytest.approx(largest)
    assert max(row.largest for row in report.division.balance) == pytest.approx(largest)


def test_a_report_on_chosen_products_has_no_split_summary(
    catalog: Catalog, splits: Splits, untrained: ModelBundle
) -> None:
    report = evaluate(untrained, catalog, splits.val[:10])
    assert report.division is None
    assert report.provenance.split == "10 chosen products"
    assert report.provenance.splits == splits.digest, "baselines are fitted on its train split"
    assert set(report.baselines) == {MODE, MODE_WITHIN_CATEGORY, MODE_WITHIN_PREDICTED}


def test_the_ids_of_a_split_equal_its_name(catalog: Catalog, splits: Splits, untrained: ModelBundle) -> None:
    by_name, by_ids = evaluate(untrained, catalog, "val"), evaluate(untrained, catalog, splits.val[::-1])
    assert by_ids.model_dump_json() == by_name.model_dump_json()
    assert by_ids.baselines
    assert by_ids.division is not None


@pytest.mark.usefixtures("splits")
def test_the_report_has_what_is_promised_about_each_key_and_why_some_are_held_back(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = accepting_bundle(tmp_path / "bundle", catalog.taxonomy, "0.95")
    words = catalog.taxonomy
    minimum = np.where([key == "colour" for key in (*words.keys, "")], np.inf, -np.inf)
    fitted = Thresholds(
        np.zeros(words.width + len(words.categories)), minimum, 0.0, {"colour": HeldBack(checked=12, needed=60)}
    )
    monkeypatch.setattr(ModelBundle, "thresholds", lambda *_: fitted)
    report = evaluate(bundle, catalog, "val", precision=Promise(keys={"tags": 0.8}))
    colour, tags = sorted(report.keys, key=lambda scores: scores.key)
    assert (colour.filled, colour.held_back) == (0, str(fitted.held_back["colour"]))
    assert np.isnan(colour.promised)
    assert (tags.promised, tags.held_back) == (0.8, "")
    assert not any("for all keys together" in note for note in report.notes)
    together = evaluate(bundle, catalog, "val", precision=Promise(scope="average"))
    assert any(note.startswith("95% was promised for all keys together") for note in together.notes)


def test_baselines_are_not_fitted_on_evaluated_products(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def record_size(
        taxonomy: Taxonomy, train: Targets, truth: Targets, predicted: NDArray[np.int64]
    ) -> dict[str, Decisions]:
        sizes.append(len(train.category))
        return baselines(taxonomy, train, truth, predicted)

    monkeypatch.setattr("attire.evaluation.evaluate.baselines", record_size)
    evaluate(untrained, catalog, splits.train[:7] + splits.val)
    assert sizes == [len(splits.train) - 7]
    for split in ("train", "all"):
        report = evaluate(untrained, catalog, split)
        assert report.baselines == {}
        assert "no train products are left to fit one" in verdict(report)
    assert len(sizes) == 1


def test_without_a_record_training_products_give_a_warning(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    def warning(ids: Sequence[str] | str, of: Catalog = catalog, **provenance: Any) -> str:
        spec = untrained.spec.model_copy(update={"provenance": {**untrained.provenance, **provenance}})
        selection = choose(of, ids).unseen(ModelBundle(untrained.path, spec, untrained.network), of)
        assert selection.left_out == 0
        return selection.note or ""

    same: dict[str, Any] = {"splits": splits.digest}
    assert warning("val", **same) == ""
    assert warning(splits.val[:5], **same) == ""
    assert f"was trained on {len(splits.train)} of these {len(splits.train)} products" in warning("train", **same)
    assert "was trained on 3 of these 5 products" in warning(splits.train[:3] + splits.val[:2], **same)
    assert f"was trained on {len(splits.train)} of these {len(catalog)} products" in warning("all", **same)
    assert "trained on another split of the catalog" in warning("val", splits="other")
    assert "trained on another split of the catalog" in warning("val", **same, start_splits="other")
    assert "does not record what it was trained on" in warning("val")
    unsplit = Catalog.load(shutil.copytree(catalog.path, tmp_path / "catalog"))
    (unsplit.path / "splits.json").unlink()
    assert "The catalog is not split" in warning(splits.val, unsplit, **same)
    report = evaluate(untrained, unsplit, splits.val, out=tmp_path / "report")
    (note,) = (note for note in report.notes if "not split" in note)
    assert note in (tmp_path / "report" / "report.html").read_text()
    assert Report.load(tmp_path / "report").notes == report.notes
    assert f"A: {note}" in compare(tmp_path / "report", tmp_path / "report").notes


def having_learned(untrained: ModelBundle, catalog: Catalog, ids: Sequence[str]) -> ModelBundle:
    """The bundle, as if it had been trained on these products."""
    digests = catalog.photo_digests()
    return replace(untrained, learned=Learned.of(d for row in catalog.rows_of(ids) for d in digests[row]))


def test_products_that_the_bundle_learned_from_are_left_out(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    bundle = having_learned(untrained, catalog, [*splits.train, *splits.val[:3]])
    group = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
    gone = [id for id in splits.val if group[id] in {group[seen] for seen in splits.val[:3]}]
    report = evaluate(bundle, catalog, "val", out=tmp_path)
    assert (report.counts.left_out, report.counts.products) == (len(gone), len(splits.val) - len(gone))
    assert Evidence.load(tmp_path).ids == tuple(id for id in splits.val if id not in gone)
    assert report.provenance.split == "val"
    assert any(f"{len(gone)} of {len(splits.val)} products are left out" in note for note in report.notes)
    assert Report.load(tmp_path).counts == report.counts
    everything = evaluate(bundle, catalog, "all")
    assert everything.counts.products == report.counts.products
    assert everything.baselines, "train is not evaluated, so that the baselines can be fitted on it"
    train = evaluate(bundle, catalog, "train")
    assert (train.counts.left_out, train.counts.products) == (0, len(splits.train))
    assert any(f"trained on {len(splits.train)} of these" in note for note in train.notes)
    with pytest.raises(CatalogError, match=r"learned from the groups of all 3 products .*on the train split"):
        evaluate(bundle, catalog, splits.val[:3])


def test_what_a_bundle_learned_is_known_in_other_catalogs(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    bundle = having_learned(untrained, catalog, splits.train)
    feed = pl.read_csv(catalog.path.parent / "feed.csv", infer_schema=False)
    feed = feed.with_columns(id="x" + pl.col("id"), group=pl.lit(None, pl.String))
    feed.write_csv(tmp_path / "feed.csv")
    other = ingest(tmp_path / "feed.csv", catalog.path.parent / "photos", tmp_path / "other")
    unseen = choose(other, "all").unseen(bundle, other)
    assert set(unseen.ids) == {f"x{id}" for id in (*splits.val, *splits.test)}
    joined = feed.with_columns(
        group=pl.when(pl.col("id").is_in(["x" + splits.train[0], "x" + splits.val[0]])).then(pl.lit("g"))
    )
    joined.write_csv(tmp_path / "joined.csv")
    other = ingest(tmp_path / "joined.csv", catalog.path.parent / "photos", tmp_path / "joined")
    assert "x" + splits.val[0] not in choose(other, "all").unseen(bundle, other).ids, (
        "it shares a group with one of train"
    )


def test_a_bundle_is_scored_on_a_catalog_that_got_more_words(
    catalog: Catalog, splits: Splits, untrained: ModelBundle, tmp_path: Path
) -> None:
    words = catalog.taxonomy
    colour = words.keys["colour"]
    more = colour.model_copy(update={"values": ("navy", *colour.values), "aliases": {"crimson": "red"}})
    later = Taxonomy(categories=("Hats", *words.categories), keys={**words.keys, "colour": more})
    (tmp_path / "taxonomy.toml").write_text(later.to_toml())
    folder = catalog.path.parent
    other = ingest(folder / "feed.csv", folder / "photos", tmp_path / "other", taxonomy=tmp_path / "taxonomy.toml")
    before, after = evaluate(untrained, catalog, splits.val), evaluate(untrained, other, splits.val)
    for name, score in before.figures.items():
        assert after.figures[name].value == pytest.approx(score.value, nan_ok=True), name
    assert any("older than words of the taxonomy" in note for note in after.notes)
    assert {row.key for row in after.keys} == set(words.keys)


def test_unknown_splits_and_repeated_ids_are_refused(catalog: Catalog, splits: Splits) -> None:
    message = r"'vall' is not a split; did you mean 'val'\? Expected one of train, val, test, all"
    with pytest.raises(CatalogError, match=message):
        choose(catalog, "vall")
    with pytest.raises(ConfigError, match="no products to evaluate"):
        choose(catalog, [])
    with pytest.raises(ConfigError, match=f"product '{splits.val[0]}' is listed twice"):
        choose(catalog, [*splits.val, splits.val[0]])


def test_a_full_disk_leaves_no_report_that_looks_finished(
    catalog: Catalog, untrained: ModelBundle, tmp_path: Path
) -> None:
    (tmp_path / "scores.json").write_text("from an earlier evaluation")
    with pytest.raises(StorageError, match=r"File too large\. Free space"), little_room(20_000):
        evaluate(untrained, catalog, "val", out=tmp_path)
    with pytest.raises(ReportError, match=r"no scores\.json"):
        Report.load(tmp_path)


@pytest.mark.parametrize("content", [b"[" * 5000, b"[]", b'{"version": 1}', b"\xff"])
def test_damaged_scores_give_a_message_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(ReportError, match=r"^[^\n]*scores\.json is damaged \([^\n]*run 'attire evaluate' again\.$"):
        Report.load(tmp_path)


def test_a_bundle_that_answers_only_the_category_has_a_report(catalog: Catalog, tmp_path: Path) -> None:
    words = Taxonomy(categories=catalog.taxonomy.categories)
    architecture = Architecture(backbone="test_resnet", hidden=8, shared=True)
    torch.manual_seed(0)
    bundle = save_bundle(tmp_path / "bundle", build_network(architecture, words), architecture, words)
    report = evaluate(bundle, catalog, "val", out=tmp_path / "report")
    assert report.keys == ()
    assert not np.isnan(report.figures["category_accuracy"].value)
    assert "answers only the category" in (tmp_path / "report" / "report.html").read_text()
    comparison = compare(tmp_path / "report", tmp_path / "report")
    assert comparison.keys == {}
    assert comparison.figures["category_accuracy"].value == 0


def test_other_commands_do_not_import_the_chart_libraries() -> None:
    code = (
        "import sys, attire.cli, attire.evaluation.report_page; "
        "sys.exit(not {'altair', 'vl_convert'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
