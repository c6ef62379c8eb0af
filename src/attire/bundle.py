"""A trained model as one directory: safe to load (no pickle), checked on load, readable by people.

bundle.json          taxonomy, preprocessing, decision rule, provenance, scores; written last
weights.safetensors  every parameter and buffer of the network
probe.safetensors    two small images (one with a title) and the network's logits for them when it was saved
README.md            model card
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attire.card import model_card
from attire.config import Architecture, Decision
from attire.errors import BundleError
from attire.files import file_sha256
from attire.labels import labelled
from attire.model.network import Logits, Network, build_backbone, build_network
from attire.pixels.preprocess import Preprocess
from attire.score.calibration import Calibration, Floats
from attire.score.decisions import Decisions, decide
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader

SPEC, WEIGHTS, PROBE, CARD = "bundle.json", "weights.safetensors", "probe.safetensors", "README.md"
PROBE_TOLERANCE = 2e-3  # of the largest logit: far above what other CPUs and BLAS versions change, far below an answer
PROBE_TITLES = ("Women's navy T-shirt, 3/4 sleeve", "")  # hashed when saved and when loaded: both must agree


class BundleSpec(BaseModel):
    """The content of `bundle.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    created: str
    network: Architecture
    taxonomy: Taxonomy
    preprocess: Preprocess
    decision: Decision
    calibration: Calibration | None = None  # None: probabilities as the network gives them, and no thresholds
    provenance: dict[str, Any]
    scores: dict[str, float | None]
    sha256: dict[str, str]  # of the weights and the probe


class ModelBundle:
    """A loaded bundle. `digest` identifies it: two bundles of equal digest answer alike."""

    def __init__(self, path: Path, spec: BundleSpec, network: Network) -> None:
        self.path, self.spec, self.network = path, spec, network
        self.taxonomy, self.preprocess, self.decision = spec.taxonomy, spec.preprocess, spec.decision
        self.calibration, self.provenance, self.scores = spec.calibration, spec.provenance, spec.scores
        self.title_reader = TitleReader.of(spec.network)
        self.digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()

    def decide(
        self, category: Floats, attributes: Floats, known_category: NDArray[np.int64] | None = None
    ) -> Decisions:
        """Answers from the network's logits float32[N, C] and float32[N, K], with calibrated probabilities."""
        if self.calibration:
            category, attributes = self.calibration.scale(self.taxonomy, category, attributes)
        return decide(self.taxonomy, self.decision, category, attributes, known_category)

    def accepted(self, decisions: Decisions, precision: float | None) -> NDArray[np.bool_]:
        """bool[N, A]: the answers to fill in at that precision; all of them for None, or without a calibration."""
        if self.calibration is None or precision is None:
            return labelled(self.taxonomy, decisions.chosen)
        return self.calibration.accepted(self.taxonomy, decisions, precision)

    @classmethod
    def load(cls, path: str | Path) -> ModelBundle:
        """Read, verify and build the bundle at `path`; raises `BundleError` for whatever is not as it was saved."""
        path = Path(path)
        spec = _read_spec(path)
        for name, expected in spec.sha256.items():
            if not (path / name).is_file():
                raise BundleError(f"{path / name} is missing: the bundle was copied in part. Copy the whole directory.")
            if file_sha256(path / name) != expected:
                raise BundleError(f"{path / name} is not the file that was saved: damaged or replaced. Copy it again.")
        network = _empty(spec).eval()
        try:
            network.load_state_dict(load_file(path / WEIGHTS))
        except (RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"{path / WEIGHTS} does not fit '{spec.network.backbone}' as built by timm {version('timm')} "
                f"(saved with {spec.provenance.get('versions', {}).get('timm', 'unknown')}): {error}"
            ) from None
        _check_probe(path, spec, network)
        return cls(path, spec, network)

    @classmethod
    def save(
        cls,
        path: str | Path,
        network: Network,
        architecture: Architecture,
        *,
        taxonomy: Taxonomy,
        preprocess: Preprocess,
        decision: Decision,
        calibration: Calibration | None = None,
        provenance: Mapping[str, Any],
        scores: Mapping[str, float | None],
    ) -> ModelBundle:
        """Write a bundle to `path`, whole or not at all, replacing an older one; returns it as loaded from there."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        network = network.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as temporary:
            folder = Path(temporary) / path.name
            folder.mkdir()
            save_file(network.state_dict(), folder / WEIGHTS)
            save_file(_probe(network, architecture, preprocess), folder / PROBE)
            spec = BundleSpec(
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                network=architecture,
                taxonomy=taxonomy,
                preprocess=preprocess,
                decision=decision,
                calibration=calibration,
                provenance={**provenance, "versions": library_versions()},
                scores=dict(scores),
                sha256={name: file_sha256(folder / name) for name in (WEIGHTS, PROBE)},
            )
            (folder / CARD).write_text(model_card(spec.model_dump()), encoding="utf-8")
            (folder / SPEC).write_text(spec.model_dump_json(indent=1), encoding="utf-8")
            if path.exists():
                shutil.rmtree(path)
            folder.replace(path)
        return cls.load(path)


def library_versions() -> dict[str, str]:
    """The versions that decide what a network computes."""
    names = ("attire", "torch", "timm", "lightning", "numpy", "pillow", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _read_spec(path: Path) -> BundleSpec:
    if not (path / SPEC).is_file():
        inner = path / "bundle"
        hint = f" Its bundle is {inner}." if (inner / SPEC).is_file() else " Expected what `attire train` writes."
        raise BundleError(f"{path} is not a model bundle: it has no {SPEC}.{hint}")
    try:
        content = json.loads((path / SPEC).read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format") != 1:
            raise BundleError(
                f"{path / SPEC} has format {content.get('format')!r}; this attire reads format 1. Update attire."
            )
        return BundleSpec.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(f"{path / SPEC} is damaged: {error}. Copy the bundle again.") from None


def _empty(spec: BundleSpec) -> Network:
    """The network with random weights."""
    network = build_network(spec.network, spec.taxonomy)
    if not spec.network.shared:
        network.category_backbone = build_backbone(spec.network)
    return network


def _probe(network: Network, architecture: Architecture, preprocess: Preprocess) -> dict[str, torch.Tensor]:
    """Two synthetic images, smooth and noisy, with the network's logits for them."""
    height, width = preprocess.size_px
    ramp = np.linspace(0, 255, height * width * 3).reshape(3, height, width)
    noise = np.random.default_rng(0).uniform(0, 255, (3, height, width))
    pixels = np.stack([ramp, noise]).astype(np.uint8)
    logits = _probe_logits(network, architecture, preprocess, pixels)
    return {"pixels": torch.from_numpy(pixels), "category": logits.category, "attributes": logits.attributes}


def _probe_logits(
    network: Network, architecture: Architecture, preprocess: Preprocess, pixels: NDArray[np.uint8]
) -> Logits:
    reader = TitleReader.of(architecture)
    text = None if reader is None else torch.from_numpy(reader(PROBE_TITLES))
    with torch.inference_mode():
        logits: Logits = network(torch.from_numpy(preprocess.normalise(pixels)), text)
    return logits


def _check_probe(path: Path, spec: BundleSpec, network: Network) -> None:
    expected = load_file(path / PROBE)
    logits = _probe_logits(network, spec.network, spec.preprocess, expected["pixels"].numpy())
    for name, got in logits._asdict().items():
        want = expected[name]
        if want.numel() and (worst := (got - want).abs().max()) > PROBE_TOLERANCE * max(1.0, float(want.abs().max())):
            raise BundleError(
                f"{path} does not compute what it computed when it was saved: its {name} logits differ by {worst:.3g}. "
                f"Saved with {spec.provenance.get('versions')}, loaded with {library_versions()}."
            )
