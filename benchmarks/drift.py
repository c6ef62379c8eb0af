"""Whether drift is found where there is some, and only there, and what becomes of the promise then.

python benchmarks/drift.py BUNDLE CATALOG --work FOLDER [--changes darker ...] [--json FILE] [--plot docs/drift.svg]

The products are those of val, which the bundle has not learned from. *False alarms*: random samples of them against the
bundle's calibration, and random halves against each other. *Real shifts*: older and newer products, some categories,
brands and customers alone, and photos that look different (`support/changed_photos.py`). Of each shift: in how many
random samples it is found, and for all its products, the measured precision of what is filled, for the keys whose
promise can be believed and for those in doubt. Logits and results are kept in the work folder, so that an interrupted
run resumes.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from support.changed_photos import CHANGES, changed_logits
from support.common import machine
from support.plots import GREY, save_plot

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.files import replace_text
from attire.labels import contradicted, labelled
from attire.progress import track
from attire.score.answer_counts import AnswerCounts
from attire.score.decisions import Decisions, with_coarse
from attire.score.drift import Drift, Reference, Verdict, find_drift
from attire.score.promise import Promise

PROMISE = Promise()
FOOTWEAR = ("Casual Shoes", "Sports Shoes", "Heels", "Flip Flops", "Sandals", "Formal Shoes", "Flats")
SPORTS = ("Nike", "ADIDAS", "Puma", "Reebok", "Fila", "Lotto", "Converse", "Wilson", "Speedo")
SMALL = (100, 300)  # products of a sample
OTHERS = [change for change in CHANGES if change != "plain"]
CHECKED = 20  # filled fields with a label that it takes to measure a key's precision
Rows = NDArray[np.int64]


class Answers(NamedTuple):
    """The decisions on products of the catalog, and their rows there."""

    decisions: Decisions
    rows: Rows

    def of(self, chosen: NDArray[Any]) -> Answers:
        """Some of the products, by position or mask."""
        return Answers(Decisions(*(array[chosen] for array in self.decisions)), self.rows[chosen])


class Study:
    """The bundle, the catalog's labels, and the answers for val."""

    def __init__(self, bundle: Path, catalog: Path, work: Path, products: int) -> None:
        self.bundle, self.catalog, self.work, self.products = (
            ModelBundle.load(bundle),
            Catalog.load(catalog),
            work,
            products,
        )
        work.mkdir(parents=True, exist_ok=True)
        self.thresholds = self.bundle.thresholds(PROMISE)
        reference = self.bundle.reference(PROMISE)
        assert reference is not None, "the bundle has no calibration record: train it again"
        self.reference = reference
        self.groups, self.truth = self.catalog.products["group"].to_numpy(), self.catalog.targets()
        self.val = self.catalog.rows_of(Splits.load(self.catalog).val)
        self.plain = self.answers("plain")

    def answers(self, change: str) -> Answers:
        """The answers for photos that were changed: of all products for "plain", else of `products` of them."""
        file = self.work / f"{change.replace(' ', '-')}.npz"
        if not file.is_file():
            rows = self.val
            if change != "plain":
                rows = np.sort(np.random.default_rng(1).permutation(len(rows))[: self.products])
                rows = self.val[rows]
            category, attributes = changed_logits(self.bundle, self.catalog, rows, change)
            np.savez(file, category=category, attributes=attributes, rows=rows)
        saved = np.load(file)
        return Answers(self.bundle.decide(saved["category"], saved["attributes"]), saved["rows"])

    def counts(self, answers: Answers) -> AnswerCounts:
        """Their counts."""
        groups = self.groups[answers.rows].tolist()
        return AnswerCounts.of(self.bundle.taxonomy, answers.decisions, self.thresholds, groups)

    def drift(self, answers: Answers) -> Drift:
        """The drift of some answers."""
        return find_drift(self.reference, self.counts(answers))

    def right(self, answers: Answers) -> tuple[Rows, Rows]:
        """int64[A] twice: filled fields with a label, and those of them that are right."""
        taxonomy, decisions = self.bundle.taxonomy, answers.decisions
        accepted = self.thresholds.accepted(taxonomy, decisions)
        chosen = with_coarse(taxonomy, decisions, accepted.coarse).chosen
        hot = np.asarray(self.truth.hot)[answers.rows]
        checked = accepted.keys & labelled(taxonomy, hot)
        return checked.sum(axis=0), (checked & ~contradicted(taxonomy, hot, chosen)).sum(axis=0)

    def kept(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `compute`, kept in the work folder."""
        file = self.work / f"{name.replace(' ', '-')}.json"
        if not file.is_file():
            replace_text(file, json_module.dumps(compute()))
        result: dict[str, Any] = json_module.loads(file.read_text(encoding="utf-8"))
        return result

    def shifts(self, changes: list[str]) -> Iterator[tuple[str, Answers]]:
        """Every shift with its answers."""
        products, rows = self.catalog.products, self.plain.rows
        order = np.array(products["id"].gather(rows).cast(int).to_list()).argsort()  # ids were given in order of time
        third = len(order) // 3
        category = products["category"].gather(rows)
        brand = products["title"].gather(rows)
        customer = np.asarray(self.truth.hot)[rows][:, self.bundle.taxonomy.columns["ideal_for"]]
        values = self.bundle.taxonomy.keys["ideal_for"].values
        child = np.asarray(
            customer[:, [values.index(value) for value in values if value in ("Boys", "Girls")]].any(axis=1)
        )
        yield "no shift", self.plain
        yield "the oldest third", self.plain.of(order[:third])
        yield "the newest third", self.plain.of(order[-third:])
        yield "footwear only", self.plain.of(category.is_in(FOOTWEAR).to_numpy())
        yield "no footwear", self.plain.of(~category.is_in(FOOTWEAR).to_numpy())
        yield "T-shirts only", self.plain.of(category.is_in(["Tshirts"]).to_numpy())
        yield "sports brands only", self.plain.of(brand.str.contains(rf"^(?i)({'|'.join(SPORTS)})\b").to_numpy())
        yield "for children only", self.plain.of(child)
        for change in changes:
            yield change, self.answers(change)


def main(
    bundle: Path,
    catalog: Path,
    *,
    work: Path,
    products: int = 900,
    resamples: int = 200,
    changes: Annotated[list[str], Parameter(consume_multiple=True)] = OTHERS,
    json: Path | None = None,
    plot_to: Annotated[Path | None, Parameter(name="--plot")] = None,
) -> None:
    """Measure false alarms, then real shifts."""
    study = Study(bundle, catalog, work, products)
    result: dict[str, Any] = {
        "machine": machine(),
        "products": {"calibration": study.reference.counts.products, "val": len(study.val)},
        "false_alarms": list(false_alarms(study, resamples)),
        "shifts": [
            study.kept(name, partial(shift_row, study, name, answers, resamples // 8))
            for name, answers in study.shifts(changes)
        ],
    }
    text = json_module.dumps(result, indent=1)
    if json is None:
        print(text)  # noqa: T201
    else:
        json.write_text(text, encoding="utf-8")
    if plot_to is not None:
        plot(result["shifts"], plot_to)


def false_alarms(study: Study, resamples: int) -> Iterator[dict[str, Any]]:
    """In how many random samples there is an alarm, by size; and in halves that are compared with each other."""
    count = len(study.val)

    def against_calibration(size: int) -> dict[str, Any]:
        rng = np.random.default_rng(size)
        samples = (study.plain.of(rng.permutation(count)[:size]) for _ in range(resamples))
        found = [study.drift(sample) for sample in track(samples, f"samples of {size}", "samples", resamples)]
        return {"against": "the calibration", "products": size, **_rates(found)}

    def against_each_other() -> dict[str, Any]:
        rng, found = np.random.default_rng(0), []
        for _ in track(range(resamples), "halves", "halves"):
            order = rng.permutation(count)
            halves = order[: count // 2], order[count // 2 :]
            first, second = (study.counts(study.plain.of(half)) for half in halves)
            unknown = np.full(len(first.words), np.nan)
            found.append(find_drift(Reference(first, unknown, study.reference.promised), second))
        return {"against": "the other half", "products": count - count // 2, **_rates(found)}

    for size in (*SMALL, count // 2):
        yield study.kept(f"samples of {size}", lambda size=size: against_calibration(size))  # type: ignore[misc]
    yield study.kept("halves", against_each_other)


def _rates(found: list[Drift]) -> dict[str, Any]:
    alarms = sum(bool(drift.alarms) for drift in found)
    return {"samples": len(found), "with an alarm": alarms, "with doubt": sum(bool(drift.doubted) for drift in found)}


def shift_row(study: Study, name: str, answers: Answers, resamples: int) -> dict[str, Any]:
    """What is found for a shift, and what is true."""
    rng, drift = np.random.default_rng(0), study.drift(answers)
    checked, right = study.right(answers)
    keys = drift.keys[:-1]  # without the category
    doubted = np.array([key.doubted for key in keys])
    promised = ~np.isnan([key.promised for key in keys])
    enough = promised & (checked >= CHECKED)
    below = right < PROMISE.precision * checked
    filled, expected = drift.now.filled[:-1], np.array([key.expected for key in keys])
    detected = {
        str(size): sum(
            bool(study.drift(answers.of(rng.permutation(len(answers.rows))[:size])).alarms) for _ in range(resamples)
        )
        / resamples
        for size in SMALL
        if size < len(answers.rows)
    }

    def precision(chosen: NDArray[np.bool_]) -> float | None:
        return float(right[chosen].sum() / checked[chosen].sum()) if checked[chosen].any() else None

    return {
        "shift": name,
        "products": len(answers.rows),
        "alarms": len(drift.alarms),
        "less sure": sum(key.verdict == Verdict.LESS_SURE for key in drift.keys),
        "in doubt": len(drift.doubted),
        "found in samples of": detected,
        "filled per product": float(filled.sum() / len(answers.rows)),
        "precision": precision(promised),
        "expected precision": float(np.nansum(filled * expected) / filled.sum()),
        "precision of believed keys": precision(promised & ~doubted),
        "precision of keys in doubt": precision(promised & doubted),
        "believed keys measured below the promise": [
            int((enough & ~doubted & below).sum()),
            int((enough & ~doubted).sum()),
        ],
        "keys in doubt measured below the promise": [
            int((enough & doubted & below).sum()),
            int((enough & doubted).sum()),
        ],
    }


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """For each shift the precision of filled fields, of the keys that are believed and of those in doubt."""
    import altair as alt

    names = {"precision of believed keys": "can be believed", "precision of keys in doubt": "in doubt"}
    points = [
        {"shift": row["shift"], "keys whose promise": words, "precision": row[field]}
        for row in rows
        for field, words in names.items()
        if row[field] is not None
    ]
    scale = alt.Scale(domain=[min(0.8, *(point["precision"] for point in points)), 1])
    y = alt.Y("shift:N", title=None, sort=None, scale=alt.Scale(domain=[row["shift"] for row in rows]))
    y = y.axis(labelLimit=200)
    x = alt.X("precision:Q", title="measured precision of filled fields", scale=scale, axis=alt.Axis(format=".0%"))
    legend = alt.Legend(orient="bottom")
    shape = alt.Shape("keys whose promise:N", scale=alt.Scale(range=["circle", "diamond"]), legend=legend)
    colour = alt.Color("keys whose promise:N", scale=alt.Scale(range=["#3a86c8", "#e07020"]), legend=legend)
    marks = alt.Chart(alt.InlineData(values=points)).mark_point(filled=True, size=90, opacity=1)
    rule = alt.Chart(alt.InlineData(values=[{"precision": PROMISE.precision}])).mark_rule(color=GREY, strokeDash=[5, 4])
    chart = alt.layer(rule.encode(x=x), marks.encode(x=x, y=y, shape=shape, color=colour))
    chart = chart.properties(width=360, height=alt.Step(20))
    save_plot(chart, file)


if __name__ == "__main__":
    cyclopts.run(main)
