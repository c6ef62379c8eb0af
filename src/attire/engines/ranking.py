"""Which of a bundle's engines is the fastest: by the speeds at export, or by speeds measured on this machine, once.

Speeds of other processors and library versions say little here: an INT8 engine gains several times with VNNI and may
lose without it. They are measured again when an engine is first needed, and kept in the user's cache folder, since a
bundle may be read-only or shared by several machines.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field

from attire.bundle import ModelBundle
from attire.engines.conditions import Conditions, conditions_here
from attire.engines.exported import RECORD, EngineRecord, engine_folder
from attire.engines.runtimes import PACKAGES
from attire.engines.speed import ROUNDS, batch_within, images_per_s
from attire.errors import BundleError, ConfigError, MissingExtraError
from attire.files import file_sha256, replace_text
from attire.pixels.content_cache import FOLDER as CACHE
from attire.progress import tracking
from attire.records import read_as

if TYPE_CHECKING:
    from attire.engines.engine import Engine

TORCH = "torch"
SECONDS = 6.0  # about how long the engines of a bundle are measured
PATIENCE_S = 90.0  # how long a process waits for another one that measures
UNUSABLE = (BundleError, ConfigError, MissingExtraError)  # why an engine cannot be opened
logger = logging.getLogger(__name__)
Records = Mapping[str, EngineRecord]


class Ranking(NamedTuple):
    """How many times as fast as torch exported engines are, and when and where this was measured."""

    ratios: dict[str, float]
    measured: str


class LocalSpeeds(BaseModel):
    """Speeds that were measured on this machine: images/s of torch, and of the engines that could be opened.

    engines: for each exported engine the digest of its record; the speeds are of no use for others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    bundle: str
    engines: dict[str, str]
    conditions: Conditions
    created: datetime
    batch: int
    images_per_s: dict[str, Annotated[float, Field(gt=0)]]

    @property
    def ranking(self) -> Ranking:
        """The engines' speeds as ratios to that of torch."""
        base = self.images_per_s.get(TORCH, float("inf"))
        ratios = {name: rate / base for name, rate in self.images_per_s.items() if name != TORCH}
        return Ranking(ratios, f"measured on this machine on {self.created:%Y-%m-%d}")


def known_ranking(bundle: ModelBundle, records: Records) -> Ranking | None:
    """The ranking of engines with these records; None if they have to be measured here first."""
    if all(_applies_here(record) for record in records.values()):
        return _ranking_at_export(records)
    local = recall(bundle, records)
    return None if local is None else local.ranking


def measured_ranking(bundle: ModelBundle, records: Records, open: Callable[[str], Engine]) -> Ranking:
    """Measure the engines, in seconds, and remember their speeds; `open` opens the engine of a name.

    Only one process on this machine measures, others wait for its result. If that takes too long, the speeds at export
    decide. Speeds that cannot be written are measured again by the next process.
    """
    file = _file(bundle, records)
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(file.with_suffix(".lock"), timeout=PATIENCE_S))
        except Timeout:
            logger.warning("another process has been measuring the engines of %s for %g s", bundle.path, PATIENCE_S)
            return _ranking_at_export(records)
        except OSError as error:
            _warn_unwritten(file, error)
        if (known := recall(bundle, records)) is not None:
            return known.ranking
        speeds = _measure(bundle, records, open)
        try:
            replace_text(file, speeds.model_dump_json(indent=1))
        except OSError as error:
            _warn_unwritten(file, error)
    return speeds.ranking


def recall(bundle: ModelBundle, records: Records) -> LocalSpeeds | None:
    """The speeds that were measured on this machine for these engines under the present conditions, if any."""
    try:
        speeds = read_as(_file(bundle, records), LocalSpeeds)
    except (OSError, ValueError):
        return None
    current = (bundle.digest, _digests(bundle, records), _conditions(records))
    return speeds if (speeds.bundle, speeds.engines, speeds.conditions) == current else None


def _applies_here(record: EngineRecord) -> bool:
    return record.speed.conditions == conditions_here(PACKAGES[record.runtime])


def _ranking_at_export(records: Records) -> Ranking:
    return Ranking({name: record.speed.ratio for name, record in records.items()}, "measured when it was exported")


def _measure(bundle: ModelBundle, records: Records, open: Callable[[str], Engine]) -> LocalSpeeds:
    conditions = _conditions(records)
    elsewhere = next(record.speed for record in records.values() if not _applies_here(record))
    logger.info(
        "the engines of %s were measured under other conditions (%s): measuring them once under these (%s)",
        bundle.path,
        elsewhere.conditions,
        conditions,
    )
    engines: dict[str, Engine] = {}
    for name in (TORCH, *records):
        try:
            engines[name] = open(name)
        except UNUSABLE as error:
            logger.warning("not using the engine '%s': %s", name, error)
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, *bundle.preprocess.size_px), dtype=np.uint8)
    with tracking("measuring the engines", (ROUNDS + 1) * len(engines), "batches") as tracker:
        batch = batch_within(engines, noise, SECONDS)
        rates = images_per_s(engines, noise, batch, tracker.advance)
    return LocalSpeeds(
        bundle=bundle.digest,
        engines=_digests(bundle, records),
        conditions=conditions,
        created=datetime.now(UTC),
        batch=batch,
        images_per_s=rates,
    )


def _conditions(records: Records) -> Conditions:
    return conditions_here(*{PACKAGES[record.runtime] for record in records.values()})


def _digests(bundle: ModelBundle, records: Records) -> dict[str, str]:
    return {name: file_sha256(engine_folder(bundle.path, name) / RECORD) for name in records}


def _file(bundle: ModelBundle, records: Records) -> Path:
    """Where the speeds are kept: a file for each bundle and conditions, so that machines may share the folder."""
    shared = os.environ.get(CACHE)
    folder = Path(shared) if shared else user_cache_path("attire", appauthor=False)
    conditions = hashlib.sha256(_conditions(records).model_dump_json().encode()).hexdigest()
    return folder / "engine-speeds" / f"{bundle.digest[:16]}-{conditions[:16]}.json"


def _warn_unwritten(file: Path, error: OSError) -> None:
    logger.warning(
        "the speeds of engines cannot be kept in %s (%s), so the next process measures them again; name another folder "
        "in the environment variable %s",
        file.parent,
        error.strerror or error,
        CACHE,
    )
