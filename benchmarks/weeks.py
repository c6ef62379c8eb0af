"""Ten weeks of a catalog team: what a week costs, what stays, and how the models compare.

python benchmarks/weeks.py ../shared/benchmarks/myntra26 --weights FILE [--products 300 --weeks 3] [--json FILE]

Cuts myntra26 into weekly feeds of about 1,000 new products, with corrections of 2% and removals of 1% of the known
ones. Each week: `ingest --update`, removals, `split`, embed, `train` (frozen), `evaluate` on val, and `fill` of the new
products, whose feed is as blank as the real one. Checks that no product changes its split except by a merge of groups,
that the cost of a week follows its new products, and that the final catalog equals one that is ingested at once. At the
end all bundles are scored on the final test split.

Costs are seconds of CPU of this process and its children, because the machine may be shared, beside wall seconds.
"""

from __future__ import annotations

import json
import resource
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cyclopts
import polars as pl
from myntra26 import OPTIONS, draft
from rich.console import Console
from support.common import machine
from support.weekly_feeds import Week, cut

import attire
from attire.catalog.splits import Splits
from attire.embeddings import catalog_embeddings
from attire.evaluation.tables import trend_sheets, trend_verdict
from attire.evaluation.trend import Trend
from attire.model.input_size import data_config
from attire.pixels.preprocess import Preprocess
from attire.training.initial_weights import initial_network

VAL, TEST = 0.15, 0.1
CORRECTED, REMOVED = 0.02, 0.01
FOLLOW = ("ingest", "embed", "fill")  # steps whose cost must follow the new products
GROWTH = 1.5  # the most that the last week may cost beside the second
console = Console()


@dataclass
class Costs:
    """Seconds of each step of a week: CPU and wall."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        cpu, wall = _cpu_s(), time.perf_counter()
        yield
        self.cpu_s[step] = round(_cpu_s() - cpu, 2)
        self.wall_s[step] = round(time.perf_counter() - wall, 2)


@dataclass
class Shop:
    """A catalog in `folder` that is updated week after week, and the recipe of its models."""

    folder: Path
    photos: Path
    recipe: attire.Recipe
    weights: Path
    state: pl.DataFrame | None = None
    sides: dict[str, str] = field(default_factory=dict)

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog"

    def live_through(self, number: int, week: Week) -> dict[str, Any]:
        """One week; returns its record."""
        feed, costs = self._feed(number, week), Costs()
        taxonomy = self.folder / "taxonomy.toml" if number == 1 else None
        with costs.of("ingest"):
            catalog = attire.ingest(
                feed, self.photos, self.catalog, options=OPTIONS, update=number > 1, taxonomy=taxonomy
            )
        with costs.of("remove"):
            catalog = self._without(week.removed, catalog)
        with costs.of("split"):
            splits = attire.split(catalog, VAL, TEST, seed=7)
        with costs.of("embed"):
            network, _ = initial_network(self.recipe, catalog.taxonomy, self.weights, None)
            preprocess = Preprocess.for_backbone(data_config(network.backbone), self.recipe.input_px, self.recipe.fit)
            catalog_embeddings(catalog, network, self.recipe.backbone, preprocess, workers=1)
        with costs.of("train"):
            bundle = attire.train(
                catalog, splits, recipe=self.recipe, out=self.run(number), weights=self.weights, workers=1
            )
        with costs.of("evaluate"):
            report = attire.evaluate(bundle, catalog, "val", engine="torch", out=self.folder / f"val-{number}")
        new = self.folder / f"new-{number}.csv"
        week.new.write_csv(new)
        with costs.of("fill"):
            filled = attire.fill(
                bundle, new, new.with_suffix(".filled.csv"), images=self.photos, options=OPTIONS, engine="torch"
            )
        return {
            "week": number,
            "new": len(week.new),
            "corrected": len(week.corrections),
            "removed": len(week.removed),
            "products": len(catalog),
            "groups": catalog.products["group"].n_unique(),
            **self._moves(splits, catalog),
            "left_out_on_val": report.counts.left_out,
            "blank": sum(key.blank for key in filled.keys),
            "filled": sum(key.filled for key in filled.keys),
            "cpu_s": costs.cpu_s,
            "wall_s": costs.wall_s,
        }

    def run(self, number: int) -> Path:
        return self.folder / "runs" / f"week-{number}"

    def _feed(self, number: int, week: Week) -> Path:
        """Write the week's feed, and keep the feed of all products that it adds up to."""
        feed = self.folder / f"week-{number}.csv"
        week.feed.write_csv(feed)
        if self.state is None:
            self.state = week.new
        else:
            stated = week.corrections.with_columns(pl.all().replace("", None))
            self.state = pl.concat([self.state.update(stated, on="id", how="left"), week.new])
        self.state = self.state.filter(~pl.col("id").is_in(week.removed))
        return feed

    def _without(self, removed: list[str], catalog: attire.Catalog) -> attire.Catalog:
        return attire.remove(catalog, removed).catalog if removed else catalog

    def _moves(self, splits: Splits, catalog: attire.Catalog) -> dict[str, int]:
        """Products that changed their split, and those of them whose group has products of another split joined."""
        now = {id: name for name in ("train", "val", "test") for id in getattr(splits, name)}
        moved = [id for id, name in now.items() if self.sides.get(id, name) != name]
        group = dict(catalog.products.select("id", "group").iter_rows())
        before: dict[str, set[str]] = {}
        for id in now.keys() & self.sides.keys():
            before.setdefault(group[id], set()).add(self.sides[id])
        merged = [id for id in moved if len(before[group[id]]) > 1 and now[id] == "train"]
        self.sides = now
        return {"moved": len(moved), "moved_by_a_merge": len(merged)}


def at_once(shop: Shop, final: pl.DataFrame) -> dict[str, bool]:
    """Whether the catalog of all weeks equals one that is made of the final feed."""
    feed = shop.folder / "final.csv"
    final.write_csv(feed)
    once = attire.ingest(
        feed, shop.photos, shop.folder / "once", options=OPTIONS, taxonomy=shop.folder / "taxonomy.toml"
    )
    weekly = attire.Catalog.load(shop.catalog)
    labels = [catalog.labels.sort(pl.all()) for catalog in (weekly, once)]  # an update appends to a product's labels
    return {
        "labels": labels[0].equals(labels[1]),
        "products": weekly.products.equals(once.products),
        "photos": weekly.photos.select("name", "sha256").equals(once.photos.select("name", "sha256")),
        "feeds": shop.state is not None and shop.state.sort("id").equals(final),
    }


def over_time(shop: Shop, weeks: int) -> Trend:
    """All bundles on the final test split."""
    reports = []
    for number in range(1, weeks + 1):
        reports.append(shop.folder / f"test-{number}")
        attire.evaluate(shop.run(number) / "bundle", shop.catalog, "test", engine="torch", out=reports[-1])
    return attire.trend(reports)


def growth(records: list[dict[str, Any]]) -> dict[str, float]:
    """The CPU seconds of the last week for each new product, beside those of the second week: by step, and together."""

    def ratio(steps: tuple[str, ...]) -> float:
        second, last = (sum(week["cpu_s"][step] for step in steps) / week["new"] for week in (records[1], records[-1]))
        return round(float(last / second), 2)

    return {**{step: ratio((step,)) for step in FOLLOW}, "together": ratio(FOLLOW)}


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(
    data: Path,
    /,
    *,
    weights: Path,
    backbone: str = "resnet18",
    size_px: tuple[int, int] = (96, 72),
    weeks: int = 10,
    products: int | None = None,
    seed: int = 7,
    json_to: Path | None = None,
) -> None:
    """Measure on `products` products, by default all."""
    feed = pl.read_csv(data / "public.csv", infer_schema=False).with_columns(pl.all().fill_null(""))
    plan = cut(feed.sample(products, seed=seed) if products else feed, weeks, CORRECTED, REMOVED, seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for archive in ("public-0.tar", "public-1.tar"):
            with tarfile.open(data / archive) as tar:
                tar.extractall(folder / "photos", filter="data")
        draft(data, folder / "taxonomy.toml")
        recipe = attire.load_recipe("frozen", {"backbone": backbone, "size_px": size_px})
        shop = Shop(folder, folder / "photos", recipe, weights)
        records = []
        for number, week in enumerate(plan.weeks, 1):
            records.append(shop.live_through(number, week))
            console.print_json(json.dumps(records[-1]), indent=None)
        equal = at_once(shop, plan.final)
        trend = over_time(shop, weeks)
    grown = growth(records)
    checks = {
        "no product changed its split but by a merge": all(r["moved"] == r["moved_by_a_merge"] for r in records),
        **{f"the final {what} equal those of one ingest": same for what, same in equal.items()},
        **{f"cost, {step}: at most {GROWTH} times the second week": ratio <= GROWTH for step, ratio in grown.items()},
    }
    for sheet in trend_sheets(trend):
        console.print(sheet.table())
    console.print(trend_verdict(trend))
    console.print_json(json.dumps({"growth": grown, "checks": checks}))
    if json_to is not None:
        content = {
            "command": f"python benchmarks/weeks.py MYNTRA26 --weights {weights.name} --backbone {backbone}",
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "weeks": records,
            "growth": grown,
            "checks": checks,
            "test": {"products": trend.products, "groups": trend.groups, "left_out": trend.left_out},
            "figures": {
                name: [[round(x, 4) for x in (point.value, point.low, point.high)] for point in points]
                for name, points in trend.figures.items()
            },
        }
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
