"""Promote a bundle to the present version of a shelf, if it is not worse than the one that is there."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.errors import BundleError, CatalogError, ReportError, ShelfError
from attire.evaluation.report import Report
from attire.files import locked
from attire.promotion.comparison import TEST, Compared, compared, split_to_use
from attire.promotion.evaluations import forget_others
from attire.promotion.judgement import Judgement, summary
from attire.promotion.versions import add_version, roll_back, whoever
from attire.shelf import EVALUATIONS, HISTORY, VERSIONS, FigureChange, Shelf, ShelfEntry, now, read_shelf
from attire.storage import storing

PROMOTING = ".promoting.lock"


class Promotion(BaseModel):
    """What `promote` decided.

    version: the new present version; None if the candidate was refused. verdict: what was found, as sentences.
    judgement: the comparison; None without one. split: on which products. present, candidate: the directories of the
    reports that were compared; None if there was nothing to compare with, or no comparison. notes: what a reader of
    the figures must know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shelf: Path
    version: int | None
    verdict: str
    forced: bool
    judgement: Judgement | None
    split: str
    present: Path | None
    candidate: Path | None
    notes: tuple[str, ...] = ()

    @property
    def promoted(self) -> bool:
        """Whether the candidate is the present version now."""
        return self.version is not None


def promote(
    bundle: ModelBundle | str | Path,
    shelf: str | Path,
    catalog: Catalog | str | Path,
    *,
    split: str = TEST,
    why: str = "",
    who: str | None = None,
    force: bool = False,
) -> Promotion:
    """Make the bundle the present version of the shelf, unless it is worse than the one that is there.

    Both are evaluated on the products of the split that neither learned from; on val if the catalog has no test split.
    The candidate is refused if a headline figure or the IoU of a key is worse beyond chance (`Judgement`), if it cannot
    answer with words that the present version knows, or if only the present version is calibrated. `force` promotes it
    all the same, which the history records with `who` (by default the account's name) and `why`. A new shelf is made,
    with the bundle as version 1. The bundle is copied, and the copy verified.

    Raises `ShelfError` if the shelf is damaged, if another promotion is running, or if the bundle is the present
    version already, and what `evaluate` raises.
    """
    path, catalog, candidate = Path(shelf), Catalog.of(catalog), ModelBundle.of(bundle)
    _check_new(path)
    with storing(path):
        path.mkdir(parents=True, exist_ok=True)
        busy = ShelfError(f"another promotion to {path} is running: wait until it has finished.")
        with locked(path / PROMOTING, busy):
            return _promote(path, catalog, candidate, split, why, who or whoever(), force)


def rollback(shelf: str | Path, to: int | None = None, *, why: str = "", who: str | None = None) -> Shelf:
    """Make an earlier version of the shelf the present one again: version `to`, by default the one before.

    Nothing is evaluated, so it takes seconds. Raises `ShelfError` if there is no such version, and `BundleError` if its
    bundle is damaged.
    """
    with storing(Path(shelf)):
        return roll_back(Path(shelf), to, why, who or whoever())


def _promote(
    path: Path, catalog: Catalog, candidate: ModelBundle, split: str, why: str, who: str, force: bool
) -> Promotion:
    shelf = read_shelf(path)
    before = shelf.present if shelf else None
    if before is not None and before.digest == candidate.digest:
        raise ShelfError(f"{candidate.path} is the present version of {path} already ({before.version}).")
    used, notes = split_to_use(catalog, split)
    found, reasons = Compared(None, None, None), []
    try:
        present = None if before is None else ModelBundle.of(path)
        found = compared(present, candidate, catalog, used, path / EVALUATIONS)
        reasons = found.judgement.reasons if found.judgement else []
    except (BundleError, CatalogError, ReportError) as error:
        if before is None:
            raise
        if not force:
            raise type(error)(
                f"{candidate.path} cannot be compared with version {before.version}: {error} Or promote it without a "
                "comparison (--force)."
            ) from None
        reasons = [f"It was not compared: {error}"]
    for side, report in (("present", found.present), ("candidate", found.candidate)):
        notes += [f"{side}: {note}" for note in (Report.load(report).notes if report else ())]
    verdict = " ".join(reasons) or (summary(found.judgement, used) if found.judgement else "The first version.")
    version = None
    if force or not reasons:
        entry = ShelfEntry(
            action="promote",
            version=1,  # `add_version` knows the number
            digest=candidate.digest,
            who=who,
            when=now(),
            why=why,
            verdict=verdict,
            forced=bool(reasons),
            catalog=catalog.digest,
            split=used,
            figures=_figures(found),
        )
        version = add_version(path, candidate, entry, before).present.version
    forget_others(path / EVALUATIONS, [report for report in (found.present, found.candidate) if report])
    return Promotion(
        shelf=path,
        version=version,
        verdict=verdict,
        forced=bool(reasons) and force,
        judgement=found.judgement,
        split=used,
        present=found.present,
        candidate=found.candidate,
        notes=tuple(notes),
    )


def _figures(found: Compared) -> dict[str, FigureChange]:
    """The headline figures for the history: both sides of a comparison, or the candidate's alone."""
    if found.judgement:
        pairs = {name: (d.a, d.b) for name, d in found.judgement.figures.items()}
    elif found.candidate:
        pairs = {name: (math.nan, score.value) for name, score in Report.load(found.candidate).figures.items()}
    else:
        pairs = {}
    return {name: FigureChange(before=_known(a), after=_known(b)) for name, (a, b) in pairs.items()}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _check_new(path: Path) -> None:
    """Raise `ShelfError` for a directory that holds something else than a shelf."""
    if path.is_dir() and not (path / HISTORY).exists():
        others = [entry.name for entry in path.iterdir() if entry.name not in (VERSIONS, EVALUATIONS)]
        if others := sorted(name for name in others if not name.startswith(".")):
            raise ShelfError(
                f"{path} is not a shelf: it has no {HISTORY}, and holds {others[0]}. Name a new directory, or one that "
                "`attire promote` made."
            )
