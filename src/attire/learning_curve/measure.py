"""Trains on parts of the train split, one inside the other, and scores each on val; finished parts are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.embeddings import catalog_embeddings
from attire.errors import CatalogError, ConfigError
from attire.files import replacing
from attire.labels import State
from attire.learning_curve.power_law import LEAST_POINTS
from attire.score.metrics import Matches, match
from attire.score.promise import Promise
from attire.titles import TitleReader
from attire.training.calibrate import collect_logits
from attire.training.data import Subset, default_workers, without_audited
from attire.training.run import train

logger = logging.getLogger(__name__)
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the groups of train
LEAST_GROUPS = 10  # of a part; smaller ones are left out


class Measured(NamedTuple):
    """What a model that learned a share of train answers on val.

    labels: int64[A], of each key among its products; iou: float64[N, A]; known, filled: bool[N, A], of the N products
    of val, as in `Matches`.
    """

    labels: NDArray[np.int64]
    iou: NDArray[np.float64]
    known: NDArray[np.bool_]
    filled: NDArray[np.bool_]


def measure(
    catalog: Catalog,
    splits: Splits,
    recipe: Recipe,
    weights: str | Path | None,
    promise: Promise,
    seed: int,
    out: Path,
) -> tuple[list[Measured], list[str]]:
    """Train and score for each of `SHARES` that is large enough; returns also the group of each product of val.

    Raises `ConfigError` for a recipe that trains the backbone, and `CatalogError` if train has too few groups.
    """
    if recipe.trained_stages != 0:
        raise ConfigError(
            f"recipe {recipe.name} trains the backbone, which takes hours for several parts of train: use "
            "--recipe frozen. Its curve shows whether labels are lacking, as they do for other recipes."
        )
    groups = _shuffled_groups(catalog, splits, seed)
    identity = {
        "recipe": recipe.model_dump(mode="json"),
        "weights": str(weights),
        "catalog": catalog.digest,
        "splits": splits.digest,
        "promise": promise.model_dump(mode="json"),
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = out / f"parts-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    val = Subset(catalog, splits.val, "val", TitleReader.of(recipe))
    measured = []
    shares = [share for share in SHARES if share * len(groups) >= LEAST_GROUPS]
    for number, share in enumerate(shares, 1):
        file = folder / f"{share:g}.npz"
        if not file.is_file():
            chosen = _part(catalog, splits, frozenset(groups[: round(share * len(groups))]))
            logger.info("part %d of %d: %s products", number, len(shares), f"{len(chosen.train):,}")
            run = folder / f"{share:g}"
            bundle = train(catalog, chosen, recipe=recipe, out=run, weights=weights, resume=True)
            result = _score(catalog, bundle, chosen, val, promise)
            with replacing(file) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, **result._asdict())
            shutil.rmtree(run)
        with np.load(file) as arrays:
            measured.append(Measured(**{name: arrays[name] for name in Measured._fields}))
    return measured, catalog.products["group"].gather(catalog.rows_of(val.ids)).to_list()


def _shuffled_groups(catalog: Catalog, splits: Splits, seed: int) -> list[str]:
    ids = without_audited(catalog, splits.train)
    names = sorted(set(catalog.products["group"].gather(catalog.rows_of(ids))))
    least = round(LEAST_GROUPS / SHARES[-LEAST_POINTS])
    if len(names) < least:
        raise CatalogError(
            f"{catalog.path}: train has {len(names):,} groups of products, and a curve needs at least {least:,}: "
            "ingest more products."
        )
    return [str(name) for name in np.random.default_rng(seed).permutation(names)]


def _part(catalog: Catalog, splits: Splits, groups: frozenset[str]) -> Splits:
    """The splits with only these groups in train."""
    group = dict(zip(catalog.ids, catalog.products["group"].to_list(), strict=True))
    ids = tuple(id for id in splits.train if group[id] in groups)
    digest = hashlib.sha256(json.dumps([splits.digest, ids]).encode()).hexdigest()
    return dataclasses.replace(splits, train=ids, digest=digest)


def _score(catalog: Catalog, bundle: ModelBundle, splits: Splits, val: Subset, promise: Promise) -> Measured:
    train_ids: Sequence[str] = without_audited(catalog, splits.train)
    labels = (catalog.targets().state[catalog.rows_of(train_ids)] == State.KNOWN).sum(axis=0)
    name = bundle.spec.network.backbone
    embeddings = catalog_embeddings(catalog, bundle.network, name, bundle.preprocess, default_workers())
    answers = collect_logits(bundle.placed_network.heads, val.embedding_examples(embeddings))
    decisions = bundle.decide(answers.category, answers.attributes)
    accepted = bundle.accepted(decisions, promise) if bundle.calibration else None
    matches: Matches = match(bundle.taxonomy, answers.truth, decisions, accepted)
    filled = np.zeros_like(matches.known) if matches.filled is None else matches.filled
    return Measured(labels, matches.iou, matches.known, filled)
