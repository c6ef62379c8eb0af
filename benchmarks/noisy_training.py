"""Whether training gains by knowing that labels may be wrong: heads on cached embeddings, with and without added noise.

python benchmarks/noisy_training.py CATALOG --weights FILE --work FOLDER [--seeds 3] [--json FILE]

10% of the labels and categories of train are flipped (uniformly, or along confusions), or none. Suspects come from the
audit's probability that a label is wrong, by answers of 3 folds of train. Heads are then trained on train

  as stated   with all labels
  left out    suspects (probability of at least 0.5) are unknown
  relabelled  suspects get the likelier value
  weighted    each label weighs 1 - its probability of being wrong
  gce Q       with the generalised cross entropy (1 - p^Q) / Q (Zhang & Sabuncu, NeurIPS 2018), which trusts less in
              labels that are far from what the network answers

and scored on val, whose labels stay as they are. Finished trainings stay in FOLDER.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.console import Console
from support.common import machine
from support.quick_heads import SMALL, LabelLoss, QuickHeads
from support.wrong_labels import confusion_of, flip
from torch import Tensor

from attire import Catalog, Splits, load_recipe
from attire.auditing.doubts import SUSPICIOUS, count_anchors, doubts, mean_rate
from attire.auditing.field_labels import calibrated, field_labels
from attire.labels import State, Targets
from attire.model.heads import ValueLayout
from attire.model.losses import balanced_weight
from attire.model.network import Logits
from attire.score.decisions import decide
from attire.score.metrics import headline, match
from attire.taxonomy import CATEGORY, Taxonomy
from attire.training.fold_answers import OutOfFold
from attire.training.folds import divide

NOISE, FOLDS, RATE = ("none", "uniform", "confusion"), 3, 0.1
FIGURES = ("attribute_iou", "macro_iou", "category_accuracy", "map")
console = Console()


class Doubted(NamedTuple):
    """For N products: the probability that each label is wrong, float64[N, A + 1], category last, 0 where there is
    none; and the values that are likelier, bool[N, K] and int64[N]."""

    wrong: NDArray[np.float64]
    hot: NDArray[np.bool_]
    category: NDArray[np.int64]


def doubted(taxonomy: Taxonomy, answers: OutOfFold, labels: Targets) -> Doubted:
    """What the audit says about the labels of the products that were answered."""
    fields = [*field_labels(taxonomy, answers, calibrated(taxonomy, answers))]
    every = [np.ones(len(field.rows), dtype=bool) for field in fields]
    rate = mean_rate([(field, count_anchors(field, rows)) for field, rows in zip(fields, every, strict=True)])
    wrong = np.zeros((len(labels.category), len(taxonomy.keys) + 1))
    hot, category = labels.hot.copy(), labels.category.copy()
    place = {name: number for number, name in enumerate(taxonomy.keys)}
    for field, rows in zip(fields, every, strict=True):
        found, products = doubts(field, rows, rate), answers.row[field.rows]
        wrong[products, place.get(field.key, -1)] = found.wrong
        if field.key == CATEGORY:
            category[products] = found.proposed.argmax(axis=1)
        else:
            hot[products, taxonomy.columns[field.key]] = found.proposed
    return Doubted(wrong, hot, category)


def left_out(labels: Targets, found: Doubted) -> Targets:
    """The labels without the suspects."""
    suspects = found.wrong >= SUSPICIOUS
    state = np.where(suspects[:, :-1] & (labels.state == State.KNOWN), State.UNKNOWN, labels.state).astype(np.int8)
    return Targets(np.where(suspects[:, -1], -1, labels.category), labels.hot, state)


def relabelled(taxonomy: Taxonomy, labels: Targets, found: Doubted) -> Targets:
    """The labels with the likelier values of the suspects."""
    suspects = found.wrong >= SUSPICIOUS
    columns = suspects[:, :-1][:, taxonomy.key_of_column]
    category = np.where(suspects[:, -1], found.category, labels.category)
    return Targets(category, np.where(columns, found.hot, labels.hot), labels.state)


class RobustLoss:
    """The recipe's softmax loss with a weight for each label, or the generalised cross entropy for q > 0."""

    def __init__(self, taxonomy: Taxonomy, train: Targets, trust: NDArray[np.float64], q: float) -> None:
        assert taxonomy.one.all()
        self.layout, self.trust, self.q = ValueLayout(taxonomy), torch.from_numpy(trust).float(), q
        self.balance = balanced_weight(torch.from_numpy(train.category), len(taxonomy.categories), 0.5)

    def __call__(self, logits: Logits, targets: Targets, rows: Tensor) -> Tensor:
        """The mean over products and known fields, category and attributes added."""
        trust, layout = self.trust[rows], self.layout
        known = targets.state == State.KNOWN
        padded = logits.attributes[:, layout.padded].masked_fill(~layout.real, -torch.inf)
        log_p = padded.log_softmax(-1).masked_fill(~layout.real, 0)
        of_fields = self._loss((log_p * (targets.hot[:, layout.padded] & layout.real)).sum(-1))
        attributes: Tensor = (of_fields * known * trust[:, :-1]).sum() / known.sum().clamp(min=1)
        has = targets.category >= 0
        stated = targets.category.clamp(min=0)
        weight = self.balance[stated] * has
        of_category = self._loss(logits.category.log_softmax(-1).gather(1, stated[:, None])[:, 0])
        category: Tensor = (of_category * weight * trust[:, -1]).sum() / weight.sum()
        return attributes + category

    def _loss(self, log_p: Tensor) -> Tensor:
        loss: Tensor = (1 - (self.q * log_p).exp()) / self.q if self.q else -log_p
        return loss


class Trial(NamedTuple):
    """A way to train: its labels, and its loss; None for the recipe's."""

    labels: Targets
    loss: LabelLoss | None


def trials(taxonomy: Taxonomy, labels: Targets, found: Doubted) -> Iterator[tuple[str, Callable[[], Trial]]]:
    """All ways by name."""
    even = np.ones_like(found.wrong)
    yield "as stated", lambda: Trial(labels, None)
    yield "left out", lambda: Trial(left_out(labels, found), None)
    yield "relabelled", lambda: Trial(relabelled(taxonomy, labels, found), None)
    yield "weighted", lambda: Trial(labels, RobustLoss(taxonomy, labels, 1 - found.wrong, 0))
    for q in (0.3, 0.7):
        yield f"gce {q}", lambda q=q: Trial(labels, RobustLoss(taxonomy, labels, even, q))  # type: ignore[misc]


class Simulation:
    """The catalog, its embeddings and its folds."""

    def __init__(self, catalog: Catalog, weights: Path, work: Path, backbone: str, size_px: tuple[int, int]) -> None:
        self.catalog, self.work, splits = catalog, work, Splits.of(None, catalog)
        recipe = load_recipe("audit", {"backbone": backbone, "size_px": list(size_px), **SMALL})
        self.heads = QuickHeads(catalog, recipe, weights)
        self.train, self.val = (np.sort(catalog.rows_of(ids)) for ids in (splits.train, splits.val))
        parts = divide(catalog, sorted(splits.train), FOLDS, splits.seed)
        self.folds = [(catalog.rows_of(others), catalog.rows_of(own)) for others, own in parts]
        self.clean = catalog.targets()

    def out_of_fold(self, labels: Targets, seed: int) -> OutOfFold:
        """Answers to train by heads that have not learned the products' groups."""
        category, attributes = self.heads.out_of_fold(labels, self.folds, seed)
        every = np.arange(len(self.catalog))
        return OutOfFold(every, every * 0 + 1, labels, category, attributes, every >= 0).at(self.train)

    def labels(self, noise: str, seed: int) -> Targets:
        """The labels of all products, with noise."""
        if noise == "none":
            return self.clean
        confusion = None
        if noise == "confusion":
            answers = self.out_of_fold(self.clean, 0)
            taxonomy = self.catalog.taxonomy
            probabilities = calibrated(taxonomy, answers)
            confusion = confusion_of(taxonomy, answers.truth, probabilities.category, probabilities.values)
        return flip(self.catalog, RATE, seed, confusion).catalog.targets()

    def run(self, noise: str, seed: int) -> dict[str, dict[str, float]]:
        """The figures on val of each way to train."""
        file = self.work / f"{noise}-{seed}.json"
        figures: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.is_file() else {}
        taxonomy = self.catalog.taxonomy
        labels = self.labels(noise, seed)
        found = doubted(taxonomy, self.out_of_fold(labels, seed), labels)
        for name, trial in trials(taxonomy, labels, found):
            if name not in figures:
                learned, loss = trial()
                heads = self.heads.train(learned, self.train, seed, loss)
                with torch.inference_mode():
                    logits = heads(self.heads.inputs[self.val])
                answers = decide(taxonomy, self.heads.recipe.decision, *(part.numpy() for part in logits))
                truth = Targets(*(column[self.val] for column in self.clean))
                scored = headline(match(taxonomy, truth, answers))
                figures[name] = {figure: round(scored[figure], 4) for figure in FIGURES}
                file.write_text(json.dumps(figures))
                console.print(noise, seed, name, figures[name])
        return figures


def main(
    catalog: Path,
    /,
    *,
    weights: Path,
    work: Path,
    backbone: str = "tf_efficientnet_lite0",
    size_px: tuple[int, int] = (224, 168),
    seeds: int = 3,
    json_to: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Simulate."""
    work.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(Catalog.load(catalog), weights, work, backbone, size_px)
    runs: dict[str, list[dict[str, dict[str, float]]]] = {noise: [] for noise in NOISE}
    for seed in range(seeds):
        for noise in NOISE:
            runs[noise].append(simulation.run(noise, seed))
    content: dict[str, Any] = {
        "command": "python benchmarks/noisy_training.py CATALOG --weights FILE --work FOLDER",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "seeds": seeds,
        "figures": {
            noise: {
                name: {figure: [run[name][figure] for run in of_seeds] for figure in FIGURES} for name in of_seeds[0]
            }
            for noise, of_seeds in runs.items()
        },
    }
    if json_to is not None:
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
