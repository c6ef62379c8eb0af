"""What an evaluation found, as one document: computed here, saved as `scores.json`, read by people in other shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from attire.evaluation.baselines import MODE_WITHIN_CATEGORY
from attire.labels import Targets
from attire.score.bootstrap import intervals
from attire.score.decisions import Decisions
from attire.score.metrics import MIN_LABELS, Matches, headline, match, per_category, per_key, weighted
from attire.taxonomy import Taxonomy

Figure = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]  # JSON has no nan


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Frozen):
    """A figure with its 95% bootstrap interval."""

    value: Figure
    low: Figure
    high: Figure


class KeyScores(_Frozen):
    """One attribute key; `mode_iou` is the IoU of its most frequent value within the true category."""

    key: str
    known: int
    predicted: int
    iou: Figure
    mode_iou: Figure = np.nan
    accuracy: Figure
    spurious_rate: Figure
    map: Figure


class CategoryScores(_Frozen):
    """One category, and the attributes of its products; `mode_iou` as in `KeyScores`."""

    category: str
    products: int
    predicted: int
    precision: Figure
    recall: Figure
    f1: Figure
    known: int
    iou: Figure
    mode_iou: Figure = np.nan
    spurious_rate: Figure


class Counts(_Frozen):
    """How much evidence the figures rest on."""

    products: int
    unanswered: int  # products without a readable photo: every known pair of theirs scores 0
    groups: int
    known_pairs: int
    predicted_pairs: int
    categories: int  # in category_f1
    keys: int  # in macro_iou
    values: int  # in map


class Provenance(_Frozen):
    """What was evaluated on what. Digests are SHA-256."""

    bundle: str
    catalog: str
    split: str
    splits: str | None  # digest of the split; None where the whole catalog was taken
    seed: int | None  # of the split
    attire: str
    inputs: Literal["photo", "title", "both"] = "photo"  # what each product was answered from


class Report(_Frozen):
    """The content of `scores.json`. A figure is nan (in JSON, null) where there is no evidence for it."""

    version: Literal[1] = 1
    provenance: Provenance
    counts: Counts
    figures: dict[str, Score]
    baselines: dict[str, dict[str, Figure]] = Field(default_factory=dict)
    keys: tuple[KeyScores, ...]
    categories: tuple[CategoryScores, ...]


def score_report(
    taxonomy: Taxonomy,
    truth: Targets,
    decisions: Decisions,
    groups: Sequence[str],
    baselines: Mapping[str, Decisions],
    provenance: Provenance,
    accepted: NDArray[np.bool_] | None = None,
) -> Report:
    """Score `decisions` on N products against `truth`, with intervals over `groups` and beside `baselines`.

    accepted: bool[N, A], the answers sure enough for 95% precision; None where no threshold was fitted.
    """
    matches = match(taxonomy, truth, decisions, accepted)
    interval = intervals(lambda weights: weighted(matches, weights), groups)
    rivals = {name: match(taxonomy, truth, rival) for name, rival in baselines.items()}
    keys, categories = per_key(taxonomy, matches), per_category(matches)
    if mode := rivals.get(MODE_WITHIN_CATEGORY):
        keys["mode_iou"], categories["mode_iou"] = per_key(taxonomy, mode)["iou"], per_category(mode)["iou"]
    return Report(
        provenance=provenance,
        counts=_counts(matches, decisions, groups),
        figures={
            name: Score(value=value, low=interval[name].low, high=interval[name].high)
            for name, value in headline(matches).items()
        },
        baselines={name: _without_given(name, headline(rival)) for name, rival in rivals.items()},
        keys=tuple(KeyScores(**row) for row in _rows({"key": list(taxonomy.keys), **keys})),
        categories=tuple(CategoryScores(**row) for row in _rows({"category": taxonomy.categories, **categories})),
    )


def _without_given(name: str, figures: Mapping[str, float]) -> dict[str, float]:
    given = ("category_accuracy", "category_f1") if name == MODE_WITHIN_CATEGORY else ()
    return {figure: np.nan if figure in given else value for figure, value in figures.items()}


def _counts(matches: Matches, decisions: Decisions, groups: Sequence[str]) -> Counts:
    return Counts(
        products=len(groups),
        unanswered=int((decisions.category < 0).sum()),
        groups=len(set(groups)),
        known_pairs=int(matches.known.sum()),
        predicted_pairs=int(matches.predicted.sum()),
        categories=int(matches.true_category.any(axis=0).sum()),
        keys=int((matches.known.sum(axis=0) >= MIN_LABELS).sum()),
        values=len(matches.rankings),
    )


def _rows(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
