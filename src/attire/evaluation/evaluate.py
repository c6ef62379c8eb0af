"""A bundle on products whose labels are known: predict, score, compare with the baselines, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import PARTS
from attire.catalog.store import Catalog
from attire.engines.engine import Engine, open_engine
from attire.errors import CatalogError
from attire.evaluation.baselines import baselines
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Provenance, Report, score_report
from attire.evaluation.report_files import write_report
from attire.evaluation.selection import ALL, choose
from attire.evaluation.split_summary import division
from attire.inference.logits import Inputs, catalog_logits
from attire.labels import Targets
from attire.score.calibration import PRECISION
from attire.score.decisions import Decisions
from attire.storage import storing


def evaluate(
    bundle: ModelBundle | str | Path,
    catalog: Catalog | str | Path,
    split: str | Sequence[str] = "val",
    *,
    inputs: Inputs | None = None,
    engine: str = "torch",
    out: str | Path | None = None,
) -> Report:
    """Score the bundle on a part of the catalog's split, on all of the catalog (`"all"`), or on a list of ids.

    `inputs` is what the bundle is shown: None for all that it reads. No label is given: the category is predicted too.
    `engine` computes (see `open_engine`). Products without a readable photo (or title, if only that is read) count as
    unanswered. Baselines are fitted on those products of the train part that are not judged; the report says how many
    of the judged ones the bundle has learned from. With `out` the report is written there. Raises `CatalogError` where
    the catalog's words are not the bundle's, `ConfigError` for `inputs` that it does not read, `BundleError` for an
    engine that it does not have.
    """
    bundle, catalog = ModelBundle.of(bundle), Catalog.of(catalog)
    inputs = inputs or ("both" if bundle.title_reader else "photo")
    _check_words(bundle, catalog)
    chosen = choose(catalog, split)
    computes = open_engine(bundle, engine)
    ids, splits = chosen.ids, None if chosen.name == ALL else chosen.splits
    keep = slice(None) if bundle.taxonomy.keys else slice(0)  # a category model is asked for no key
    targets = catalog.targets()
    known = Targets(targets.category, targets.hot[:, keep], targets.state[:, keep])
    rows = catalog.rows_of(ids)
    truth = _rows(known, rows)
    train = catalog.rows_of(chosen.others)
    rivals = baselines(bundle.taxonomy, _rows(known, train), truth) if len(train) else {}
    decisions = _decisions(bundle, catalog, ids, computes, inputs)
    evidence = Evidence(
        bundle.taxonomy,
        tuple(ids),
        tuple(catalog.products["group"].gather(rows)),
        truth,
        decisions,
        bundle.accepted(decisions, PRECISION) if bundle.calibration else None,
    )
    provenance = Provenance(
        bundle=bundle.digest,
        catalog=catalog.digest,
        split=chosen.name,
        splits=splits.digest if splits else None,
        seed=splits.seed if splits else None,
        attire=version("attire"),
        inputs=inputs,
        engine=computes.name,
    )
    notes = tuple(filter(None, (chosen.learned(bundle), bundle.shortfall(PRECISION), _untaught(bundle))))
    divided = division(catalog, splits) if splits and chosen.name in PARTS else None
    report = score_report(evidence, rivals, provenance, divided, notes)
    if out is not None:
        shown = None if inputs == "title" else bundle
        with storing(Path(out)):
            write_report(report, evidence, catalog.photo_paths(rows), Path(out), shown)
    return report


def _untaught(bundle: ModelBundle) -> str | None:
    keys = ", ".join(bundle.spec.untaught)
    return f"No product that the bundle learned from states {keys}: it leaves them open." if keys else None


def _check_words(bundle: ModelBundle, catalog: Catalog) -> None:
    theirs, ours = catalog.taxonomy, bundle.taxonomy
    if ours != theirs and (ours.keys or ours.categories != theirs.categories):
        raise CatalogError(
            f"the bundle was trained on other words than {catalog.path / 'taxonomy.toml'} has. Ingest the feed again "
            "with the taxonomy of the catalog that the bundle was trained on (--taxonomy)."
        )


def _rows(targets: Targets, rows: NDArray[np.int64]) -> Targets:
    return Targets(*(column[rows] for column in targets))


def _decisions(bundle: ModelBundle, catalog: Catalog, ids: Sequence[str], engine: Engine, inputs: Inputs) -> Decisions:
    """Answers in the order of `ids`; a product with nothing readable has none."""
    found = catalog_logits(bundle, catalog, ids, engine, inputs=inputs)
    columns = []
    for values in bundle.decide(found.category, found.attributes):
        column = np.zeros((len(ids), *values.shape[1:]), dtype=values.dtype)
        column[found.answered] = values
        columns.append(column)
    decisions = Decisions(*columns)
    decisions.category[np.setdiff1d(np.arange(len(ids)), found.answered)] = -1
    return decisions
