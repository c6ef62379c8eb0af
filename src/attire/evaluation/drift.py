"""Compare what a model answered with its calibration, or the answers in two outputs of `predict` or `fill`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from attire.bundle import SPEC, ModelBundle
from attire.errors import ConfigError
from attire.files import replace_text
from attire.inference.run_record import SHOWN, AnswersRecord, record_path
from attire.records import read_as
from attire.score.answer_counts import AnswerCounts
from attire.score.drift import Drift, Reference, find_drift
from attire.shelf import present_bundle
from attire.storage import storing


def drift(a: str | Path, b: str | Path, *, out: str | Path | None = None) -> Drift:
    """Compare the answers in `b`, an output of `predict` or `fill`, with those of `a`.

    `a` is the bundle that made `b` (or its shelf), which is then compared with the products that the bundle was
    calibrated on, or an earlier output of the same bundle. With `out`, an HTML file, the page is written there, and
    next to it the figures as JSON. See `find_drift` for the tests.

    Raises `ConfigError` if a side has no record of its answers, or if the sides are from different bundles.
    """
    a, b = Path(a), Path(b)
    now, answers = _recorded(b)
    folder = present_bundle(a)
    if (folder / SPEC).is_file():
        bundle = ModelBundle.load(folder)
        _check_same(a, bundle.digest, b, now)
        reference = bundle.reference(now.settings.promise)
        if reference is None:
            raise ConfigError(
                f"{a} has no record of its answers at calibration. Train with a recipe that calibrates (folds = 2), or "
                "compare two outputs."
            )
    else:
        before, counts = _recorded(a)
        _check_same(a, before.settings.bundle, b, now)
        reference = _of_output(before, counts)
    if reference.counts.words != answers.words:
        raise ConfigError(f"{record_path(b)} was changed: its answers have other words than {a}. Run it again.")
    found = find_drift(reference, answers)
    if out is not None:
        from attire.evaluation.drift_page import drift_page

        out = Path(out)
        with storing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            replace_text(out.with_suffix(".json"), json.dumps(_figures(found), indent=1))
            replace_text(out, drift_page(found, str(a), str(b)))
    return found


def _recorded(path: Path) -> tuple[AnswersRecord, AnswerCounts]:
    """The record of an output and its answers; raises `ConfigError` if it has none."""
    if path.is_dir():
        raise ConfigError(f"{path} is a directory, but not a bundle. Expected an output of attire predict or fill.")
    file = record_path(path)
    if not path.exists() and not file.exists():
        raise ConfigError(f"{path} does not exist. Expected a bundle, or an output of attire predict or fill.")
    try:
        record = read_as(file, AnswersRecord)
        if record.answers is None:
            raise ConfigError(
                f"{file} does not record what the model answered: an earlier attire wrote it. Run it again with "
                "--overwrite."
            )
        return record, record.answers.counts()
    except FileNotFoundError:
        raise ConfigError(
            f"{path} has no record of its answers, {file.name}, next to it. Expected an output of attire predict or "
            "fill."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is damaged or of another version: {error}") from None


def _check_same(a: Path, digest: str, b: Path, now: AnswersRecord) -> None:
    if digest != now.settings.bundle:
        raise ConfigError(
            f"{a} ({digest[:SHOWN]}) and {b} ({now.settings.bundle[:SHOWN]}) are not from the same bundle, so their "
            "answers differ for other reasons than drift. Predict both with one bundle."
        )


def _of_output(record: AnswersRecord, counts: AnswerCounts) -> Reference:
    """The answers in an output. How many of them are right is not known."""
    promise = record.settings.promise
    promised = np.array([np.nan if promise is None else promise.of_key(key) for key in counts.words])
    return Reference(counts, np.full(len(promised), np.nan), np.where(counts.filled > 0, promised, np.nan))


def _figures(drift: Drift) -> dict[str, Any]:
    """Everything that was found, and the counts that it was found in; null where a figure has no evidence."""
    keys = [
        {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in (asdict(key) | {"alarm": key.alarm, "doubted": key.doubted}).items()
        }
        for key in drift.keys
    ]
    before, now = drift.before.saved().model_dump(), drift.now.saved().model_dump()
    return {"error": drift.error, "keys": keys, "before": before, "now": now}
