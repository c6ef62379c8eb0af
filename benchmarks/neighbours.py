"""What the most similar labelled photos say about products of val: alone, and together with the model.

python benchmarks/neighbours.py BUNDLE... --catalog CATALOG [--json rows.json]

First, which vectors find photos with the same labels: the stated values of each val product are compared with a vote
of its nearest train photos, for several ways to make vectors of the first bundle's features. Then a vote with the
vectors that attire uses is mixed into the probabilities of each bundle. The interval of a difference is that of a
paired bootstrap over groups. Coverage is read off val itself, for each mixture: the largest share of the known fields
that one threshold of the confidence fills with 95% right answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from support.common import Row, report

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.embeddings import catalog_embeddings
from attire.labels import Targets, labelled
from attire.model.colour import COLOURS
from attire.neighbours.vectors import photo_vectors
from attire.score.decisions import EDGE, Decisions, decide
from attire.score.intervals import intervals
from attire.score.metrics import MIN_LABELS, Matches, key_iou, match
from attire.taxonomy import Taxonomy

NEAREST, TEMPERATURE = 10, 0.05
WEIGHTS = (0.1, 0.2, 0.3, 1.0)
PRECISION = 0.95
RESAMPLES = 500

Floats = NDArray[np.float32]


class Data:
    """The photos and labels of train and val; products of the judged random sample are left out."""

    def __init__(self, catalog: Catalog, bundle: ModelBundle) -> None:
        self.catalog, self.taxonomy, targets = catalog, catalog.taxonomy, catalog.targets()
        splits, digests = Splits.load(catalog), catalog.photo_digests()
        network, name = bundle.placed_network, bundle.spec.network.backbone
        cache = catalog_embeddings(catalog, network, name, bundle.preprocess, workers=1)

        def part(ids: tuple[str, ...]) -> tuple[NDArray[np.int64], Floats]:
            rows = [row for row in catalog.rows_of(ids).tolist() if digests[row] and catalog.ids[row] not in audited]
            return np.array(rows), cache[[digests[row][0] for row in rows]]

        audited = catalog.audited
        (train, self.train), (val, self.val) = part(splits.train), part(splits.val)
        self.votes = np.asarray(targets.hot[train])
        self.truth = Targets(*(column[val] for column in targets))
        self.groups = catalog.products["group"].gather(val).to_list()


def main(
    bundles: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    catalog: Path,
    json: Path | None = None,
) -> None:
    """Measure vectors with the first bundle, and mixtures with each of them."""
    loaded = [ModelBundle.load(bundle) for bundle in bundles]
    data = Data(Catalog.load(catalog), loaded[0])
    rows = list(of_vectors(loaded[0], data))
    for number, bundle in enumerate(loaded):
        rows += of_mixtures(bundle, data, f"seed {bundle.provenance.get('recipe', {}).get('seed', number)}")
    report(f"{len(data.val):,} products of val, {len(data.train):,} of train", rows, json)


def of_vectors(bundle: ModelBundle, data: Data) -> list[Row]:
    """The IoU of the vote alone, on fields with a label."""
    rows = []
    for name, vectors in ways(bundle, data).items():
        similarity = vectors(data.val) @ vectors(data.train).T
        share = vote(data.taxonomy, similarity, data.votes)
        iou = iou_of_vote(data.taxonomy, share, data.truth.hot)
        rows.append(Row(f"vote alone, {name}: attribute IoU", iou, "IoU"))
    return rows


def ways(bundle: ModelBundle, data: Data) -> Mapping[str, Callable[[Floats], Floats]]:
    """Functions from features to unit vectors."""
    mean, std = data.train.mean(axis=0), data.train.std(axis=0) + 1e-3

    def standard(features: Floats) -> Floats:
        return np.asarray((features - mean) / std, np.float32)

    values, axes = np.linalg.eigh(np.cov(standard(data.train)[:, :-COLOURS].T))
    axes, values = axes[:, ::-1][:, :256], values[::-1][:256]
    return {
        "features": unit,
        "standardised features": lambda features: unit(standard(features)),
        "standardised features of the backbone": lambda features: unit(standard(features)[:, :-COLOURS]),
        "backbone and half the colours": lambda features: joined(
            standard(features)[:, :-COLOURS], standard(features)[:, -COLOURS:], 0.5
        ),
        "256 whitened components of the backbone": lambda features: unit(
            np.asarray(standard(features)[:, :-COLOURS] @ axes / np.sqrt(values + 1e-6), np.float32)
        ),
        "what the last layers see (attire)": lambda features: photo_vectors(bundle, features),
    }


def of_mixtures(bundle: ModelBundle, data: Data, name: str) -> list[Row]:
    """The figures of the model, and what a vote of each weight changes."""
    taxonomy = data.taxonomy
    with torch.no_grad():
        category, attributes = (part.numpy() for part in bundle.network.heads(torch.from_numpy(data.val)))
    if bundle.calibration:
        category, attributes = bundle.calibration.scale(taxonomy, category, attributes)
    alone = decide(taxonomy, bundle.decision, category, attributes)
    share = vote(taxonomy, photo_vectors(bundle, data.val) @ photo_vectors(bundle, data.train).T, data.votes)
    before = match(taxonomy, data.truth, alone)
    rows = [
        Row(f"{name}, model alone: {figure}", float(value[0]), "share") for figure, value in figures(before).items()
    ]
    for weight in WEIGHTS:
        logits = mixed(taxonomy, alone, share, weight)
        after = match(taxonomy, data.truth, decide(taxonomy, bundle.decision, category, logits))
        for figure, (value, low, high) in differences(before, after, data.groups).items():
            what = f"{name}, vote with weight {weight}: {figure}"
            rows.append(Row(what, value, f"change ({low:+.4f} to {high:+.4f})"))
    return rows


def vote(taxonomy: Taxonomy, similarity: Floats, stated: NDArray[np.bool_]) -> Floats:
    """float32[Q, K]: for each key, the share of each value among the nearest photos with a label of the key.

    Photos count by exp(similarity / TEMPERATURE). similarity: [Q, N]; stated: bool[N, K]. nan without any label.
    """
    shares = np.full((len(similarity), taxonomy.width), np.nan, np.float32)
    known = labelled(taxonomy, stated)
    for index, columns in enumerate(taxonomy.columns.values()):
        rows = np.flatnonzero(known[:, index])
        if not len(rows):
            continue
        cosine, count = similarity[:, rows], min(NEAREST, len(rows))
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        weight = np.exp((np.take_along_axis(cosine, nearest, axis=1) - cosine.max(axis=1, keepdims=True)) / TEMPERATURE)
        weight /= weight.sum(axis=1, keepdims=True)
        shares[:, columns] = np.einsum("qn,qnv->qv", weight, stated[rows][:, columns][nearest])
    return shares


def mixed(taxonomy: Taxonomy, decisions: Decisions, share: Floats, weight: float) -> Floats:
    """Logits float32[N, K] of the mixture of the model's probabilities and the vote's shares."""
    vote_or_model = np.where(np.isnan(share), decisions.probability, share)
    probability = np.clip((1 - weight) * decisions.probability + weight * vote_or_model, EDGE, 1 - EDGE)
    one = taxonomy.one[taxonomy.key_of_column]
    return np.asarray(np.log(probability) - np.where(one, 0, np.log1p(-probability)), np.float32)


def iou_of_vote(taxonomy: Taxonomy, share: Floats, truth: NDArray[np.bool_]) -> float:
    """IoU of the value with the most votes (of keys with several values: each with more than half), where known."""
    known, scores = labelled(taxonomy, truth), np.nan_to_num(share)
    best = np.maximum.reduceat(scores, taxonomy.starts, axis=1)[:, taxonomy.key_of_column]
    one = taxonomy.one[taxonomy.key_of_column]
    chosen = (scores == best) | (~one & (scores > 0.5))
    both = np.add.reduceat(chosen & truth, taxonomy.starts, axis=1)
    either = np.add.reduceat(chosen | truth, taxonomy.starts, axis=1)
    return float((both / np.maximum(either, 1))[known].mean())


def figures(matches: Matches, weights: NDArray[np.float32] | None = None) -> dict[str, NDArray[np.float64]]:
    """IoU, macro IoU and coverage, float64[R] each, for R sets of product weights (float[N, R])."""
    weights = np.ones((len(matches.known), 1), np.float32) if weights is None else weights
    counted = matches.known.sum(axis=0) >= MIN_LABELS
    return {
        "attribute IoU": matches.iou.sum(axis=1) @ weights / (matches.known.sum(axis=1) @ weights),
        "macro IoU": np.nanmean(key_iou(matches, weights)[counted], axis=0),
        "coverage": coverage(matches, weights),
    }


def differences(before: Matches, after: Matches, groups: list[str]) -> dict[str, tuple[float, float, float]]:
    """For each figure: how much larger it is after than before, and the ends of the interval of that."""

    def change(weights: NDArray[np.float32] | None = None) -> dict[str, NDArray[np.float64]]:
        old, new = figures(before, weights), figures(after, weights)
        return {name: new[name] - old[name] for name in old}

    ends = intervals(change, groups, RESAMPLES)
    return {name: (float(value[0]), ends[name].low, ends[name].high) for name, value in change().items()}


def coverage(matches: Matches, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64[R]: the share of known fields that are filled at the threshold with which `PRECISION` are right."""
    rows, keys = np.nonzero(matches.known & matches.predicted)
    order = np.argsort(-matches.confidence[rows, keys], kind="stable")
    rows, keys = rows[order], keys[order]
    right, total = matches.right[rows, keys], matches.known.sum(axis=1) @ weights
    shares = []
    for column, known in zip(weights.T.astype(np.float64), total, strict=True):
        filled = np.cumsum(column[rows])
        enough = np.flatnonzero(np.cumsum(column[rows] * right) >= PRECISION * filled)
        shares.append(filled[enough[-1]] / known if len(enough) else 0.0)
    return np.array(shares)


def joined(first: Floats, second: Floats, weight: float) -> Floats:
    """Unit vectors of two parts, each at unit length but for the weight of the second."""
    return unit(np.concatenate([unit(first), weight * unit(second)], axis=1))


def unit(vectors: Floats) -> Floats:
    """The vectors at unit length."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)


if __name__ == "__main__":
    cyclopts.run(main)
