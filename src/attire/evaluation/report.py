"""The report of an evaluation as one document, saved as `scores.json`."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from attire.errors import ReportError
from attire.evaluation.baselines import MODE, MODE_WITHIN_CATEGORY, MODE_WITHIN_PREDICTED
from attire.evaluation.evidence import Evidence
from attire.evaluation.promise_scores import advantage, category_promises, filled_category, key_promises
from attire.evaluation.split_summary import Division
from attire.records import read_as
from attire.score.decisions import Decisions
from attire.score.intervals import RESAMPLES, intervals
from attire.score.label_errors import CorrectedPrecision
from attire.score.metrics import Floats, headline, match, per_category, per_key, weighted
from attire.score.verdicts import KeyPromise

SCORES = "scores.json"
Figure = Annotated[  # JSON has no nan
    float,
    BeforeValidator(lambda value: float("nan") if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Frozen):
    """A figure with its 95% bootstrap interval."""

    value: Figure
    low: Figure
    high: Figure


class KeyScores(_Frozen):
    """Figures of one key. `mode_iou` is the IoU of its most frequent value within the true category.

    coarse_iou: IoU of the values' last ancestors; missing if no value has a parent.
    filled: number of known pairs that are filled; None without fitted thresholds. right_filled: those that are right.
    promised: the precision that was promised for them; null for a key that is held back, for the reason `held_back`.
    lookup_iou: as `mode_iou`, within the predicted category. beats_lookup: whether `iou` is above it beyond chance;
    None without answers to compare.
    """

    key: str
    known: int
    predicted: int
    iou: Figure
    mode_iou: Figure
    coarse_iou: Figure = Field(default_factory=lambda: math.nan, exclude_if=math.isnan)
    accuracy: Figure
    spurious_rate: Figure
    map: Figure
    filled: int | None = None
    right_filled: int | None = None
    promised: Figure = math.nan
    held_back: str = ""
    lookup_iou: Figure = math.nan
    beats_lookup: bool | None = None


class CategoryScores(_Frozen):
    """Figures of one category and of the attributes of its products. `mode_iou`, `filled` and so on: see `KeyScores`.

    promised: the mean of what was promised for the filled fields.
    """

    category: str
    products: int
    predicted: int
    precision: Figure
    recall: Figure
    f1: Figure
    known: int
    iou: Figure
    mode_iou: Figure
    spurious_rate: Figure
    filled: int | None = None
    right_filled: int | None = None
    promised: Figure = math.nan


class FilledCategory(_Frozen):
    """How often the category is filled, of the products where it is known. `promised` and so on: see `KeyScores`."""

    known: int
    filled: int
    right_filled: int
    promised: Figure
    held_back: str


class Counts(_Frozen):
    """The amount of evidence behind the figures."""

    products: int
    # Products of the split that are not scored, because the bundle learned from their groups.
    left_out: int = Field(default=0, exclude_if=operator.not_)
    unanswered: int  # products without a readable photo; their known pairs score 0
    groups: int
    known_pairs: int
    predicted_pairs: int
    categories: int  # in category_f1
    keys: int  # in macro_iou
    values: int  # in map


class Provenance(_Frozen):
    """The bundle, data and settings of an evaluation. Digests are SHA-256."""

    bundle: str
    catalog: str
    split: str  # name of the split, "all", or "N chosen products"
    splits: str | None  # digest of splits.json; None for the whole catalog
    seed: int | None  # of the split
    attire: str
    inputs: Literal["photo", "title", "both"] = "photo"
    engine: str = "torch"


class Report(_Frozen):
    """The content of `scores.json`. A figure without evidence is nan (null in JSON)."""

    version: Literal[1] = 1
    provenance: Provenance
    counts: Counts
    figures: dict[str, Score]
    baselines: dict[str, dict[str, Figure]] = Field(default_factory=dict)
    keys: tuple[KeyScores, ...]
    categories: tuple[CategoryScores, ...]
    # None without fitted thresholds, and in earlier reports.
    filled_category: FilledCategory | None = Field(default=None, exclude_if=operator.not_)
    division: Division | None = None  # None unless a split was evaluated
    # The precision of filled fields without the effect of wrong labels; None unless people judged a sample of them.
    corrected: CorrectedPrecision | None = Field(default=None, exclude_if=operator.not_)
    notes: tuple[str, ...] = ()  # warnings about the figures, as sentences

    @classmethod
    def of(cls, report: Report | str | Path) -> Report:
        """The report itself, or the one in that directory."""
        return cls.load(report) if isinstance(report, str | Path) else report

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read the scores in a report's directory; raises `ReportError` if they are missing or damaged."""
        file = Path(folder) / SCORES
        try:
            return read_as(file, Report)
        except (FileNotFoundError, NotADirectoryError):
            raise ReportError(
                f"{folder} has no {SCORES}: expected a directory written by 'attire evaluate --out'."
            ) from None
        except OSError as error:
            raise ReportError(f"{file} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise ReportError(f"{file} is damaged ({error}): run 'attire evaluate' again.") from None

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields of `keys`, without the coarse IoU if no value has a parent."""
        return tuple(name for name in KeyScores.model_fields if name != "coarse_iou" or name in self.figures)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {score.value:.3f}" for name, score in self.figures.items())
        return f"<Report of {self.counts.products:,} products: {figures}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{score.value:.3f}</td>"
            f"<td>{score.low:.3f} to {score.high:.3f}</td></tr>"
            for name, score in self.figures.items()
        )
        head = "<tr><th>figure</th><th>value</th><th>95% interval</th></tr>"
        return f"<p>{self.counts.products:,} products, {escape(self.provenance.split)}</p><table>{head}{rows}</table>"


def score_report(
    evidence: Evidence,
    baselines: Mapping[str, Decisions],
    provenance: Provenance,
    division: Division | None = None,
    notes: Sequence[str] = (),
    left_out: int = 0,
    promises: Sequence[KeyPromise] = (),
    category_promise: KeyPromise | None = None,
    corrected: CorrectedPrecision | None = None,
    resamples: int = RESAMPLES,
) -> Report:
    """Score answers and `baselines` on the same products, with bootstrap intervals over groups (nan for 0 resamples).

    left_out: number of products of the split that are not in `evidence`. promises, category_promise: the promise of
    each key, and of the category, at which fields are filled; none if nothing was promised.
    """
    taxonomy, matches = evidence.taxonomy, evidence.matches
    rivals = {name: match(taxonomy, evidence.truth, rival) for name, rival in baselines.items()}
    mode, lookup = rivals.get(MODE_WITHIN_CATEGORY), rivals.get(MODE_WITHIN_PREDICTED)

    def resampled(weights: NDArray[np.floating]) -> dict[tuple[str, str], Floats]:
        figures = {("figure", name): values for name, values in weighted(matches, weights).items()}
        margins = advantage(matches, lookup, weights) if lookup else ()
        return figures | {("key", name): values for name, values in zip(taxonomy.keys, margins, strict=False)}

    interval = intervals(resampled, evidence.groups, resamples)
    unknown = np.full(max(taxonomy.applies.shape), np.nan)
    keys: dict[str, Any] = per_key(taxonomy, matches) | key_promises(matches, promises)
    categories: dict[str, Any] = per_category(matches) | category_promises(matches, promises)
    for name, rival in (("mode_iou", mode), ("lookup_iou", lookup)):
        keys[name] = per_key(taxonomy, rival)["iou"] if rival else unknown[: len(taxonomy.keys)]
    answers = (matches.known & matches.predicted).sum(axis=0)
    keys["beats_lookup"] = [
        bool(interval["key", name].low > 0) if lookup and count and resamples else None
        for name, count in zip(taxonomy.keys, answers, strict=True)
    ]
    category = None if category_promise is None else filled_category(matches, category_promise)
    categories["mode_iou"] = per_category(mode)["iou"] if mode else unknown[: len(taxonomy.categories)]
    return Report(
        provenance=provenance,
        counts=_counts(evidence, left_out),
        figures={
            name: Score(value=value, low=interval["figure", name].low, high=interval["figure", name].high)
            for name, value in headline(matches).items()
        },
        baselines={name: _baseline_figures(name, headline(rival)) for name, rival in rivals.items()},
        keys=tuple(KeyScores(**row) for row in _rows({"key": list(taxonomy.keys), **keys})),
        categories=tuple(CategoryScores(**row) for row in _rows({"category": taxonomy.categories, **categories})),
        filled_category=None if category is None else FilledCategory(**category),
        division=division,
        corrected=corrected,
        notes=tuple(notes),
    )


def json_schema() -> str:
    """The JSON schema of `scores.json`, published as docs/scores.schema.json."""
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=1) + "\n"


def _baseline_figures(name: str, figures: Mapping[str, float]) -> dict[str, float]:
    """The figures without those of the category, for the baselines that are given a category."""
    omitted = () if name == MODE else ("category_accuracy", "category_f1")
    return {figure: np.nan if figure in omitted else value for figure, value in figures.items()}


def _counts(evidence: Evidence, left_out: int) -> Counts:
    matches = evidence.matches
    return Counts(
        products=len(evidence.ids),
        left_out=left_out,
        unanswered=int((evidence.decisions.category < 0).sum()),
        groups=len(set(evidence.groups)),
        known_pairs=int(matches.known.sum()),
        predicted_pairs=int(matches.predicted.sum()),
        categories=int(matches.true_category.any(axis=0).sum()),
        keys=int(matches.counted.sum()),
        values=len(matches.rankings),
    )


def _rows(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
