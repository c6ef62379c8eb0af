"""Audits the labels of a catalog: every label of train and val is compared with answers that have not learned it.

OUT/suspects.parquet, .csv, .xlsx   the labels that are probably wrong, most suspicious first
OUT/keys.csv                        the noise rate of each key
OUT/report.html                     the same to look at, with photos
OUT/networks-DIGEST/                the networks of the folds, until the report is written
CATALOG/suspects.parquet            for the review page
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from attire.auditing.doubts import NoiseRate
from attire.auditing.page import page
from attire.auditing.suspecting import find_suspects
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.catalog.suspects import SUSPECT_TABLE, SUSPECTS
from attire.config import Recipe, load_recipe
from attire.errors import ConfigError
from attire.files import locked, replace_bytes, replace_parquet, replace_text, replacing
from attire.spreadsheets import safe_table
from attire.storage import storing
from attire.taxonomy import key_label
from attire.training.data import default_workers
from attire.training.fold_answers import out_of_fold
from attire.training.trainer import first_process

logger = logging.getLogger(__name__)
PAGE, KEYS, NETWORKS = "report.html", "keys.csv", "networks-"


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    suspects: a row per label that is probably wrong, most suspicious first, with the columns of
    `attire.catalog.suspects.SCHEMA`. keys: the noise rates of the category and of each key. fields: labels that were
    checked, of `products` products. decided: suspects that are left out, because a reviewer has decided them.
    """

    suspects: pl.DataFrame
    keys: tuple[NoiseRate, ...]
    products: int
    fields: int
    decided: int


def audit(
    catalog: Catalog | str | Path,
    splits: Splits | str | Path | None = None,
    *,
    out: str | Path,
    recipe: str | Path | Recipe = "audit",
    folds: int = 5,
    weights: str | Path | None = None,
    workers: int | None = None,
    cache: bool | None = None,
) -> Audit:
    """Find labels of train and val that are probably wrong, write them to `out`, and to the catalog for review.

    Train and val are divided into `folds`; groups stay together. For each fold a network is trained on the others by
    `recipe`, and answers it. A label is a suspect if it is likelier wrong than right, given that answer and how often
    the labels of its key are wrong (confident learning: Northcutt et al., JAIR 70, 2021). Labels of test are not
    audited. Products of the judged random sample (`Catalog.audited`) are, but nothing is learned from them.

    The options are those of `attire.train`. An interrupted audit resumes if it is called again with the same ones.
    Raises `ConfigError` for a recipe that trains two networks, or fewer than two folds, and `CatalogError` if the
    catalog is not split, or has no labels or too few groups.
    """
    recipe, out = recipe if isinstance(recipe, Recipe) else load_recipe(recipe), Path(out)
    catalog = Catalog.of(catalog)
    _check(recipe, folds)
    splits = Splits.of(splits, catalog)
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
        busy = ConfigError(f"another attire audit is writing to {out}: wait, or use another --out.")
        with locked(out / ".lock", busy):
            networks = out / f"{NETWORKS}{_digest(catalog, splits, recipe, folds, weights)}"
            answers = out_of_fold(
                catalog,
                splits,
                recipe,
                folds,
                networks,
                weights=weights,
                workers=default_workers() if workers is None else workers,
                cache=cache,
            )
            found = find_suspects(catalog, answers)
            result = Audit(found.table, found.rates, len(answers.row), found.fields, found.decided)
            _write(result, catalog, splits, out)
            for left in out.glob(f"{NETWORKS}*"):
                shutil.rmtree(left, ignore_errors=True)
    with storing(catalog.path):
        SUSPECT_TABLE.save(catalog, found.table)
    return result


def _check(recipe: Recipe, folds: int) -> None:
    if folds < 2:
        raise ConfigError(
            f"--folds {folds}: expected 2 or more, because a fold is answered by a network of the others."
        )
    if not recipe.shared:
        raise ConfigError(
            f"recipe {recipe.name} trains a network for the category and another one for the keys, which an audit "
            "cannot use: choose another --recipe."
        )
    if torch.cuda.device_count() > 1 or not first_process():
        raise ConfigError(
            "an audit runs in one process, on one GPU at most: set CUDA_VISIBLE_DEVICES=0, and do not use torchrun."
        )


def _digest(catalog: Catalog, splits: Splits, recipe: Recipe, folds: int, weights: str | Path | None) -> str:
    """What decides the networks, so that those of an interrupted audit are used by an equal one only."""
    content = [
        catalog.digest,
        splits.digest,
        recipe.model_dump(mode="json"),
        folds,
        None if weights is None else str(weights),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _write(result: Audit, catalog: Catalog, splits: Splits, out: Path) -> None:
    """Write the files, each atomically, the page last."""
    (out / PAGE).unlink(missing_ok=True)
    replace_parquet(out / SUSPECTS, result.suspects)
    for_people = pl.col("key").map_elements(key_label, pl.String)
    suspects = result.suspects.with_columns(for_people)
    keys = pl.DataFrame([rate._asdict() for rate in result.keys]).fill_nan(None).with_columns(for_people)
    for name, table in (("suspects.csv", suspects), (KEYS, keys)):
        replace_bytes(out / name, safe_table(table).write_csv().encode())
    try:
        from attire.auditing.workbook import write_workbook
    except ImportError:
        logger.info("without suspects.xlsx, which needs XlsxWriter: pip install 'attire[excel]'")
    else:
        with replacing(out / "suspects.xlsx") as temporary:
            write_workbook(suspects, temporary)
    replace_text(out / PAGE, page(catalog, splits, result.suspects, result.keys, result.products, result.decided))


def counts_by_kind(result: Audit) -> dict[str, int]:
    """The number of suspects of each kind, the most frequent first."""
    counts = result.suspects.group_by("kind").len().sort("len", "kind", descending=[True, False])
    return dict(counts.iter_rows())
