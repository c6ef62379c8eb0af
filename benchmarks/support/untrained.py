"""Bundles with random weights, and their engines: as fast as trained ones, but their answers are random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attire.bundle import ModelBundle
from attire.config import Architecture, DecisionRule
from attire.engines.engine import Engine
from attire.engines.exported import Runtime
from attire.engines.runtimes import MODEL_FILES, ExportedEngine
from attire.exporting.export import ATTEMPTS, MAKERS, Attempt
from attire.exporting.onnx import write_onnx
from attire.exporting.sample import Sample
from attire.model.network import build_network
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Key, Taxonomy


def fresh(folder: Path, architecture: Architecture, size_px: tuple[int, int]) -> ModelBundle:
    """A bundle of 26 categories and 46 keys in `folder`."""
    categories = tuple(f"category {n}" for n in range(26))
    keys = {
        f"key_{n}": Key(values=tuple(f"value {v}" for v in range(2 + n % 8)), categories=categories) for n in range(46)
    }
    taxonomy = Taxonomy(categories=categories, keys=keys)
    return ModelBundle.save(
        folder,
        build_network(architecture, taxonomy),
        architecture,
        taxonomy=taxonomy,
        preprocess=Preprocess(size_px=size_px, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        decision=DecisionRule(),
        provenance={},
        scores={},
    )


def ungated(
    bundle: ModelBundle,
    folder: Path,
    attempts: Mapping[tuple[Runtime, bool], Sequence[Attempt]] = ATTEMPTS,
) -> dict[str, Engine]:
    """Engines without the gate, which random answers would not pass; by default all that an export would try."""
    noise = np.random.default_rng(1).integers(0, 256, (16, 3, *bundle.preprocess.size_px), dtype=np.uint8)
    graph, sample, engines = folder / "graph.onnx", Sample(noise, None, None), dict[str, Engine]()
    write_onnx(bundle, graph)
    for (runtime, _), tried in attempts.items():
        for attempt in tried:
            name = f"{runtime} {attempt.precision}{f', {attempt.kept} in float' if attempt.kept else ''}"
            engine_folder = folder / name
            engine_folder.mkdir()
            MAKERS[runtime](graph, engine_folder / MODEL_FILES[runtime], attempt.scheme, sample)
            engines[name] = ExportedEngine.of_folder(engine_folder, runtime, attempt.precision, False)
    return engines
