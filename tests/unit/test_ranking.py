"""`auto` goes by speeds at export on an equal machine, and otherwise by speeds that are measured here once."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from helpers.full_disk import little_room

from attire.bundle import ModelBundle
from attire.engines import ranking, speed
from attire.engines.conditions import Conditions, conditions_here
from attire.engines.engine import ENGINES, Bytes, Floats, open_engine
from attire.engines.exported import RECORD, EngineRecord, Parity, Speed, engine_folder
from attire.engines.ranking import LocalSpeeds
from attire.errors import BundleError
from attire.exporting.inspect import inspect

ELSEWHERE = {"cpu": "Other CPU", "threads": 64, "instructions": ("AVX512", "AMX"), "versions": {"torch": "2.13.0"}}
AT_EXPORT = {"onnx": 1.5, "openvino": 3.0}  # times as fast as torch


class Timed:
    """An engine that takes `ms` per photo, and counts the photos."""

    def __init__(self, name: str, ms: float, photos: Counter[str]) -> None:
        self.name, self.ms, self.photos = name, ms, photos

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        self.photos[self.name] += len(pixels)
        time.sleep(self.ms / 1000 * len(pixels))
        return np.zeros((len(pixels), 1), np.float32), np.zeros((len(pixels), 1), np.float32)


class Engines:
    """The engines of this machine, in place of `ENGINES`: ms per photo by name, photos that each computed."""

    def __init__(self, patch: pytest.MonkeyPatch, ms: Mapping[str, float]) -> None:
        self.photos, self.opened = Counter[str](), Counter[str]()
        for name, each in ms.items():
            patch.setitem(ENGINES, name, self._opener(name, each))

    def _opener(self, name: str, ms: float) -> Callable[[ModelBundle], Timed]:
        def opening(_bundle: ModelBundle) -> Timed:
            self.opened[name] += 1
            return Timed(name, ms, self.photos)

        return opening


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranking, "SECONDS", 0.1)
    return tmp_path / "cache" / "engine-speeds"


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Here ONNX Runtime is the fastest."""
    monkeypatch.setattr("attire.engines.engine.TorchEngine", lambda _bundle: Timed("torch", 0, Counter()))
    return Engines(monkeypatch, {"torch": 2, "onnx": 0.5, "openvino": 5})


def exported(untrained: ModelBundle, folder: Path, **conditions: object) -> ModelBundle:
    """A copy of the bundle with engines that were exported under these conditions, by default those of here."""
    shutil.copytree(untrained.path, folder)
    for name, ratio in AT_EXPORT.items():
        here = conditions_here("onnxruntime" if name == "onnx" else name).model_dump()
        record = EngineRecord(
            created="2026-11-26T00:00:00+00:00",
            runtime="onnx" if name == "onnx" else "openvino",
            precision="float32",
            kept="",
            titles=False,
            bundle=untrained.digest,
            sha256={"model": "0"},
            versions={},
            parity=Parity(photos=1, decisions=1, answers=1, filled=1, iou=None, torch_iou=None, logits=0),
            speed=Speed(images_per_s=ratio, torch_images_per_s=1, batch=32, **(here | conditions)),
        )
        engine_folder(folder, name).mkdir(parents=True)
        (engine_folder(folder, name) / RECORD).write_text(record.model_dump_json())
    return ModelBundle.load(folder)


def test_an_equal_machine_goes_by_the_speeds_at_export(
    untrained: ModelBundle, tmp_path: Path, cache: Path, engines: Engines
) -> None:
    assert open_engine(exported(untrained, tmp_path / "bundle")).name == "openvino"
    assert not engines.photos
    assert not cache.exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"cpu": "Other CPU"},
        {"instructions": ["AVX512", "AMX"]},
        {"threads": 1000},
        {"gpu": "Other GPU"},
        {"versions": {"torch": "2.11.0"}},
    ],
)
def test_another_machine_measures_once(
    untrained: ModelBundle,
    tmp_path: Path,
    cache: Path,
    engines: Engines,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, object],
) -> None:
    caplog.set_level(logging.INFO, "attire")
    bundle = exported(untrained, tmp_path / "bundle", **changed)
    files = {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()}
    assert open_engine(bundle).name == "onnx"
    assert "measuring them once under these" in caplog.text
    assert "engine onnx: " in caplog.text
    measured = engines.photos.copy()
    assert set(measured) == {"torch", "onnx", "openvino"}
    assert len(set(measured.values())) == 1, "all engines compute the same photos"
    assert open_engine(ModelBundle.load(bundle.path)).name == "onnx"
    assert engines.photos == measured
    assert {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()} == files
    assert len([*cache.glob("*.json")]) == 1


def test_an_engine_that_is_named_is_not_measured(
    untrained: ModelBundle, tmp_path: Path, cache: Path, engines: Engines
) -> None:
    assert open_engine(exported(untrained, tmp_path / "bundle", **ELSEWHERE), "openvino").name == "openvino"
    assert not engines.photos
    assert not cache.exists()


def test_records_without_instructions_and_versions_are_measured(
    untrained: ModelBundle, tmp_path: Path, cache: Path, engines: Engines
) -> None:
    """Records of earlier versions."""
    bundle = exported(untrained, tmp_path / "bundle")
    for name in AT_EXPORT:
        file = engine_folder(bundle.path, name) / RECORD
        record = json.loads(file.read_text())
        for field in ("instructions", "gpu", "versions"):
            del record["speed"][field]
        file.write_text(json.dumps(record))
    assert open_engine(bundle).name == "onnx"
    assert engines.photos["torch"]
    assert [*cache.glob("*.json")]


def test_torch_is_used_where_it_is_the_fastest(
    untrained: ModelBundle, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engines(monkeypatch, {"torch": 0.5, "onnx": 2, "openvino": 2})
    monkeypatch.setattr("attire.engines.engine.TorchEngine", lambda _bundle: Timed("torch", 0, Counter()))
    assert open_engine(exported(untrained, tmp_path / "bundle", **ELSEWHERE)).name == "torch"
    (file,) = cache.glob("*.json")
    ratios = LocalSpeeds.model_validate_json(file.read_bytes()).ranking.ratios
    assert all(ratio < 1 for ratio in ratios.values())


def test_other_conditions_other_exports_and_damaged_files_are_measured_again(
    untrained: ModelBundle, tmp_path: Path, cache: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = exported(untrained, tmp_path / "bundle", **ELSEWHERE)

    def measures() -> bool:
        engines.photos.clear()
        open_engine(bundle)
        return bool(engines.photos)

    assert measures()
    assert not measures()
    record = engine_folder(bundle.path, "onnx") / RECORD
    record.write_text(record.read_text().replace("2026-11-26", "2026-11-27"))
    assert measures(), "the engine was exported again"
    assert not measures()
    (file,) = cache.glob("*.json")
    file.write_text("[" * 5000)
    assert measures()
    assert not measures()
    monkeypatch.setattr("attire.engines.conditions.cpu_name", lambda: "Third CPU")
    assert measures()
    assert not measures()
    assert len([*cache.glob("*.json")]) == 2


@pytest.mark.usefixtures("cache")
def test_several_processes_measure_once(untrained: ModelBundle, tmp_path: Path, engines: Engines) -> None:
    """Threads stand for processes: a lock is held by an open file, and each has its own."""
    bundle, chosen = exported(untrained, tmp_path / "bundle", **ELSEWHERE), []
    threads = [threading.Thread(target=lambda: chosen.append(open_engine(bundle).name)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chosen == ["onnx"] * 6
    assert engines.opened == {"torch": 1, "onnx": 1 + 6, "openvino": 1}


def test_if_another_process_hangs_the_speeds_at_export_decide(
    untrained: ModelBundle,
    tmp_path: Path,
    cache: Path,
    engines: Engines,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundle = exported(untrained, tmp_path / "bundle", **ELSEWHERE)
    open_engine(bundle)
    (file,) = cache.glob("*.json")
    file.unlink()
    engines.photos.clear()
    monkeypatch.setattr(ranking, "PATIENCE_S", 0.1)
    with FileLock(file.with_suffix(".lock")):
        assert open_engine(bundle).name == "openvino"
    assert not engines.photos
    assert "another process has been measuring" in caplog.text


@pytest.mark.parametrize("fault", ["no folder", "full disk"])
def test_a_cache_that_cannot_be_written_is_no_error(
    untrained: ModelBundle,
    tmp_path: Path,
    cache: Path,
    engines: Engines,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    bundle = exported(untrained, tmp_path / "bundle", **ELSEWHERE)
    if fault == "no folder":
        cache.parent.write_text("a file")
        assert open_engine(bundle).name == "onnx"
    else:
        with little_room(10):
            assert open_engine(bundle).name == "onnx"
    assert engines.photos
    assert "cannot be kept in" in caplog.text
    assert "ATTIRE_CACHE" in caplog.text


def test_an_engine_that_cannot_be_opened_is_left_out(
    untrained: ModelBundle,
    tmp_path: Path,
    cache: Path,
    engines: Engines,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_bundle: ModelBundle) -> Timed:
        raise BundleError("model.onnx is missing")

    monkeypatch.setitem(ENGINES, "onnx", broken)
    bundle = exported(untrained, tmp_path / "bundle", **ELSEWHERE)
    assert open_engine(bundle).name == "torch"
    assert "not using the engine 'onnx': model.onnx is missing" in caplog.text
    assert engines.photos["openvino"]
    assert [*cache.glob("*.json")]


@pytest.mark.parametrize(("s_per_photo", "batch"), [(0.0001, 32), (0.02, 7), (0.2, 1), (9.0, 1)])
def test_batches_are_as_large_as_the_time_allows(
    monkeypatch: pytest.MonkeyPatch, s_per_photo: float, batch: int
) -> None:
    now = 0.0

    class Slow:
        name = "slow"

        def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
            nonlocal now
            now += s_per_photo * len(pixels)
            return np.zeros((len(pixels), 1), np.float32), np.zeros((len(pixels), 1), np.float32)

    monkeypatch.setattr("attire.engines.speed.time.perf_counter", lambda: now)
    engines, noise = {"a": Slow(), "b": Slow()}, np.zeros((1, 3, 4, 4), np.uint8)
    assert speed.batch_within(engines, noise, 1.5) == batch
    warmed_up = now
    speed.images_per_s(engines, noise, batch)
    assert now - warmed_up == pytest.approx(2 * (speed.ROUNDS + 1) * batch * s_per_photo)


@pytest.mark.usefixtures("cache", "engines")
def test_an_inspection_says_where_each_speed_was_measured(untrained: ModelBundle, tmp_path: Path) -> None:
    bundle = exported(untrained, tmp_path / "bundle", **ELSEWHERE)
    engine_folder(bundle.path, "onnx").joinpath("model").write_text("")

    def inspected() -> tuple[str, dict[str, list[str]]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("attire.exporting.inspect.check_files", lambda *_: None)
            patch.setattr("attire.exporting.inspect.TorchEngine", lambda _bundle: _torch())
            inspection = inspect(bundle, speed=False)
        lines: dict[str, list[str]] = {}
        for known in inspection.speeds:
            lines.setdefault(known.engine, []).append(known.measured)
        return inspection.facts["--engine auto"], lines

    automatic, lines = inspected()
    assert automatic.startswith("measures the engines when it is first used")
    expected = "2026-11-26, at export: Other CPU (AVX512, AMX), 64 threads, torch 2.13.0"
    assert lines == {"onnx": [expected], "openvino": [expected]}
    open_engine(bundle)
    automatic, lines = inspected()
    assert automatic.startswith("onnx, ")
    assert "measured on this machine on" in automatic
    assert lines["onnx"][0] == expected
    assert lines["onnx"][1].endswith(f"for auto: {conditions_here('onnxruntime', 'openvino')}")


def _torch() -> Timed:
    engine = Timed("torch", 0, Counter())
    engine.half = False  # type: ignore[attr-defined]
    return engine


def test_conditions_have_what_tells_processors_apart() -> None:
    here = conditions_here("onnxruntime", "no-such-package")
    assert here == Conditions.model_validate_json(here.model_dump_json())
    assert here.cpu
    assert here.threads > 0
    assert here.instructions
    assert set(here.versions) <= {"torch", "onnxruntime"}
