"""Whether the promise is kept, key by key and category by category: tables and sentences of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from attire.evaluation.report import CategoryScores, FilledCategory, KeyScores, Report
from attire.evaluation.tables import Sheet, number
from attire.score.intervals import wilson
from attire.score.verdicts import Verdict, chances, judge
from attire.taxonomy import CATEGORY, key_label

HEADER = ("verdict", "right", "95% interval", "promised", "known", "filled", "coverage")
HELD_BACK, LOOKUP = "held back", "≈ lookup"
SHOWN = 8  # names in a sentence
MEANINGS = {
    "filled": "fields with a label that are filled at the promised precision; fields without a label are filled too, "
    "but cannot be checked here",
    "coverage": "filled, divided by known",
    "right": "share of the filled fields whose values were all stated, with Wilson's 95% interval",
    "promised": "the precision that is promised for the filled fields; of a category, the mean over its filled fields",
    Verdict.KEPT.value: "right at least as often as promised",
    Verdict.NOT_SHOWN.value: "right less often than promised, but by no more than chance can do",
    Verdict.BROKEN.value: "right less often than promised beyond chance: the whole interval is below the promise",
    Verdict.FEW.value: "right at least as often as promised, but of so few fields that this says little",
    HELD_BACK: "nothing is promised for the key, so none of its fields is filled",
    LOOKUP: "the key's IoU is not above that of the most frequent value of the predicted category, or not beyond "
    "chance. A list with one value per category would answer as well: the key follows from the category, cannot be "
    "seen in photos, or has too few labels to tell",
}


class FilledRow(NamedTuple):
    """Filled fields of a key or category with a label: `right` of `filled`, of `known` fields."""

    name: str
    known: int
    filled: int
    right: int
    promised: float  # nan if nothing is promised
    notes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the known fields that are filled; nan without known fields."""
        return self.filled / self.known if self.known else np.nan

    @property
    def precision(self) -> float:
        """Share of the filled fields that are right; nan without filled fields."""
        return self.right / self.filled if self.filled else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the precision."""
        low, high = wilson(self.right, self.filled)
        return float(low), float(high)

    @property
    def verdict(self) -> Verdict | None:
        """What the filled fields say about the promise; None without any, or without a promise."""
        return judge(self.filled, self.right, self.promised) if self.filled and self.promised > 0 else None


def key_rows(report: Report) -> list[FilledRow]:
    """A row per key; none without fitted thresholds."""
    return [_row(scores.key, scores, tuple(_notes(scores))) for scores in report.keys if scores.filled is not None]


def category_row(report: Report) -> FilledRow | None:
    """The row of the category; None without fitted thresholds, and in earlier reports."""
    scores = report.filled_category
    return None if scores is None else _row(key_label(CATEGORY), scores, tuple(_held_back(scores)))


def promise_sheets(report: Report) -> tuple[Sheet, Sheet]:
    """Two sheets: the promise by key, and by category; without rows if no thresholds were fitted."""
    keys, category = key_rows(report), category_row(report)
    rows = [*([_total(keys)] if keys else []), *([category] if category else []), *keys]
    categories = [_row(scores.category, scores) for scores in report.categories if scores.filled is not None]
    return (
        Sheet(
            "Promise by key",
            ("key", *HEADER),
            tuple(map(_cells, rows)),
            HEADER[:1],
        ),
        Sheet("Promise by category", ("category", *HEADER), tuple(map(_cells, categories)), HEADER[:1]),
    )


def promise_sentences(report: Report) -> list[str]:
    """What the tables come to: the verdicts, how many of them chance would give, lookups, and wrong labels."""
    rows = key_rows(report)
    if not rows:
        return []
    judged = [row for row in rows if row.verdict]
    if not judged:
        return ["No field with a label is filled, so there is no promise to check."]
    found = {verdict: [row.name for row in judged if row.verdict == verdict] for verdict in Verdict}
    parts = [
        f"{verdict} for {len(names)}" + (f" ({_some(names)})" if verdict != Verdict.KEPT else "")
        for verdict, names in found.items()
        if names
    ]
    chance = [chances(row.filled, row.promised) for row in judged]
    broken = sum(one[Verdict.BROKEN] for one in chance)
    below = broken + sum(one[Verdict.NOT_SHOWN] for one in chance)
    sentences = [
        f"Of {len(judged)} keys with filled fields, the promise is {', '.join(parts)}. If every key were right exactly "
        f"as often as promised, chance alone would call {broken:.1f} of them broken, and measure {below:.0f} below the "
        "promise."
    ]
    if lookups := [scores.key for scores in report.keys if scores.beats_lookup is False]:
        sentences.append(
            f"Marked {LOOKUP}, because not shown to be better than the most frequent value of the predicted category: "
            f"{_some(lookups)}."
        )
    return sentences + _category_sentence(report) + correction(report)


def _category_sentence(report: Report) -> list[str]:
    row = category_row(report)
    if row is None or not row.filled:
        return []
    low, high = row.interval
    return [
        f"The category is filled for {row.filled:,} of {row.known:,} products, {number(row.precision)} of them rightly "
        f"({number(low)} to {number(high)}); promised {number(row.promised)}: {row.verdict}."
    ]


def correction(report: Report) -> list[str]:
    """The precision beside the one that is corrected for wrong labels, as one sentence; none without judged fields."""
    corrected = report.corrected
    if corrected is None:
        return []
    disputed = corrected.contradicting
    return [
        f"Precision of filled fields: measured against the labels of the feeds {number(corrected.measured)}; corrected "
        f"for wrong labels found in review {number(corrected.value)} ({number(corrected.low)} to "
        f"{number(corrected.high)}), from {corrected.judged:,} judged fields. Of {disputed.judged:,} judged answers "
        f"that contradict the label, {disputed.right:,} are right."
    ]


def _row(name: str, scores: KeyScores | CategoryScores | FilledCategory, notes: tuple[str, ...] = ()) -> FilledRow:
    return FilledRow(name, scores.known, scores.filled or 0, scores.right_filled or 0, scores.promised, notes)


def _held_back(scores: KeyScores | FilledCategory) -> Iterable[str]:
    if np.isnan(scores.promised):
        yield f"{HELD_BACK}: {scores.held_back}" if scores.held_back else HELD_BACK


def _notes(scores: KeyScores) -> Iterable[str]:
    yield from _held_back(scores)
    if scores.beats_lookup is False:
        yield LOOKUP


def _total(rows: Sequence[FilledRow]) -> FilledRow:
    """All keys together. What is promised is the mean over the filled fields."""
    known, filled, right = (sum(counts) for counts in zip(*(row[1:4] for row in rows), strict=True))
    promised = sum(row.filled * row.promised for row in rows if row.filled)
    return FilledRow("all keys", known, filled, right, promised / filled if filled else np.nan)


def _cells(row: FilledRow) -> tuple[str, ...]:
    low, high = row.interval
    return (
        row.name,
        "; ".join([*([row.verdict] if row.verdict else []), *row.notes]) or "–",
        number(row.precision),
        f"{number(low)}–{number(high)}" if row.filled else "–",
        number(row.promised),
        number(row.known),
        number(row.filled),
        number(row.coverage),
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
