"""How many answers of people are saved by asking for what `attire suggest` chooses, beside random products and fields.

python benchmarks/suggest.py CATALOG BUNDLE RUNS [--seeds 0 1 2 3 4] [--strategies ...] [--minutes 4]
python benchmarks/suggest.py CATALOG BUNDLE RUNS --cold
python benchmarks/suggest.py CATALOG BUNDLE RUNS --json FILE --plot docs/suggest.svg

Labels of the train split are hidden, but for those of 200 random products, the same for all strategies. Each round
shows more of them: those that a strategy asks for, until the round's number of answers is reached. Then heads are
trained from scratch, for the epochs of the recipe and at least 150 steps, and scored on val. Fields that apply and have
no label in the feed are not part of this world, because nobody can say what the answer would be. An answer that a field
does not apply costs as much as any other. The category of a product is a field like others.

The heads are those of the recipe `frozen` in small: a trunk of 128, and a colour branch of 64, on 128 and 64 principal
components of the bundle's embeddings (without its answers: only its backbone is used), all of which are cached.

`--cold` compares the first answers, without any model: those that suggest asks for, and those about whole products, at
random, by TypiClust and by k-center. Categories are stated, here and on val.

A run is written to RUNS/STRATEGY-SEED.json and not repeated; after `--minutes` the script ends, with status 3 if runs
are left.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from support.common import machine
from torch import Tensor, nn

from attire.acquisition.design import Fields, choose
from attire.acquisition.evidence import GATE, SURE_CATEGORY, Photos, doubts, embedded_by_bundle, principal_components
from attire.acquisition.typical import choose_typical
from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import DecisionRule
from attire.evaluation.charts import inline
from attire.labels import State, Targets
from attire.model.colour import COLOURS
from attire.score.decisions import Decisions, applicability, decide
from attire.score.metrics import headline, match
from attire.taxonomy import Taxonomy

START = 200  # labelled products at the beginning
COLD = 1300  # answers of the cold start
ANSWERS = (2200, 3200, 4600, 6600)  # after each round
EPOCHS, STEPS, BATCH, LR = 20, 150, 128, 5e-3  # epochs as in the recipe, and at least so many steps
TRUNK, COLOUR = 128, 64
DIMENSIONS = 64
RULE = DecisionRule(rule="typed")
FIGURES = ("attribute_iou", "macro_iou", "category_accuracy")
Asked = Iterator[tuple[int, Sequence[int]]]  # a product, and its fields


class Heads(nn.Module):
    """Principal components float32[B, TRUNK + COLOUR] -> logits of categories and of values."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__()
        drop = nn.Dropout(0.3)
        self.trunk = nn.Sequential(drop, nn.Linear(TRUNK, TRUNK), nn.GELU(), drop)
        self.colour = nn.Sequential(drop, nn.Linear(COLOUR, COLOUR), nn.GELU(), drop, nn.Linear(COLOUR, taxonomy.width))
        self.category, self.keys = nn.Linear(TRUNK, len(taxonomy.categories)), nn.Linear(TRUNK, taxonomy.width)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(inputs[:, :TRUNK])
        return self.category(hidden), self.keys(hidden) + self.colour(inputs[:, TRUNK:])


@dataclass(slots=True)
class World:
    """Products with all their labels: the first `train` are those that may be asked for, the others are val.

    known: bool[N, F], fields with a label. applies: bool[N, F], by the true category.
    """

    taxonomy: Taxonomy
    targets: Targets
    inputs: Tensor
    features: NDArray[np.float32]
    train: int
    known: NDArray[np.bool_]
    applies: NDArray[np.bool_]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """bool[train, F]: fields that apply but have no label."""
        return (self.applies & ~self.known)[: self.train]

    @classmethod
    def of(cls, catalog: Catalog, bundle: ModelBundle) -> World:
        splits, taxonomy = Splits.load(catalog), catalog.taxonomy
        assert taxonomy.one.all(), "the loss below is that of keys of arity one"
        photos = embedded_by_bundle(catalog, [*splits.train, *splits.val], bundle, None)
        targets = Targets(*(column[photos.rows] for column in catalog.targets()))
        everything = np.ones((len(photos.rows), 1), dtype=bool)
        return cls(
            taxonomy,
            targets,
            _inputs(photos),
            principal_components(photos.mean(photos.of_photos), DIMENSIONS)[: len(splits.train)],
            len(splits.train),
            np.hstack([targets.category[:, None] >= 0, targets.state == State.KNOWN]),
            np.hstack([everything, taxonomy.applies[targets.category]]),
        )

    def trained(self, shown: NDArray[np.bool_], seed: int) -> Heads:
        """Heads trained on the fields that are shown, bool[train, F]."""
        torch.manual_seed(seed)
        heads, rows = Heads(self.taxonomy), np.flatnonzero(shown.any(axis=1))
        steps = max(STEPS, EPOCHS * len(rows) // BATCH)
        key_of_column = torch.from_numpy(np.eye(len(self.taxonomy.keys), dtype=np.float32)[self.taxonomy.key_of_column])
        inputs, hot = self.inputs[rows], torch.from_numpy(self.targets.hot[rows]).float()
        known = torch.from_numpy(shown[rows, 1:]).float()
        category = torch.from_numpy(np.where(shown[rows, 0], self.targets.category[rows], -1))
        optimizer = torch.optim.AdamW(heads.parameters(), lr=LR, weight_decay=0.05, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
        order = torch.cat([torch.randperm(len(rows)) for _ in range(steps * BATCH // len(rows) + 1)])
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            of_category, of_keys = heads(inputs[batch])
            # Softmax within keys by a matrix product: ten times as fast as attire's loss, and equal for arity one.
            top = of_keys.max(dim=1, keepdim=True).values.detach()
            total = ((of_keys - top).exp() @ key_of_column).clamp(min=1e-30).log() + top
            of_pairs = (total - (of_keys * hot[batch]) @ key_of_column) * known[batch]
            loss = of_pairs.sum() / known[batch].sum().clamp(min=1)
            if bool((category[batch] >= 0).any()):
                loss = loss + nn.functional.cross_entropy(of_category, category[batch], ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return heads.eval()

    def decisions(self, heads: Heads, rows: slice, known_category: NDArray[np.int64] | None = None) -> Decisions:
        with torch.inference_mode():
            category, keys = (logits.numpy() for logits in heads(self.inputs[rows]))
        return decide(self.taxonomy, RULE, category, keys, known_category)

    def scores(self, heads: Heads, *, stated: bool = False) -> dict[str, float]:
        """The figures on val; with `stated`, its categories are given."""
        val = slice(self.train, None)
        truth = Targets(*(column[val] for column in self.targets))
        decisions = self.decisions(heads, val, truth.category if stated else None)
        figures = headline(match(self.taxonomy, truth, decisions))
        return {name: round(figures[name], 4) for name in FIGURES}


@dataclass(slots=True)
class Round:
    """What a strategy knows: the model, and bool[train, F] of the fields that are shown, and that were asked for."""

    world: World
    heads: Heads
    shown: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    random: np.random.Generator


def suggested(now: Round, share: float | None = None) -> Asked:
    """As `attire suggest --bundle` chooses."""
    world, train = now.world, slice(0, now.world.train)
    category = np.where(now.shown[:, 0], world.targets.category[train], -1)
    free, decisions = world.decisions(now.heads, train), world.decisions(now.heads, train, category)
    applies = applicability(world.taxonomy, decisions.category_probability) > GATE
    applies = np.hstack([np.ones((world.train, 1), dtype=bool), applies]) & ~world.missing
    fields = Fields(
        features=world.features,
        doubt=doubts(
            world.taxonomy, free.category_probability, decisions.probability, np.asarray(now.shown[:, 1:].any(axis=0))
        ),
        applies=applies | now.shown,
        labelled=now.shown,
        open=applies & ~now.asked,
        unsure_category=decisions.category_probability.max(axis=1) < SURE_CATEGORY,
    )
    for choice in choose(fields) if share is None else choose(fields, share):
        yield choice.row, choice.fields


def random_products(now: Round) -> Asked:
    """Random products with all their fields, as teams do."""
    for row in now.random.permutation(np.flatnonzero(~now.asked.any(axis=1))).tolist():
        yield row, np.flatnonzero(now.world.known[row]).tolist()


def random_fields(now: Round) -> Asked:
    """Random fields of random products."""
    waiting = np.argwhere(now.world.known[: now.world.train] & ~now.asked)
    for row, field in now.random.permutation(waiting).tolist():
        yield row, [field]


def doubtful(now: Round) -> Asked:
    """Fields of which the model is least sure (Lewis & Gale, 1994), by product, above the mean of all fields."""
    world, train = now.world, slice(0, now.world.train)
    decisions = world.decisions(now.heads, train)
    of_keys = 1 - np.maximum.reduceat(decisions.probability, world.taxonomy.starts, axis=1)
    applies = applicability(world.taxonomy, decisions.category_probability)
    doubt = np.hstack([1 - decisions.category_probability.max(axis=1, keepdims=True), of_keys * applies])
    waiting = np.hstack([np.ones((world.train, 1), dtype=bool), applies > GATE]) & ~world.missing & ~now.asked
    chosen = waiting & (doubt >= doubt[waiting].mean())
    chosen[:, 0] |= waiting[:, 0] & chosen.any(axis=1)
    for row in np.argsort(-(doubt * chosen).sum(axis=1), kind="stable").tolist():
        yield row, np.flatnonzero(chosen[row]).tolist()


STRATEGIES: dict[str, Callable[[Round], Asked]] = {
    "random products": random_products,
    "random fields": random_fields,
    "least confidence": doubtful,
    "suggest": suggested,
    "suggest, only the best field": partial(suggested, share=1.0),
    "suggest, fields a quarter as useful": partial(suggested, share=0.25),
}
TITLES = {"suggest": "attire suggest"}


def simulate(world: World, strategy: Callable[[Round], Asked], seed: int) -> list[dict[str, Any]]:
    """The scores after each round."""
    random = np.random.default_rng(seed)
    start = random.permutation(world.train)[:START]
    shown, asked = np.zeros((2, world.train, world.known.shape[1]), dtype=bool)
    shown[start], asked[start] = world.known[start], True
    answers, heads, points = int(shown.sum()), None, list[dict[str, Any]]()
    for number, wanted in enumerate((answers, *ANSWERS)):
        while heads is not None and answers < wanted:
            before = answers
            for row, fields in strategy(Round(world, heads, shown, asked, random)):
                shown[row, fields] = world.known[row, fields]  # not if it does not apply
                asked[row, fields] = True
                answers += len(fields)
                if answers >= wanted:
                    break
            if answers == before:
                break
        heads = world.trained(shown, 100 * seed + number)
        points.append({"answers": answers, "products": int(shown.any(axis=1).sum()), **world.scores(heads)})
    return points


def cold_starts(world: World, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Mean scores with the first `COLD` answers, which are about products of known category, by how they are chosen."""
    known = world.known[: world.train].copy()
    fields = Fields(
        features=world.features,
        doubt=np.ones(known.shape, np.float32),
        applies=known,
        labelled=known & (np.arange(known.shape[1]) == 0),
        open=known & (np.arange(known.shape[1]) > 0),
        unsure_category=np.zeros(len(known), dtype=bool),
    )
    whole = [np.flatnonzero(row).tolist() for row in fields.open]
    orders: dict[str, Callable[[int], Asked]] = {
        "random products": lambda seed: (
            (row, whole[row]) for row in np.random.default_rng(seed).permutation(len(known)).tolist()
        ),
        "k-center (core-set)": lambda seed: ((row, whole[row]) for row in spread(world.features, COLD // 5, seed)),
        "equal doubts (BAIT)": lambda _: ((choice.row, choice.fields) for choice in choose(fields)),
        "attire suggest (TypiClust)": lambda _: (
            (choice.row, choice.fields) for choice in choose_typical(fields, COLD // 5)
        ),
    }
    found: dict[str, dict[str, float]] = {}
    for name, order in orders.items():
        scores = []
        for seed in seeds:
            shown, answers = np.zeros_like(known), 0
            for row, asked in order(seed):
                shown[row, [0, *asked]] = True
                answers += len(asked)
                if answers >= COLD:
                    break
            scores.append(world.scores(world.trained(shown, seed), stated=True))
        found[name] = {figure: round(float(np.mean([score[figure] for score in scores])), 4) for figure in FIGURES}
        print(name, found[name])  # noqa: T201
    return found


def spread(features: NDArray[np.float32], n: int, seed: int) -> Iterator[int]:
    """Greedy k-center (Sener & Savarese, ICLR 2018): the product that is farthest from those chosen."""
    row = int(np.random.default_rng(seed).integers(len(features)))
    distance = np.full(len(features), np.inf)
    for _ in range(n):
        yield row
        distance = np.minimum(distance, ((features - features[row]) ** 2).sum(axis=1))
        row = int(distance.argmax())


def _inputs(photos: Photos) -> Tensor:
    """float32[N, TRUNK + COLOUR]: the inputs of `Heads`, from the mean embedding of each product."""
    means = photos.mean(photos.of_photos)
    parts = [principal_components(means[:, :-COLOURS], TRUNK), principal_components(means[:, -COLOURS:], COLOUR)]
    return torch.from_numpy(np.hstack([part / part.std() for part in parts]))


def needed(points: list[dict[str, Any]], reference: list[dict[str, Any]], figure: str) -> list[float | None]:
    """For each round of the reference after the first: the share of its answers with which `points` are as good.

    Interpolated over the logarithm of the answers, with the best figure so far; None beyond the last round.
    """
    best = np.maximum.accumulate([point[figure] for point in points])
    answers = np.log([point["answers"] for point in points])
    return [
        None
        if point[figure] > best[-1]
        else round(float(np.exp(np.interp(point[figure], best, answers)) / point["answers"]), 3)
        for point in reference[1:]
    ]


def mean_points(runs: Path, strategy: str, seeds: Sequence[int]) -> list[dict[str, Any]] | None:
    """The means over the seeds of each round; None if a run is missing."""
    files = [_file(runs, strategy, seed) for seed in seeds]
    if not all(file.is_file() for file in files):
        return None
    of_seeds = [json.loads(file.read_text()) for file in files]
    return [
        {name: float(np.mean([p[name] for p in points])) for name in points[0]}
        for points in zip(*of_seeds, strict=True)
    ]


def plot(results: dict[str, Any]) -> str:
    """The learning curves as SVG."""
    import altair as alt

    rows = [
        {"strategy": name, "answers": point["answers"], "IoU on val": point["attribute_iou"]}
        for name, result in results.items()
        for point in result["points"]
    ]
    chart = (
        alt.Chart(inline(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "answers:Q", title="answered fields", scale=alt.Scale(type="log", domain=[1400, 7000], nice=False)
            ).axis(values=[1500, 2000, 3000, 4500, 6500]),
            y=alt.Y("IoU on val:Q", scale=alt.Scale(zero=False)),
            color=alt.Color("strategy:N", sort=[*results], title=None, scale=alt.Scale(scheme="tableau10")),
        )
    )
    import vl_convert

    return vl_convert.vegalite_to_svg(chart.properties(width=520, height=300, background="white").to_json())


def _file(runs: Path, strategy: str, seed: int) -> Path:
    return runs / f"{strategy.replace(' ', '-')}-{seed}.json"


def main(
    catalog: Path,
    bundle: Path,
    runs: Path,
    /,
    *,
    seeds: Annotated[list[int], Parameter(consume_multiple=True)] = [0, 1, 2, 3, 4],  # noqa: B006
    strategies: Annotated[list[str], Parameter(consume_multiple=True)] = ["random products", "suggest"],  # noqa: B006
    cold: bool = False,
    minutes: float = 4,
    json_to: Annotated[Path | None, Parameter(name="--json")] = None,
    plot_to: Annotated[Path | None, Parameter(name="--plot")] = None,
) -> None:
    """Simulate, or write what was simulated."""
    if json_to is None:
        torch.set_num_threads(1)
        runs.mkdir(parents=True, exist_ok=True)
        begun, world = time.monotonic(), World.of(Catalog.load(catalog), ModelBundle.load(bundle))
        if cold:
            (runs / "cold.json").write_text(json.dumps(cold_starts(world, seeds)))
            return
        for seed in seeds:
            for name in strategies:
                if _file(runs, name, seed).is_file():
                    continue
                if time.monotonic() - begun > 60 * minutes:
                    sys.exit(3)
                started = time.monotonic()
                points = simulate(world, STRATEGIES[name], seed)
                _file(runs, name, seed).write_text(json.dumps(points))
                print(f"{name} {seed}: {time.monotonic() - started:.0f} s", [p["attribute_iou"] for p in points])  # noqa: T201
        return
    found = {name: mean_points(runs, name, seeds) for name in strategies}
    reference = found["random products"]
    assert reference is not None
    results = {
        TITLES.get(name, name): {
            "points": [{key: round(value, 4) for key, value in point.items()} for point in points],
            "answers needed": {figure: needed(points, reference, figure) for figure in FIGURES[:2]},
        }
        for name, points in found.items()
        if points is not None
    }
    content = {
        "command": f"python benchmarks/suggest.py CATALOG BUNDLE RUNS --seeds {' '.join(map(str, seeds))}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "strategies": results,
        "cold start": json.loads((runs / "cold.json").read_text()) if (runs / "cold.json").is_file() else None,
    }
    json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if plot_to is not None:
        plot_to.write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
