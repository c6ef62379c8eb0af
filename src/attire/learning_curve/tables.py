"""The tables and sentences of a learning curve, for the terminal and the page."""

from __future__ import annotations

from attire.evaluation.tables import Sheet, number
from attire.learning_curve.curve import ALL, HELPS, LEAST_CHECKED, USELESS, KeyCurve, LearningCurve

MEANINGS = {
    "labels": f"more labels help: twice as many surely gain more than {HELPS:g} IoU",
    "not labels": f"twice as many labels surely gain less than {USELESS:g} IoU. Look for wrong labels, values that "
    "overlap, and values that photos do not show; or try a stronger backbone",
    "unclear": "the gain may be large or small: val has too few labels to tell, or the points do not lie on a curve",
    "too few labels": f"fewer than {LEAST_CHECKED} labels in val, or fewer than three sizes with labels: no forecast",
    "IoU with 2x, 4x": "what the power law forecasts for two and four times the labels, with its 95% interval. The "
    "interval is about the products of val and about training, but not about whether a power law goes on",
    "gain": "IoU with twice the labels, less that of today",
    "at best": "IoU that the power law approaches with ever more labels; a rough guess",
    "coverage": "share of fields with a label in val that are filled",
}


def sheet(curve: LearningCurve) -> Sheet:
    """A row for all keys together and for each key, those that gain most by twice the labels first."""
    rows = tuple(map(_row, in_order(curve)))
    title = f"How many labels it takes: figures on val, coverage at {curve.promise}"
    header = ("key", "limited by", "labels", "IoU", "coverage", "gain", "IoU with 2x", "IoU with 4x", "at best")
    return Sheet(title, header, rows, ("limited by",))


def in_order(curve: LearningCurve) -> list[KeyCurve]:
    """All keys together, then those that gain most by more labels first."""

    def rank(key: KeyCurve) -> tuple[bool, float]:
        return key.key != ALL, -key.forecasts[0].gain if key.forecasts else 1.0

    return sorted(curve.keys, key=rank)


def _row(key: KeyCurve) -> tuple[str, ...]:
    now = key.points[-1]
    cells = [key.key, key.limit, f"{now.labels:,}", number(now.iou), f"{now.coverage:.0%}"]
    if not key.forecasts:
        return (*cells, "–", "–", "–", "–")
    ahead = [f"{number(f.iou)} ({number(f.low)}–{number(f.high)})" for f in key.forecasts]
    twice = key.forecasts[0]
    gain = f"{twice.gain:+.3f} ({twice.gain_low:+.3f} to {twice.gain_high:+.3f})"
    return (*cells, gain, *ahead, number(1 - key.law[0]) if key.law else "–")


def verdict(curve: LearningCurve) -> str:
    """Which keys more labels help, and which they do not."""

    def named(limit: str) -> list[str]:
        return [key.key for key in in_order(curve) if key.limit == limit and key.key != ALL]

    sentences = []
    if helped := named("labels"):
        sentences.append(f"More labels help {_some(helped)}.")
    if others := named("not labels"):
        sentences.append(f"Something other than the number of labels limits {_some(others)}.")
    if unclear := named("unclear"):
        sentences.append(f"It is unclear for {_some(unclear)}.")
    return " ".join(sentences) or "No key has enough labels for a forecast."


def _some(keys: list[str]) -> str:
    few = ", ".join(keys[:8])
    return f"{few} and {len(keys) - 8} more" if len(keys) > 8 else few
