"""What drift was found: a table, and sentences for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from attire.evaluation.tables import Sheet, number
from attire.score.drift import Drift, KeyDrift, Verdict
from attire.score.promise import percent

SHOWN = 6  # keys in a sentence
HEADER = (
    "key",
    "answers",
    "promise",
    "expected",
    "promised",
    "surer",
    "what changed most",
    "answered",
    "filled",
    "number",
)
MEANINGS = {
    "answers": "as before; other answers: some value, or no answer, has another share of the products; less sure: "
    "answers are less sure than they were for the same value; too few to tell: fewer than 30 answers on a side",
    "promise": "whether the promised precision can still be believed. It is in doubt if answers are less sure, or if "
    "other answers let expect a lower precision than promised: then check some of the filled fields",
    "expected": "the precision to be expected of what is filled now: the measured one, and the change of the mean "
    "confidence of filled fields. It believes the confidences, which photos of another kind may mislead",
    "surer": "the probability that an answer is surer than one for the same value was before, less that of the "
    "opposite",
    "what changed most": "the value, or no answer, whose share of the products changed most clearly: before → now",
    "answered, filled": "shares of the products, before → now. The model predicts the category of all of them here, as "
    "at its calibration, even where a feed states it",
    "number": "of answers, before → now",
}


def drift_sheet(drift: Drift) -> Sheet:
    """A row per key, those in doubt first. What changed most is left out where chance may do as much."""
    rows = sorted(drift.keys, key=lambda key: (not key.doubted, not key.alarm, key.verdict == Verdict.FEW))
    cells = (_cells(key, key.alarm and key.p_shares <= drift.error) for key in rows)
    return Sheet("Drift by key", HEADER, tuple(cells), ("answers", "promise", "what changed most"))


def terminal_sheet(drift: Drift) -> Sheet:
    """What fits a terminal: the keys whose answers changed beyond chance."""
    sheet, shown = drift_sheet(drift), ("key", "answers", "promise", "expected", "surer", "what changed most")
    columns = [HEADER.index(name) for name in shown]
    rows = (tuple(row[i] for i in columns) for row in sheet.rows[: len(drift.alarms)])
    return Sheet("Answers that changed beyond chance", shown, tuple(rows), sheet.prose)


def belief(key: KeyDrift) -> str:
    """Whether the promise of a key can still be believed."""
    if np.isnan(key.promised) or not key.filled[1]:
        return "nothing filled"
    if key.verdict == Verdict.FEW:
        return "cannot be checked"
    return "in doubt" if key.doubted else "can be believed"


def drift_sentences(drift: Drift) -> list[str]:
    """What was found in one to three sentences."""
    few = sum(key.verdict == Verdict.FEW for key in drift.keys)
    of_few = f" Of {few} there are too few answers to tell." if few else ""
    if not drift.alarms:
        return [
            f"No drift is seen: the answers for {len(drift.keys) - few} of {len(drift.keys)} keys are as before, up to "
            f"chance.{of_few}"
        ]
    sentences = [
        f"Drift: the answers for {len(drift.alarms)} of {len(drift.keys)} keys changed beyond chance (the probability "
        f"of any false alarm is {percent(drift.error)}).{of_few}"
    ]
    if drift.doubted:
        sentences.append(
            f"The promise is in doubt for {len(drift.doubted)}: {_some(map(_doubt, drift.doubted))}. Check some of "
            "their filled fields before you rely on them."
        )
    if believed := [key.key for key in drift.alarms if belief(key) == "can be believed"]:
        sentences.append(
            f"It can be believed for {len(believed)} with other answers, but not less sure ones: {_some(believed)}."
        )
    return sentences


def _shares(key: KeyDrift) -> str:
    """The value whose share changed most clearly, with its shares."""
    return f"{key.value or 'no answer'} {_change(key.value_shares)}"


def _doubt(key: KeyDrift) -> str:
    if key.verdict == Verdict.LESS_SURE:
        return f"{key.key} (less sure)"
    return f"{key.key} ({number(key.expected)} expected, {number(key.promised)} promised)"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _cells(key: KeyDrift, with_shares: bool) -> tuple[str, ...]:
    return (
        key.key,
        key.verdict.value,
        belief(key),
        number(key.expected),
        number(key.promised),
        f"{key.sureness:+.2f}" if min(key.answers) else "–",
        _shares(key) if with_shares else "–",
        _change(key.answered),
        _change(key.filled),
        f"{key.answers[0]:,} → {key.answers[1]:,}",
    )


def _change(pair: tuple[float, float]) -> str:
    before, now = (f"{100 * share:.1f}" for share in pair)
    return f"{before} → {now}%"
