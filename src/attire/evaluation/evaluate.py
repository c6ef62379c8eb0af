"""Evaluate a bundle on labelled products: predict, score, compare with the baselines, and write the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.split_changes import SPLIT_NAMES
from attire.catalog.store import TAXONOMY, Catalog
from attire.engines.engine import AUTO, Engine, open_engine
from attire.evaluation.baselines import baselines
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Provenance, Report, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.review_sample import corrected_by_review
from attire.evaluation.selection import ALL, choose
from attire.evaluation.split_summary import division
from attire.evaluation.translation import Translation
from attire.inference.logits import Inputs, catalog_logits
from attire.labels import Targets, labelled
from attire.neighbours.labelled_photos import cached_photos
from attire.score.decisions import Decisions
from attire.score.intervals import RESAMPLES
from attire.score.promise import PRECISION, Promise, percent
from attire.score.verdicts import KeyPromise
from attire.storage import storing
from attire.taxonomy import CATEGORY


def evaluate(
    bundle: ModelBundle | str | Path,
    catalog: Catalog | str | Path,
    split: str | Sequence[str] = "val",
    *,
    inputs: Inputs | None = None,
    engine: str | Engine = AUTO,
    precision: Promise | float = PRECISION,
    out: str | Path | None = None,
    brief: bool = False,
) -> Report:
    """Evaluate the bundle on a split of the catalog, on the whole catalog (`"all"`), or on a list of product ids.

    The category is predicted too; no label is given to the model. `inputs` selects what the model reads, by default
    everything it can read. `engine` is the name of the engine (see `open_engine`). Products without a readable photo
    (or title, if only titles are read) count as unanswered. Products of groups that the bundle was trained or
    calibrated on are left out, except from the train split; the report's notes say how many, or that an earlier bundle
    does not record them. Answers are scored in the words of the catalog's taxonomy, which may have got more words and
    aliases since the bundle was trained. Baselines are fitted on train products that are not evaluated. If people
    judged a random sample of filled fields (`attire review apply`), their precision is also corrected for wrong labels.
    With `out`, the report is written to that directory; if it is `brief`, only the evidence, and
    scores without intervals, which takes a tenth of the time and is enough for `compare`.

    Raises `CatalogError` if the catalog's taxonomy lacks words of the bundle, or if no product is left, `ConfigError`
    for `inputs` that the bundle does not read, and `BundleError` for an engine that it does not have.
    """
    bundle, catalog, promise = ModelBundle.of(bundle), Catalog.of(catalog), Promise.of(precision)
    inputs = inputs or ("both" if bundle.title_reader else "photo")
    words = Translation.between(bundle.taxonomy, catalog.taxonomy, str(catalog.path / TAXONOMY))
    selection = choose(catalog, split).unseen(bundle, catalog)
    runner = open_engine(bundle, engine)
    ids, splits = selection.ids, None if selection.name == ALL else selection.splits
    columns = slice(None) if words.taxonomy.keys else slice(0)  # a category-only bundle answers no keys
    targets = catalog.targets()
    labels = Targets(targets.category, targets.hot[:, columns], targets.state[:, columns])
    rows = catalog.rows_of(ids)
    truth = _rows(labels, rows)
    train = catalog.rows_of(selection.baseline_ids)
    decisions = _decide(bundle, catalog, ids, runner, inputs)
    evidence = Evidence(
        words.taxonomy,
        tuple(ids),
        tuple(catalog.products["group"].gather(rows)),
        truth,
        words.decisions(decisions),
        words.accepted(bundle.accepted(decisions, promise)) if bundle.calibration else None,
    )
    predicted = evidence.decisions.category
    rivals = baselines(words.taxonomy, _rows(labels, train), truth, predicted) if len(train) else {}
    provenance = Provenance(
        bundle=bundle.digest,
        catalog=catalog.digest,
        split=selection.name,
        splits=splits.digest if splits else None,
        seed=splits.seed if splits else None,
        attire=version("attire"),
        inputs=inputs,
        engine=runner.name,
    )
    remarks = (
        selection.note,
        *words.notes,
        bundle.shortfall(promise),
        _untaught_note(bundle),
        _scope_note(promise),
        _coarse_note(evidence),
    )
    notes = tuple(filter(None, remarks))
    summary = division(catalog, splits) if splits and selection.name in SPLIT_NAMES else None
    report = score_report(
        evidence,
        rivals,
        provenance,
        summary,
        notes,
        selection.left_out,
        promises=[_promise(bundle, promise, key) for key in words.taxonomy.keys] if bundle.calibration else (),
        category_promise=_held_promise(bundle, promise, CATEGORY) if bundle.calibration else None,
        corrected=corrected_by_review(catalog, evidence),
        resamples=0 if brief else RESAMPLES,
    )
    if out is not None:
        explainer = bundle if inputs != "title" and words.taxonomy.has_words_of(bundle.taxonomy) else None
        with storing(Path(out)):
            write_report(
                report,
                evidence,
                [] if brief else catalog.photo_paths(rows),
                Path(out),
                explainer,
                None if brief or explainer is None else cached_photos(explainer, catalog),
                page=not brief,
            )
    return report


def _promise(bundle: ModelBundle, promise: Promise, key: str) -> KeyPromise:
    """The promise of a key of the catalog."""
    if key not in bundle.taxonomy.keys:
        return KeyPromise(None, "the bundle is older than this key")
    if key in bundle.spec.untaught:
        return KeyPromise(None, "it had no labels in training")
    return _held_promise(bundle, promise, key)


def _held_promise(bundle: ModelBundle, promise: Promise, key: str) -> KeyPromise:
    """The promise of a key that the bundle answers, or of the category."""
    if reason := bundle.thresholds(promise).held_back.get(key):
        return KeyPromise(None, str(reason))
    return KeyPromise(promise.of_key(key))


def _untaught_note(bundle: ModelBundle) -> str | None:
    keys = ", ".join(bundle.spec.untaught)
    return f"The bundle was trained without labels for {keys}, so it leaves them open." if keys else None


def _scope_note(promise: Promise) -> str | None:
    if promise.scope == "key":
        return None
    return f"{percent(promise.precision)} was promised for all keys together, so that single keys may be below it."


def _coarse_note(evidence: Evidence) -> str | None:
    filled, accepted = evidence.matches.filled, evidence.accepted
    if filled is None or accepted is None or not accepted.coarse.any():
        return None
    coarser = labelled(evidence.taxonomy, accepted.coarse & ~evidence.decisions.chosen) & filled
    return (
        f"{coarser.sum():,} of {filled.sum():,} filled fields with a label have a coarser value than the likeliest one."
    )


def _rows(targets: Targets, rows: NDArray[np.int64]) -> Targets:
    return Targets(*(column[rows] for column in targets))


def _decide(bundle: ModelBundle, catalog: Catalog, ids: Sequence[str], engine: Engine, inputs: Inputs) -> Decisions:
    """Answers in the order of `ids`. A product without a readable photo (or title) has category -1 and no answers."""
    logits = catalog_logits(bundle, catalog, ids, engine, inputs=inputs)
    arrays = []
    for values in bundle.decide(logits.category, logits.attributes):
        array = np.zeros((len(ids), *values.shape[1:]), dtype=values.dtype)
        array[logits.answered] = values
        arrays.append(array)
    decisions = Decisions(*arrays)
    decisions.category[np.setdiff1d(np.arange(len(ids)), logits.answered)] = -1
    return decisions
