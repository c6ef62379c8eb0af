"""Inspect a bundle: facts, scores, and the size and speed of each engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from attire.bundle import WEIGHTS, ModelBundle
from attire.engines.engine import Engine, TorchEngine, open_engine
from attire.engines.exported import EngineRecord, check_files, cpu_name, engine_folder, engine_names, read_record
from attire.errors import AttireError
from attire.score.promise import Promise, percent
from attire.taxonomy import CATEGORY, key_label

BATCH, ROUNDS = 32, 4  # photos per batch; batches per engine, after one warm-up batch


class EngineCost(NamedTuple):
    """An engine of the bundle. record: None for torch. images_per_s, ratio (to torch's speed): None if not measured."""

    name: str
    precision: str
    record: EngineRecord | None
    megabytes: float
    images_per_s: float | None
    ratio: float | None


class Inspection(NamedTuple):
    """facts: name -> text. faults: why an exported engine cannot be used, a message each."""

    facts: dict[str, str]
    engines: tuple[EngineCost, ...]
    faults: tuple[str, ...]


def inspect(bundle: ModelBundle | str | Path, *, speed: bool = True) -> Inspection:
    """Inspect the bundle; with `speed`, measure its engines on this machine, in turns."""
    bundle = ModelBundle.of(bundle)
    facts = _facts(bundle)
    records: dict[str, EngineRecord] = {}
    faults = []
    torch_engine = TorchEngine(bundle)
    running: dict[str, Engine] = {"torch": torch_engine}
    for name in engine_names(bundle.path):
        try:
            record = read_record(bundle, name)
            if speed:
                running[name] = open_engine(bundle, name)
            else:
                check_files(bundle, name, record)
            records[name] = record
        except AttireError as error:
            faults.append(str(error))
    rates: dict[str, float] = {}
    if speed:
        height, width = bundle.preprocess.size_px
        noise = np.random.default_rng(0).integers(0, 256, (BATCH, 3, height, width), dtype=np.uint8)
        rates = images_per_s(running, noise)
        facts["speed measured"] = f"batches of {BATCH}, {torch.get_num_threads()} threads, {cpu_name()}"
    rows = [
        EngineCost(
            name,
            record.precision if record else "bfloat16" if torch_engine.half else "float32",
            record,
            _megabytes(engine_folder(bundle.path, name) if record else bundle.path / WEIGHTS),
            rates.get(name),
            rates[name] / rates["torch"] if name in rates else None,
        )
        for name, record in {"torch": None, **records}.items()
    ]
    return Inspection(facts, tuple(rows), tuple(faults))


def multiplications(bundle: ModelBundle) -> int:
    """MACs (multiply-adds) for one photo: its convolutions and matrix products, for both views with test-time flip."""
    height, width = bundle.preprocess.size_px
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        bundle.network(torch.zeros(1, 3, height, width))
    return int(counter.get_total_flops()) // 2


def _facts(bundle: ModelBundle) -> dict[str, str]:
    spec, provenance, words = bundle.spec, bundle.provenance, bundle.taxonomy
    height, width = bundle.preprocess.size_px
    views = ", two views of each photo" if spec.network.flip else ""
    shared = "" if spec.network.shared else ", a second one for the category"
    recipe = provenance.get("recipe", {})
    facts = {
        "bundle": f"{bundle.path}  ({bundle.digest[:12]}, created {spec.created})",
        "network": f"{spec.network.backbone}{shared}, {spec.network.head} heads",
        "parameters": f"{sum(p.numel() for p in bundle.network.parameters()):,}",
        "multiply-adds": f"{multiplications(bundle) / 1e9:,.2f} G per photo of {height} x {width} px{views}",
        "on disk": f"{_megabytes(bundle.path):,.1f} MB",
        "words": f"{len(words.categories)} categories, {len(words.keys)} keys, {words.width} values",
        "reads": "photos and titles" if bundle.title_reader else "photos",
        "recipe": f"{recipe.get('name', 'custom')}, seed {recipe.get('seed', 'unknown')}",
        "trained on": f"{provenance.get('products', 'an unknown number of')} products, catalog "
        f"{str(provenance.get('catalog', 'unknown'))[:12]}, split {str(provenance.get('splits', 'unknown'))[:12]}",
        **({"never answered": f"{', '.join(spec.untaught)}: no labels in training"} if spec.untaught else {}),
        "decision": ", ".join(f"{name} {value}" for name, value in bundle.decision.model_dump().items()),
        **_promise(bundle),
        "versions": ", ".join(f"{name} {number}" for name, number in provenance.get("versions", {}).items()),
    }
    scored_on = provenance.get("scored_on", "nothing yet")
    scores = (f"{name.replace('_', ' ')} {'–' if v is None else f'{v:.4f}'}" for name, v in bundle.scores.items())
    return facts | {"scores": ", ".join(scores), "scored on": str(scored_on)}


def _promise(bundle: ModelBundle) -> dict[str, str]:
    """What the bundle can promise by default, and the keys that it leaves open."""
    if bundle.calibration is None:
        return {"promise": "none: not calibrated"}
    promise, words = Promise(), bundle.taxonomy
    held_back = bundle.thresholds(promise).held_back
    keys = [key for key in words.keys if key in held_back]
    facts = {
        "promise": f"{promise} for each key, with {percent(promise.confidence)} confidence: fills "
        f"{len(words.keys) - len(keys)} of {len(words.keys)} keys{'' if CATEGORY in held_back else ' and the category'}"
    }
    if held_back:
        facts["left open"] = "\n".join(f"{key_label(key)}: {reason}" for key, reason in held_back.items())
    return facts


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def images_per_s(engines: Mapping[str, Engine], pixels: NDArray[np.uint8]) -> dict[str, float]:
    """The best of `ROUNDS` batches for each engine. Batches of `BATCH` repeat the photos in `pixels` uint8[N, 3, H, W].

    Engines take turns, so that other load on the machine slows all of them alike.
    """
    batch = pixels[np.arange(BATCH) % len(pixels)]
    best = dict.fromkeys(engines, float("inf"))
    for attempt in range(ROUNDS + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.logits(batch)
            if attempt:
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: BATCH / seconds for name, seconds in best.items()}
