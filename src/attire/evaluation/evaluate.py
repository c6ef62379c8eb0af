"""A bundle on products whose labels are known: predict, score, compare with the baselines, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import PARTS, Splits
from attire.catalog.store import Catalog
from attire.errors import CatalogError
from attire.evaluation.baselines import baselines
from attire.evaluation.division import division
from attire.evaluation.evidence import Evidence
from attire.evaluation.files import write_report
from attire.evaluation.report import Provenance, Report, score_report
from attire.labels import Targets
from attire.predict.engines import Engine, open_engine
from attire.predict.logits import Inputs, catalog_logits
from attire.score.calibration import PRECISION
from attire.score.decisions import Decisions

ALL = "all"


def evaluate(
    bundle: ModelBundle | str | Path,
    catalog: Catalog,
    split: str | Sequence[str] = "val",
    *,
    inputs: Inputs | None = None,
    engine: str = "torch",
    out: str | Path | None = None,
) -> Report:
    """Score the bundle on a part of the catalog's split, on all of the catalog (`"all"`), or on a list of ids.

    `inputs` is what the bundle is shown: None for all that it reads. No label is given: the category is predicted too.
    `engine` computes (see `open_engine`). Products without a readable photo (or title, if only that is read) count as
    unanswered. With `out` the report is written there. Raises `CatalogError` where the catalog's words are not the
    bundle's, `ConfigError` for `inputs` that it does not read, `BundleError` for an engine that it does not have.
    """
    bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle)
    inputs = inputs or ("both" if bundle.title_reader else "photo")
    _check_words(bundle, catalog)
    computes = open_engine(bundle, engine)
    splits = Splits.read(catalog) if split in PARTS else None
    ids = splits[str(split)] if splits else catalog.ids if split == ALL else tuple(split)
    keep = slice(None) if bundle.taxonomy.keys else slice(0)  # a category model is asked for no key
    targets = catalog.targets()
    known = Targets(targets.category, targets.hot[:, keep], targets.state[:, keep])
    rows = catalog.rows_of(ids)
    truth = _rows(known, rows)
    rivals = baselines(bundle.taxonomy, _rows(known, catalog.rows_of(splits.train)), truth) if splits else {}
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
        split=split if isinstance(split, str) else f"{len(ids)} chosen products",
        splits=splits.digest if splits else None,
        seed=splits.seed if splits else None,
        attire=version("attire"),
        inputs=inputs,
        engine=computes.name,
    )
    report = score_report(evidence, rivals, provenance, division(catalog, splits) if splits else None)
    if out is not None:
        shown = None if inputs == "title" else bundle
        write_report(report, evidence, catalog.photo_paths(rows), Path(out), shown)
    return report


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
