"""Bundles: a trained model as one directory, without pickle and verified when it is loaded.

bundle.json              taxonomy, preprocessing, decision rule, provenance, scores; written last
weights.safetensors      every parameter and buffer of the network
probe.safetensors        two small images (one with a title) and the logits for them when the bundle was saved
calibration.safetensors  the answers that it was calibrated with, from which thresholds are fitted for any promise
learned.safetensors      the photos that it was trained or calibrated on, by content
README.md                model card

Bundles of format 3 have keys that were added later (`layout`). Those of format 1 have thresholds for three precisions
in bundle.json instead of calibration.safetensors; those of earlier versions also lack learned.safetensors.
"""

from __future__ import annotations

import hashlib
import logging
import operator
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attire.card import fact_table, model_card
from attire.config import Architecture, DecisionRule
from attire.errors import BundleError
from attire.files import file_sha256, read_json, replacing, temporary_folder
from attire.labels import labelled
from attire.learned import LEARNED, Learned
from attire.model.backbone import not_numbers
from attire.model.layout import Layout, fits
from attire.model.network import Logits, Network, build_backbone, build_network
from attire.pixels.preprocess import Preprocess
from attire.prediction import Prediction
from attire.probe import PROBE, check_probe, library_versions, make_probe
from attire.records import checked
from attire.score.answer_counts import AnswerCounts
from attire.score.calibration import Calibration, Fitted, Floats
from attire.score.calibration_record import CALIBRATION, CalibrationRecord
from attire.score.decisions import Accepted, Decisions, abstain, decide, prediction, with_coarse
from attire.score.drift import Reference
from attire.score.promise import PRECISION, Promise
from attire.score.shortfall import promises, shortfall
from attire.score.thresholds import Thresholds, fit_thresholds
from attire.shelf import HISTORY, present_bundle
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader

logger = logging.getLogger(__name__)
LOGITS = Logits._fields
PROMISES = 64  # whose thresholds are remembered; clients of a server may ask for any number of them
SPEC, WEIGHTS, CARD = "bundle.json", "weights.safetensors", "README.md"
_LEARNED = "learned"  # in the provenance, where an earlier attire does not look, so that it loads the bundle


class BundleSpec(BaseModel):
    """The content of `bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1, 2, 3] = 1  # 2: calibrated with a record; 3: with a layout, calibrated with a record or not
    created: str
    network: Architecture
    taxonomy: Taxonomy
    preprocess: Preprocess
    decision: DecisionRule
    calibration: Calibration | None = None  # None: uncalibrated probabilities, no thresholds
    # Keys without any label in training, which are never answered. Not written if empty, as in older bundles.
    untaught: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    # The matrices of the attribute heads, if keys were added later. Not written if empty, as in older bundles.
    layout: Layout = Field(default=(), exclude_if=operator.not_)
    provenance: dict[str, Any]
    scores: dict[str, float | None]
    sha256: dict[str, str]  # of the weights, the probe and the record of the calibration

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("recipe", "versions", _LEARNED):
            if not isinstance(self.provenance.get(name, {}), dict):
                raise ValueError(f"provenance.{name} must be an object")
        if unknown := [key for key in self.untaught if key not in self.taxonomy.keys]:
            raise ValueError(f"untaught names '{unknown[0]}', which is not a key")
        if not fits(self.layout, self.taxonomy):
            raise ValueError("layout must have each key once")
        if self.calibration:
            lengths = {len(values) for values in self.calibration.thresholds.values()}
            if len(self.calibration.temperature) != len(self.taxonomy.keys) or lengths - {self.taxonomy.width}:
                raise ValueError("calibration has another number of keys or values than the taxonomy")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class ModelBundle:
    """A trained model: network, taxonomy, preprocessing, decision rule and calibration.

    Bundles are immutable, and bundles with the same `digest` give the same answers. `network` is on the CPU; see
    `placed_network`.
    """

    path: Path
    spec: BundleSpec
    network: Network
    record: CalibrationRecord | None = None  # of the calibration; None in bundles of format 1
    learned: Learned | None = None  # None: not recorded

    @property
    def taxonomy(self) -> Taxonomy:
        """The categories, keys and values that the model knows."""
        return self.spec.taxonomy

    @property
    def preprocess(self) -> Preprocess:
        """How a photo becomes the network's input."""
        return self.spec.preprocess

    @property
    def decision(self) -> DecisionRule:
        """How probabilities become answers."""
        return self.spec.decision

    @property
    def calibration(self) -> Calibration | None:
        """Temperatures; None if the bundle was not calibrated."""
        return self.spec.calibration

    @property
    def provenance(self) -> dict[str, Any]:
        """What the model was trained from: recipe, weights, catalog, splits, library versions."""
        return self.spec.provenance

    @property
    def scores(self) -> dict[str, float | None]:
        """Scores on val at the end of training."""
        return self.spec.scores

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `bundle.json`, which contains the digests of the other files."""
        return hashlib.sha256(self.spec.model_dump_json().encode()).hexdigest()

    @cached_property
    def placed_network(self) -> Network:
        """A copy of the network on the GPU, or `network` itself if there is no GPU."""
        network = deepcopy(self.network).cuda() if torch.cuda.is_available() else self.network
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @cached_property
    def title_reader(self) -> TitleReader | None:
        """Encodes titles for the network; None if it reads photos only."""
        return TitleReader.of(self.spec.network)

    @cached_property
    def taught(self) -> NDArray[np.bool_]:
        """bool[A]: the keys that had labels in training."""
        return np.array([key not in self.spec.untaught for key in self.taxonomy.keys], dtype=bool)

    def with_decision(self, rule: DecisionRule) -> ModelBundle:
        """A bundle with the same network and another decision rule, in memory only; its digest differs."""
        return replace(self, spec=self.spec.model_copy(update={"decision": rule}))

    def __repr__(self) -> str:
        taxonomy = self.taxonomy
        return (
            f"<ModelBundle {self.path}: {self.spec.network.backbone}, {len(taxonomy.categories)} categories, "
            f"{len(taxonomy.keys)} keys, digest {self.digest[:12]}>"
        )

    def _repr_html_(self) -> str:
        recipe = self.provenance.get("recipe", {})
        facts = {
            "bundle": self.path,
            "recipe": f"{recipe.get('name', 'custom')}, seed {recipe.get('seed', 'unknown')}",
            "backbone": self.spec.network.backbone,
            "answers": f"{len(self.taxonomy.categories)} categories, {len(self.taxonomy.keys)} keys",
            "digest": self.digest[:12],
            **{name.replace("_", " "): "–" if value is None else f"{value:.3f}" for name, value in self.scores.items()},
        }
        return fact_table(facts)

    def decide(
        self, category: Floats, attributes: Floats, known_category: NDArray[np.int64] | None = None
    ) -> Decisions:
        """Turn logits, float32[N, C] and float32[N, K], into answers with calibrated probabilities."""
        if self.calibration:
            category, attributes = self.calibration.scale(self.taxonomy, category, attributes)
        frequency = None if self.record is None else self.record.frequency
        decisions = decide(self.taxonomy, self.decision, category, attributes, known_category, frequency)
        return abstain(self.taxonomy, decisions, self.taught)

    def accepted(
        self,
        decisions: Decisions,
        promise: Promise | float | None,
        known_category: NDArray[np.int64] | None = None,
    ) -> Accepted:
        """The answers that are filled: those that are sure enough for `promise`, or whose coarser value is.

        All of them for None or without a calibration. A known category (int64[N], -1 for none) counts as filled.
        """
        if self.calibration is None or promise is None:
            everything = np.ones(len(decisions.category), dtype=bool)
            return Accepted(everything, labelled(self.taxonomy, decisions.chosen), np.zeros_like(decisions.chosen))
        accepted = self.thresholds(promise).accepted(self.taxonomy, decisions)
        if known_category is not None:
            accepted = accepted._replace(category=accepted.category | (known_category >= 0))
        return accepted

    def thresholds(self, promise: Promise | float) -> Thresholds:
        """When an answer is filled; raises `ConfigError` for a promise that does not fit the bundle."""
        assert self.calibration is not None
        promise = Promise.of(promise).check(self.taxonomy)
        return self._thresholds(promise.model_dump_json())

    @cached_property
    def _thresholds(self) -> Callable[[str], Thresholds]:
        """Fits thresholds for a promise, given as JSON, and remembers those of the last promises."""

        @lru_cache(PROMISES)
        def fit(text: str) -> Thresholds:
            promise = Promise.model_validate_json(text)
            if self.record is not None:
                return fit_thresholds(self.taxonomy, self.record, promise)
            assert self.calibration is not None
            return self.calibration.early_thresholds(self.taxonomy, promise)

        return fit

    def answer(
        self,
        category: Floats,
        attributes: Floats,
        promise: Promise | float | None,
        *,
        known_category: str | None = None,
        id: str = "",
    ) -> Prediction:
        """The answer for one product from the mean logits of its photos, float32[C] and float32[K].

        `known_category`, in the taxonomy's spelling, replaces the predicted one.
        """
        known = None if known_category is None else np.array([self.taxonomy.category_index[known_category]])
        decisions = self.decide(category[None], attributes[None], known)
        accepted = self.accepted(decisions, promise, known)
        answers = with_coarse(self.taxonomy, decisions, accepted.coarse)
        return prediction(self.taxonomy, answers, accepted, 0, id, self.digest)

    def reference(self, promise: Promise | float | None) -> Reference | None:
        """What the model answered at calibration, to find drift; None without a record of it.

        `promise` decides what is filled, by default `PRECISION`.
        """
        if self.record is None:
            return None
        promise = Promise.of(PRECISION if promise is None else promise)
        variety = self.provenance.get("variety", 1.0)
        return Reference.of_record(self.taxonomy, self.record, self.thresholds(promise), promise, variety)

    def answer_counts(
        self, category: Floats, attributes: Floats, promise: Promise | float | None, groups: Iterable[str] = ()
    ) -> AnswerCounts:
        """Counts of the answers for logits float32[N, C] and float32[N, K], to find drift.

        No category is known to the model, as at its calibration. `promise` decides what is filled, by default
        `PRECISION`; `groups` are those of the products, "" where it is not known.
        """
        thresholds = None if self.calibration is None else self.thresholds(PRECISION if promise is None else promise)
        return AnswerCounts.of(self.taxonomy, self.decide(category, attributes), thresholds, groups)

    def card(self, address: str = "") -> str:
        """The model card, in Markdown. `address`: where the bundle can be pulled from."""
        sentences = promises(self.taxonomy, self.record, self.spec.untaught)
        return model_card(self.spec.model_dump(), sentences, address)

    def shortfall(self, promise: Promise | float | None) -> str | None:
        """A sentence about keys that are never filled under `promise`; None if there are none.

        Raises `ConfigError` for a promise that does not fit the bundle.
        """
        if promise is None or not self.taxonomy.keys:
            return None
        if self.calibration is None:
            recipe = self.provenance.get("recipe", {}).get("name", "custom")
            return (
                f"The bundle was not calibrated (recipe {recipe}), so it cannot promise a precision: every key that "
                "applies is filled, at any confidence."
            )
        return shortfall(self.thresholds(promise), Promise.of(promise), self.taxonomy)

    def check_promise(self, promise: Promise | float | None) -> None:
        """Log a warning about keys that are never filled; raises `ConfigError` for a promise that does not fit."""
        if sentence := self.shortfall(promise):
            logger.warning(sentence)

    @classmethod
    def of(cls, bundle: ModelBundle | str | Path) -> ModelBundle:
        """Return `bundle` itself, or load it from a path: that of a bundle, or of a shelf, for its present version."""
        return cls.load(present_bundle(Path(bundle))) if isinstance(bundle, str | Path) else bundle

    @classmethod
    def load(cls, path: str | Path) -> ModelBundle:
        """Load and verify the bundle at `path`; raises `BundleError` if any of it differs from what was saved."""
        path = Path(path)
        spec = _read_spec(path)
        try:
            for name, expected in spec.sha256.items():
                _check_file(path / name, expected)
            record, learned = _read_record(path, spec), _read_learned(path, spec)
            network = _untrained(spec).eval()
            network.load_state_dict(load_file(path / WEIGHTS))
        except OSError as error:
            file = error.filename or path
            raise BundleError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from None
        except (RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"{path / WEIGHTS} does not fit '{spec.network.backbone}' as built by timm {version('timm')} "
                f"(saved with timm {spec.provenance.get('versions', {}).get('timm', 'unknown')}): {error}"
            ) from None
        if broken := not_numbers(network):
            raise BundleError(
                f"{path / WEIGHTS} contains NaN or infinite values, for example in {broken[0]}: the training diverged. "
                "Train again with a lower learning rate."
            )
        saved_with = spec.provenance.get("versions")
        check_probe(path, network, spec.network, spec.preprocess, spec.taxonomy, saved_with)
        return cls(path, spec, network, record, learned)

    @classmethod
    def save(
        cls,
        path: str | Path,
        network: Network,
        architecture: Architecture,
        *,
        taxonomy: Taxonomy,
        preprocess: Preprocess,
        decision: DecisionRule,
        fitted: Fitted | None = None,
        untaught: Sequence[str] = (),
        layout: Layout = (),
        learned: Learned | None = None,
        provenance: Mapping[str, Any],
        scores: Mapping[str, float | None],
    ) -> ModelBundle:
        """Write a bundle to `path` atomically, replacing an existing one, and load it from there.

        Raises `BundleError`, and writes nothing, if the network contains NaN or infinite values.
        """
        path = Path(path)
        network = network.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        probe = make_probe(network, architecture, preprocess)
        broken = not_numbers(network) or [f"{name} logits" for name in LOGITS if not bool(probe[name].isfinite().all())]
        if broken:
            raise BundleError(
                f"{path} was not written: the network contains NaN or infinite values, for example in {broken[0]}. "
                "The training diverged: train again with a lower learning rate (--lr)."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent, f".{path.name}-") as temporary:
            folder = temporary / path.name
            folder.mkdir()
            for name, tensors in ((WEIGHTS, network.state_dict()), (PROBE, probe)):
                with replacing(folder / name) as temporary_file:
                    save_file(tensors, temporary_file)
            files, facts = [WEIGHTS, PROBE], {}
            if fitted is not None:
                fitted.record.save(folder)
                files.append(CALIBRATION)
            if learned is not None:
                learned.save(folder)
                facts = {_LEARNED: {"photos": len(learned), "sha256": file_sha256(folder / LEARNED)}}
            spec = BundleSpec(
                format=3 if layout else 1 if fitted is None else 2,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                network=architecture,
                taxonomy=taxonomy,
                preprocess=preprocess,
                decision=decision,
                calibration=None if fitted is None else fitted.calibration,
                untaught=tuple(untaught),
                layout=layout,
                provenance={**provenance, **facts, "versions": library_versions()},
                scores=dict(scores),
                sha256={name: file_sha256(folder / name) for name in files},
            )
            sentences = promises(taxonomy, None if fitted is None else fitted.record, untaught)
            (folder / CARD).write_text(model_card(spec.model_dump(), sentences), encoding="utf-8")
            (folder / SPEC).write_text(spec.model_dump_json(indent=1), encoding="utf-8")
            if path.exists():
                shutil.rmtree(path)
            folder.replace(path)
        return cls.load(path)


def _read_spec(path: Path) -> BundleSpec:
    file = path / SPEC
    if not file.is_file():
        inner = path / "bundle"
        if (path / HISTORY).is_file():
            hint = f" It is a shelf, whose present bundle is {present_bundle(path)}."
        elif (inner / SPEC).is_file():
            hint = f" Its bundle is {inner}."
        else:
            hint = " Expected what `attire train` writes."
        raise BundleError(f"{path} is not a model bundle: it has no {SPEC}.{hint}")
    try:
        content = read_json(file)
        if isinstance(content, dict) and content.get("format") not in (1, 2, 3):
            raise BundleError(
                f"{file} has format {content.get('format')!r}; this attire reads formats 1 to 3. Update attire."
            )
        spec = checked(content, BundleSpec)
        has_record = spec.format == 2 or (spec.format == 3 and spec.calibration is not None)
        files = [WEIGHTS, PROBE] + [CALIBRATION] * has_record
        if spec.sha256.keys() != set(files):
            raise ValueError(f"sha256 must name {', '.join(files)}, and nothing else")
        return spec
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BundleError(f"{file} is damaged: {error}. Copy the bundle again.") from None


def _check_file(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise BundleError(f"{file} is missing: the bundle is incomplete. Copy the whole directory.")
    if file_sha256(file) != sha256:
        raise BundleError(f"{file} is not the file that was saved: it is damaged or was replaced. Copy it again.")


def _read_learned(path: Path, spec: BundleSpec) -> Learned | None:
    """The record of learned photos, verified; None in a bundle of an earlier version, or if it is not known."""
    record = spec.provenance.get(_LEARNED)
    if record is None:
        return None
    _check_file(path / LEARNED, record.get("sha256", ""))
    try:
        return Learned.load(path)
    except ValueError as error:
        raise BundleError(f"{path / LEARNED} is damaged ({error}): copy the bundle again, or train it again.") from None


def _read_record(path: Path, spec: BundleSpec) -> CalibrationRecord | None:
    """The record of the calibration; None in a bundle of format 1."""
    if CALIBRATION not in spec.sha256:
        return None
    try:
        return CalibrationRecord.load(path, spec.taxonomy)
    except ValueError as error:
        raise BundleError(
            f"{path / CALIBRATION} is damaged ({error}): copy the bundle again, or train it again."
        ) from None


def _untrained(spec: BundleSpec) -> Network:
    """The bundle's network with random weights."""
    size_px = spec.preprocess.size_px
    network = build_network(spec.network, spec.taxonomy, size_px=size_px, layout=spec.layout)
    if not spec.network.shared:
        network.category_backbone = build_backbone(spec.network, size_px=size_px)
    return network
