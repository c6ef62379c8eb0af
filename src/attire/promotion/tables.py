"""A comparison with the present version, and the history of a shelf, as tables of text."""

from __future__ import annotations

from attire.evaluation.compare import FIGURE, KEY, Difference
from attire.evaluation.tables import FIGURE_TITLES, Sheet, number, signed
from attire.promotion.judgement import CHANCE, Judgement, Name, side
from attire.shelf import Shelf

SHOWN = {"attribute_iou": "IoU", "coverage_95": "filled"}
HEADER = ("present", "candidate", "candidate − present", f"{1 - CHANCE:.0%} of all together", "")


def judgement_sheets(judgement: Judgement, split: str) -> list[Sheet]:
    """All headline figures, and the keys that differ beyond chance."""
    figures = tuple(
        (FIGURE_TITLES[name], *_cells((FIGURE, name), difference)) for name, difference in judgement.figures.items()
    )
    title = f"Figures, on {judgement.products:,} products ({judgement.groups:,} groups) of {split}"
    sheets = [Sheet(title, ("figure", *HEADER), figures, prose=("",))]
    changed: dict[Name, Difference] = judgement.losses | judgement.gains
    keys = tuple(
        (name, *_cells((kind, name), difference)) for (kind, name), difference in changed.items() if kind == KEY
    )
    if keys:
        title = f"IoU of the {len(keys)} keys, of {len(judgement.keys)}, that differ beyond chance"
        sheets.append(Sheet(title, ("key", *HEADER), keys, prose=("",)))
    return sheets


def version_rows(shelf: Shelf) -> list[dict[str, str | float | None]]:
    """A row for each version, with its figures on the catalog that it was promoted with."""
    return [
        {
            "version": f"{entry.version}{' (present)' if entry.version == shelf.present.version else ''}",
            "promoted": entry.when[:10],
            "by": entry.who,
            "bundle": entry.digest[:12],
            **{title: entry.figures[name].after if name in entry.figures else None for name, title in SHOWN.items()},
            "why": entry.why,
        }
        for entry in shelf.versions
    ]


def history_sentences(shelf: Shelf) -> list[str]:
    """The history, oldest first: what happened when, by whom, and what was found."""
    return [
        f"{entry.when[:16].replace('T', ' ')}  {entry.who} "
        + (
            f"went back to version {entry.version}"
            if entry.action == "rollback"
            else f"{'forced' if entry.forced else 'promoted'} version {entry.version}"
        )
        + (f" ({entry.why})" if entry.why else "")
        + (f": {entry.verdict}" if entry.action == "promote" else "")
        for entry in shelf.history
    ]


def _cells(name: Name, difference: Difference) -> tuple[str, ...]:
    word = {"A": "worse", "B": "better", "": ""}[side(name, difference)]
    interval = f"{signed(difference.low)} to {signed(difference.high)}"
    return number(difference.a), number(difference.b), signed(difference.value), interval, word
