"""Measure how cost grows with the number of photos, keys and values; it should be about linear.

python benchmarks/growth.py [--photos 250 500 1000 2000] [--plot docs/growth.svg] [--json FILE]

Photos: seconds to ingest a drawn catalog, fill its photo cache, load it once, and predict it with a small network. Keys
and values: milliseconds for a training step of the heads and loss with batch size 64, and for the decisions on 1,000
products. The ratio is the growth of the cost divided by the growth of the size, from the smallest to the largest size.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from heads import words
from support.common import Row, device, interleaved, report
from support.drawn import draw_shop
from support.plots import save_plot
from torch.utils.data import DataLoader

import attire
from attire.bundle import ModelBundle
from attire.config import Architecture, DecisionRule
from attire.inference.bulk import predict
from attire.labels import Targets, encode
from attire.model.losses import create_loss
from attire.model.network import Heads, build_network
from attire.pixels.dataset import DrawSampler
from attire.pixels.photo_cache import cache_photos
from attire.pixels.preprocess import Preprocess
from attire.score.decisions import decide
from attire.taxonomy import Taxonomy
from attire.training.data import Subset

BATCH, DECIDED = 64, 1000
FEATURES = 512
SIZES = {"keys": [(46, 10_000), (200, 10_000), (1000, 10_000)], "values": [(200, 1000), (200, 3000), (200, 10_000)]}
HEADS = {"linear heads": {"head": "linear", "trunk": 256}, "MLP heads": {"head": "mlp", "hidden": 32}}


class Point(NamedTuple):
    """The `cost` of `what` for `size` units of `axis` (photos, keys, values)."""

    axis: str
    what: str
    size: int
    cost: float
    unit: str


def over_photos(photos: int) -> Iterator[Point]:
    """The costs of a catalog with that number of photos."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        feed = draw_shop(folder, photos, (448, 336), keys=5)
        start = time.perf_counter()
        catalog = attire.ingest(feed, folder / "photos", folder / "catalog")
        yield Point("photos", "ingest", photos, time.perf_counter() - start, "s")
        start = time.perf_counter()
        cache = cache_photos(catalog, 128)
        yield Point("photos", "fill the photo cache", photos, time.perf_counter() - start, "s")
        preprocess = Preprocess(size_px=(96, 72), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        examples = Subset(catalog, catalog.ids, "train").photo_examples(preprocess, "light", cache)
        start = time.perf_counter()
        for _ in DataLoader(examples, BATCH, sampler=DrawSampler(len(examples), 0)):
            pass
        yield Point("photos", "load it from the cache", photos, time.perf_counter() - start, "s")
        architecture = Architecture(backbone="resnet10t", hidden=32)
        bundle = ModelBundle.save(
            folder / "bundle",
            build_network(architecture, catalog.taxonomy),
            architecture,
            taxonomy=catalog.taxonomy,
            preprocess=preprocess,
            decision=DecisionRule(),
            provenance={},
            scores={},
        )
        start = time.perf_counter()
        predict(bundle, catalog.path, folder / "predicted.parquet")
        yield Point("photos", "predict", photos, time.perf_counter() - start, "s")


def over_words(axis: str, keys: int, values: int, rounds: int) -> Iterator[Point]:
    """The costs of a taxonomy with those numbers of keys and values."""
    taxonomy, size = words(keys, values), keys if axis == "keys" else values
    truth = Targets(*(torch.from_numpy(column).to(device()) for column in _labels(taxonomy)))
    runs: dict[str, Callable[[], object]] = {name: _step(taxonomy, truth, fields) for name, fields in HEADS.items()}
    random = np.random.default_rng(0)
    category = random.standard_normal((DECIDED, 1)).astype(np.float32)
    logits = random.standard_normal((DECIDED, taxonomy.width)).astype(np.float32)
    runs[f"decide {DECIDED:,} products"] = lambda: decide(taxonomy, DecisionRule(), category, logits)
    for what, seconds in interleaved(runs, rounds).items():
        yield Point(axis, what, size, 1e3 * seconds, "ms")


def _step(taxonomy: Taxonomy, truth: Targets, fields: dict[str, Any]) -> Callable[[], None]:
    recipe = attire.load_recipe("frozen", {"trunk": 0, **fields})
    heads = Heads(FEATURES, taxonomy, recipe.architecture).to(device())
    loss = create_loss(recipe, taxonomy, Targets(*(column.cpu() for column in truth))).to(device())
    optimizer = torch.optim.AdamW(heads.parameters(), fused=True)
    features = torch.randn(BATCH, FEATURES, device=device())

    def step() -> None:
        optimizer.zero_grad()
        loss(heads(features).attributes, truth).backward()
        optimizer.step()

    return step


def _labels(taxonomy: Taxonomy) -> Targets:
    random = np.random.default_rng(0)
    labels = [{name: [str(random.choice(key.values))] for name, key in taxonomy.keys.items()} for _ in range(BATCH)]
    return encode(taxonomy, [taxonomy.categories[0]] * BATCH, labels)


def rows(points: list[Point]) -> Iterator[Row]:
    """A row per point; the last point of each line has the growth ratio."""
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        lines.setdefault((point.axis, point.what), []).append(point)
    for line in lines.values():
        for point in line:
            name = f"{point.what}, {point.size:,} {point.axis}"
            if point is line[-1] and len(line) > 1:
                growth = (point.cost / line[0].cost) / (point.size / line[0].size)
                yield Row(name, point.cost, point.unit, growth, f"growth from {line[0].size:,} {point.axis}")
            else:
                yield Row(name, point.cost, point.unit)


def plot(points: list[Point], file: Path) -> None:
    """Plot a panel per axis with logarithmic scales; dashed lines show exactly linear growth."""
    import altair as alt

    panels = []
    for axis in ("photos", "keys", "values"):
        measured = [point._asdict() for point in points if point.axis == axis]
        first = {point["what"]: point for point in reversed(measured)}
        linear = [p | {"cost": first[p["what"]]["cost"] * p["size"] / first[p["what"]]["size"]} for p in measured]
        sizes = sorted({point["size"] for point in measured})
        x = alt.X("size:Q", title=axis, scale=alt.Scale(type="log", nice=False, padding=8))
        x = x.axis(values=sizes, format=",d", grid=False)
        y = alt.Y("cost:Q", title=measured[0]["unit"], scale=alt.Scale(type="log")).axis(tickCount=4, format="~g")
        colour = alt.Color(
            "what:N", title=None, sort=None, legend=alt.Legend(orient="bottom", columns=1, symbolOpacity=1)
        )
        lines = alt.Chart(alt.InlineData(values=measured)).mark_line(point=True).encode(x=x, y=y, color=colour)
        dashed = alt.Chart(alt.InlineData(values=linear)).mark_line(strokeDash=[4, 4], strokeWidth=1, opacity=0.6)
        panels.append(alt.layer(dashed.encode(x=x, y=y, color=colour), lines).properties(width=220, height=220))
    chart = alt.hconcat(*panels).resolve_scale(color="independent")
    save_plot(chart, file)


def main(
    *,
    photos: Annotated[list[int], Parameter(consume_multiple=True)] = [250, 500, 1000, 2000],  # noqa: B006
    rounds: int = 5,
    plot_to: Annotated[Path | None, Parameter(name="--plot")] = None,
    json: Path | None = None,
) -> None:
    """Measure on the GPU if there is one, else on the CPU."""
    list(over_photos(32))  # warm-up: loading libraries once is not a cost of photos
    points = [point for size in photos for point in over_photos(size)]
    for axis, sizes in SIZES.items():
        points += [point for keys, values in sizes for point in over_words(axis, keys, values, rounds)]
    report("Growth of cost (ratio 1: exactly linear; below 1: slower)", list(rows(points)), json)
    if plot_to is not None:
        plot(points, plot_to)


if __name__ == "__main__":
    cyclopts.run(main)
