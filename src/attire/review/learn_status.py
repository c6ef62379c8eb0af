"""What `attire learn` is doing or has done for a catalog, in a file that the review page reads.

CATALOG/learning.json  a `LearnStatus`; replaced while a run works, and kept afterwards
CATALOG/learning.lock  locked by the run that works
CATALOG/learning.log   what a run that the page started has printed
CATALOG/learned/NNN/   what that run made
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from attire.files import LockedError, locked, replace_text
from attire.records import read_as

STATUS, LOCK, LOG, MADE = "learning.json", "learning.lock", "learning.log", "learned"
STOPPED = "it was stopped before it was finished. Nothing of it is used"
Figure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]  # JSON has no nan


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Change(_Frozen):
    """A figure before and after, with the 95% interval of the difference; `better` is before, after, or empty.

    `better` is decided beyond chance. `labels` is the number of labels that a key's figure is measured on.
    """

    name: str
    before: Figure
    after: Figure
    low: Figure
    high: Figure
    better: Literal["before", "after", ""] = ""
    labels: int = 0


class Outcome(_Frozen):
    """What a finished run has learned, and its figures beside those of the bundle that it started from.

    bundle, predictions: paths of what it has made; digest: that of the new bundle. learned: decisions that it trained
    on and the old bundle did not; checks: those that are new too, but on products of val and test, which only check;
    sampled: those on products of the random sample. keys: the keys that differ beyond chance. products: how many the
    figures are measured on, which neither bundle has learned from.
    """

    bundle: str
    digest: str
    predictions: str
    version: int | None
    learned: int
    checks: int
    sampled: int
    seconds: float
    products: int
    figures: tuple[Change, ...]
    keys: tuple[Change, ...]


class LearnStatus(_Frozen):
    """A run: `step` says what it does, and `done` of `total` how far it is with that (0 of 0: not known).

    `start` is the digest of the bundle that it started from.
    """

    state: Literal["running", "finished", "failed"]
    began: AwareDatetime
    start: str
    step: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    outcome: Outcome | None = None

    @property
    def share(self) -> float | None:
        """How much of the step is done; None if that is not known."""
        return min(1.0, self.done / self.total) if self.total else None


def write_status(catalog: Path, status: LearnStatus) -> None:
    """Replace the status of the catalog's run."""
    replace_text(catalog / STATUS, status.model_dump_json(indent=1))


def read_status(catalog: Path) -> LearnStatus | None:
    """The status of the catalog's last run, None if there was none; a run that was killed has failed."""
    try:
        status = read_as(catalog / STATUS, LearnStatus)
    except (OSError, ValueError):
        return None
    if status.state == "running" and not is_running(catalog):
        return status.model_copy(update={"state": "failed", "error": STOPPED})
    return status


def is_running(catalog: Path) -> bool:
    """Whether a run works on the catalog, in any process."""
    try:
        with locked(catalog / LOCK):
            return False
    except LockedError:
        return True
