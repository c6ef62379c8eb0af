"""How many wrong labels are found: labels of a catalog are flipped, and must be ranked before all others.

python benchmarks/audit.py CATALOG --weights FILE --work FOLDER [--seeds 3] [--only uniform-10-0] [--json F] [--plot F]

Flips 5, 10 or 20% of all known labels and categories: to any other value of the key (uniform), or to a value that the
network confuses with the stated one, as often as it does so (confusion). Heads are trained on cached embeddings in 3
folds (attire audit has 5), once for each setting and seed; their answers stay in FOLDER, so that an interrupted run
continues. From the same answers, calibrated, all labels are ranked by

  attire        the probability that the label is wrong (attire/auditing)
  disagreement  labels that the network contradicts first, by its confidence
  cleanlab: ... cleanlab's label quality of each key, pooled: its three scores, and the issues that it finds first

precision: the share of flipped labels among the first k, where k is their number. AUPRC: the area under the curve of
precision and recall (average precision). Labels that were wrong before count as right, for all methods.
cleanlab (AGPL-3.0) is not part of attire: pip install cleanlab.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import average_precision_score
from support.common import machine, table
from support.plots import save_plot
from support.quick_heads import SMALL, QuickHeads
from support.wrong_labels import Flips, confusion_of, flip

from attire import Catalog, Splits, load_recipe
from attire.auditing.doubts import SUSPICIOUS, count_anchors, doubts, mean_rate
from attire.auditing.field_labels import FieldLabels, calibrated, field_labels
from attire.files import replacing
from attire.training.fold_answers import OutOfFold
from attire.training.folds import divide

RATES, KINDS, FOLDS = (0.05, 0.1, 0.2), ("uniform", "confusion"), 3
ATTIRE, DISAGREEMENT = "attire", "disagreement"
Scores = NDArray[np.float64]


class Setting(NamedTuple):
    """A kind and rate of flips, and the seed of flips and heads."""

    kind: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{round(self.rate * 100)}-{self.seed}"


def ranked(fields: list[FieldLabels]) -> dict[str, list[Scores]]:
    """For each method, the scores of the labels of each field, higher for wrong ones."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    every = [np.ones(len(field.rows), dtype=bool) for field in fields]
    rate = mean_rate([(field, count_anchors(field, rows)) for field, rows in zip(fields, every, strict=True)])
    scores: dict[str, list[Scores]] = {
        ATTIRE: [doubts(field, rows, rate).wrong for field, rows in zip(fields, every, strict=True)],
        DISAGREEMENT: [_disagreement(field) for field in fields],
    }
    labels = [field.stated.argmax(axis=1) for field in fields]
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        quality = [
            get_label_quality_scores(stated, field.probability, method=method, adjust_pred_probs=False)
            for stated, field in zip(labels, fields, strict=True)
        ]
        scores[f"cleanlab: {method.replace('_', ' ')}"] = [-values for values in quality]
    issues = [
        find_label_issues(stated, field.probability, n_jobs=1)
        if len(np.unique(stated)) > 1
        else np.zeros(len(stated), dtype=bool)
        for stated, field in zip(labels, fields, strict=True)
    ]
    own = scores["cleanlab: self confidence"]
    scores["cleanlab: issues first"] = [values + found for values, found in zip(own, issues, strict=True)]
    return scores


def _disagreement(field: FieldLabels) -> Scores:
    confidence = field.probability.max(axis=1)
    agrees = field.probability.argmax(axis=1) == field.stated.argmax(axis=1)
    return np.asarray(np.where(agrees, -confidence, 1 + confidence))


def compare(answers: OutOfFold, flips: Flips) -> dict[str, Any]:
    """Precision at k and AUPRC of each method, and how many of attire's suspects are flipped."""
    taxonomy = flips.catalog.taxonomy
    fields = [*field_labels(taxonomy, answers, calibrated(taxonomy, answers))]
    fields = [field for field in fields if len(field.rows)]
    place = {name: number for number, name in enumerate(taxonomy.keys)}
    wrong = np.concatenate([flips.flipped[field.rows, place.get(field.key, -1)] for field in fields])
    count = int(wrong.sum())
    result: dict[str, Any] = {"labels": len(wrong), "flipped": count, "precision": {}, "auprc": {}}
    for method, of_fields in ranked(fields).items():
        scores = np.concatenate(of_fields)
        first = np.argsort(-scores, kind="stable")[:count]
        result["precision"][method] = round(float(wrong[first].mean()), 4)
        result["auprc"][method] = round(float(average_precision_score(wrong, scores)), 4)
        if method == ATTIRE:
            suspects = scores >= SUSPICIOUS
            shares = wrong[suspects].mean(), wrong[suspects].sum() / count
            result["suspects"] = dict(zip(("precision", "recall"), (round(float(x), 4) for x in shares), strict=True))
    return result


class Simulation:
    """Flips labels of a catalog, and keeps the answers of heads that learned them in `work`."""

    def __init__(self, catalog: Catalog, weights: Path, work: Path, backbone: str, size_px: tuple[int, int]) -> None:
        self.catalog, self.weights, self.work = catalog, weights, work
        self.recipe = load_recipe("audit", {"backbone": backbone, "size_px": list(size_px), **SMALL})
        splits = Splits.of(None, catalog)
        self.ids = sorted((*splits.train, *splits.val))
        parts = divide(catalog, self.ids, FOLDS, splits.seed)
        self.folds = [(catalog.rows_of(others), catalog.rows_of(own)) for others, own in parts]
        self.heads: QuickHeads | None = None

    def flips(self, setting: Setting) -> Flips:
        """The catalog of a setting."""
        confusion = None if setting.kind == "uniform" else self.confusion
        return flip(self.catalog, setting.rate, setting.seed, confusion)

    @cached_property
    def confusion(self) -> NDArray[np.float64]:
        """What heads confuse that learned all labels as they are stated."""
        taxonomy, clean = self.catalog.taxonomy, self.answers(self.catalog, "clean", 0)
        probabilities = calibrated(taxonomy, clean)
        return confusion_of(taxonomy, clean.truth, probabilities.category, probabilities.values)

    def answers(self, catalog: Catalog, name: str, seed: int) -> OutOfFold:
        """The answers of heads that learned the labels of `catalog`, from the file `name` if it is there."""
        file = self.work / f"{name}.npz"
        if not file.is_file():
            torch.manual_seed(0)
            self.heads = self.heads or QuickHeads(self.catalog, self.recipe, self.weights)
            category, attributes = self.heads.out_of_fold(catalog.targets(), self.folds, seed)
            with replacing(file) as temporary, temporary.open("wb") as opened:
                np.savez(opened, category=category, attributes=attributes)
        saved = np.load(file)
        rows = self.catalog.rows_of(self.ids)
        every = np.arange(len(self.catalog))
        whole = OutOfFold(every, every * 0 + 1, catalog.targets(), saved["category"], saved["attributes"], every >= 0)
        return whole.at(np.sort(rows))


def plot(records: list[dict[str, Any]], file: Path) -> None:
    """Precision at k by the share of flipped labels, a panel for each kind of flips; the bars show the seeds' range."""
    import altair as alt

    shown = [ATTIRE, "cleanlab: self confidence", "cleanlab: normalized margin", "cleanlab: issues first", DISAGREEMENT]
    points = [
        {"kind": f"{r['kind']} flips", "rate": r["rate"], "method": m, "precision": r["precision"][m]}
        for r in records
        for m in shown
    ]
    x = alt.X("rate:Q", title="labels flipped", scale=alt.Scale(zero=False, nice=False, padding=12))
    x = x.axis(values=list(RATES), format="%", grid=False)
    scale = alt.Scale(domain=[0.4, 1])
    y = alt.Y("mean(precision):Q", title="flipped among the first k", scale=scale)
    legend = alt.Legend(orient="bottom", columns=2, symbolOpacity=1)
    colour = alt.Color("method:N", title=None, sort=shown, legend=legend)
    lines = alt.Chart().mark_line(point=True).encode(x=x, y=y.axis(tickCount=5, format="%"), color=colour)
    ranges = (
        alt.Chart()
        .mark_rule(strokeWidth=2)
        .encode(x=x, y=alt.Y("min(precision):Q", scale=scale), y2="max(precision):Q", color=colour)
    )
    panels = alt.layer(ranges, lines).properties(width=260, height=240)
    chart = panels.facet(
        column=alt.Column("kind:N", title=None, sort=["uniform flips"]), data=alt.InlineData(values=points)
    )
    save_plot(chart, file)


def _means(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each setting, figure and method: the mean of the seeds, beside that of attire."""
    for kind in KINDS:
        for rate in RATES:
            of_setting = [r for r in records if (r["kind"], r["rate"]) == (kind, rate)]
            for figure in ("precision", "auprc") if of_setting else ():
                means = {m: float(np.mean([r[figure][m] for r in of_setting])) for m in of_setting[0][figure]}
                for method, value in means.items():
                    what, ratio = f"{kind} {rate:.0%}, {figure}: {method}", value / means[ATTIRE]
                    yield {"what": what, "value": value, "unit": "", "ratio": ratio, "against": ATTIRE}


def main(
    catalog: Path,
    /,
    *,
    weights: Path,
    work: Path,
    backbone: str = "tf_efficientnet_lite0",
    size_px: tuple[int, int] = (224, 168),
    seeds: int = 3,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    json_to: Annotated[Path | None, Parameter(name="--json")] = None,
    plot_to: Annotated[Path | None, Parameter(name="--plot")] = None,
) -> None:
    """Simulate; `only` names settings, such as uniform-10-0."""
    work.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(Catalog.load(catalog), weights, work, backbone, size_px)
    settings = [Setting(kind, rate, seed) for seed in range(seeds) for rate in RATES for kind in KINDS]
    records = []
    for setting in settings:
        if only and setting.name not in only:
            continue
        record = work / f"{setting.name}.json"
        if not record.is_file():
            flips = simulation.flips(setting)
            found = compare(simulation.answers(flips.catalog, setting.name, setting.seed), flips)
            record.write_text(json.dumps(setting._asdict() | found), encoding="utf-8")
        records.append(json.loads(record.read_text(encoding="utf-8")))
    console = Console()
    console.print(table("Wrong labels found", [*_means(records)]))
    ahead = all(
        record[figure][ATTIRE] > max(value for method, value in record[figure].items() if method != ATTIRE)
        for record in records
        for figure in ("precision", "auprc")
    )
    console.print(f"attire ahead of every other method in every setting and seed: {ahead}")
    if json_to is not None:
        content = {
            "command": f"python benchmarks/audit.py CATALOG --weights {weights.name} --work FOLDER",
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "folds": FOLDS,
            "heads": SMALL,
            "ahead": ahead,
            "settings": records,
        }
        json_to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if plot_to is not None:
        plot(records, plot_to)


if __name__ == "__main__":
    cyclopts.run(main)
