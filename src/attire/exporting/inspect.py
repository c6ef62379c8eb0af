"""Inspect a bundle: facts, scores, and the size and speed of each engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from attire.bundle import WEIGHTS, ModelBundle
from attire.engines.conditions import conditions_here
from attire.engines.engine import AUTO, Engine, TorchEngine, open_engine
from attire.engines.exported import EngineRecord, check_files, engine_folder, engine_names, read_record
from attire.engines.ranking import known_ranking, recall
from attire.engines.runtimes import PACKAGES
from attire.engines.speed import BATCH, images_per_s
from attire.errors import AttireError
from attire.score.promise import Promise, percent
from attire.taxonomy import CATEGORY, key_label


class EngineCost(NamedTuple):
    """An engine of the bundle. record: None for torch. images_per_s, ratio (to torch's speed): None if not measured."""

    name: str
    precision: str
    record: EngineRecord | None
    megabytes: float
    images_per_s: float | None
    ratio: float | None


class KnownSpeed(NamedTuple):
    """A speed that decides what `auto` takes. measured: when, and under which conditions."""

    engine: str
    images_per_s: float
    ratio: float
    measured: str


class Inspection(NamedTuple):
    """facts: name -> text. speeds: those at export, and those that were measured on this machine afterwards.

    faults: why an exported engine cannot be used, a message each.
    """

    facts: dict[str, str]
    engines: tuple[EngineCost, ...]
    speeds: tuple[KnownSpeed, ...]
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
    facts[f"--engine {AUTO}"] = _automatic(bundle, records)
    rates: dict[str, float] = {}
    if speed:
        height, width = bundle.preprocess.size_px
        noise = np.random.default_rng(0).integers(0, 256, (BATCH, 3, height, width), dtype=np.uint8)
        rates = images_per_s(running, noise)
        facts["speed measured"] = f"batches of {BATCH}, {conditions_here(*PACKAGES.values())}"
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
    return Inspection(facts, tuple(rows), tuple(_known_speeds(bundle, records)), tuple(faults))


def _automatic(bundle: ModelBundle, records: Mapping[str, EngineRecord]) -> str:
    """What `auto` takes on this machine, and why."""
    if torch.cuda.is_available():
        return "torch, on the GPU"
    if not records:
        return "torch: no engine was exported"
    if (ranking := known_ranking(bundle, records)) is None:
        return "measures the engines when it is first used: they were exported under other conditions"
    name, ratio = max(ranking.ratios.items(), key=lambda item: item[1], default=("torch", 1.0))
    return f"{name}, {ratio:.1f} times as fast as torch, {ranking.measured}" if ratio > 1 else "torch"


def _known_speeds(bundle: ModelBundle, records: Mapping[str, EngineRecord]) -> Iterator[KnownSpeed]:
    for name, record in records.items():
        speed = record.speed
        yield KnownSpeed(name, speed.images_per_s, speed.ratio, f"{record.created[:10]}, at export: {speed.conditions}")
    if (local := recall(bundle, records)) is not None:
        for name, ratio in local.ranking.ratios.items():
            here = f"{local.created:%Y-%m-%d}, for {AUTO}: {local.conditions}"
            yield KnownSpeed(name, local.images_per_s[name], ratio, here)


def multiplications(bundle: ModelBundle) -> int:
    """MACs (multiply-adds) for one photo: its convolutions and matrix products, for both views with test-time flip."""
    height, width = bundle.preprocess.size_px
    counter = FlopCounterMode(display=False)
    # Without gradients, as the counter follows modules by them, and fails for a parameter that is passed to a module.
    weights = {name: parameter.detach() for name, parameter in bundle.network.named_parameters()}
    with torch.no_grad(), counter:
        functional_call(bundle.network, weights, torch.zeros(1, 3, height, width))
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
