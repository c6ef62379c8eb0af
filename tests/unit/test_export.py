"""Exported engines: they must agree with torch to be kept, and must be intact and up to date to be opened."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.bundles import save_bundle
from helpers.full_disk import little_room
from numpy.typing import NDArray
from onnx import helper

from attire.bundle import SPEC, ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.engines.engine import ENGINES, Engine, TorchEngine, open_engine
from attire.engines.exported import RECORD, EngineRecord, Runtime, engine_folder, engine_names, read_record
from attire.engines.runtimes import ExportedEngine
from attire.engines.speed import images_per_s
from attire.errors import BundleError, ConfigError, ExportError, MissingExtraError, StorageError
from attire.exporting import export as exporting
from attire.exporting.export import ATTEMPTS, MAKERS, Attempt, Exported, export
from attire.exporting.inspect import inspect, multiplications
from attire.exporting.onnx import make_onnx, write_onnx
from attire.exporting.openvino import make_openvino
from attire.exporting.parity import Answers, compare, passes
from attire.exporting.quantise import Scheme
from attire.exporting.sample import Sample, draw_sample
from attire.files import file_sha256, locked
from attire.model.network import build_backbone, build_network
from attire.taxonomy import Taxonomy
from attire.titles import LONGEST

EXPORTS: tuple[tuple[Runtime, bool], ...] = tuple(ATTEMPTS)


def make_bundle(folder: Path, taxonomy: Taxonomy, architecture: Architecture) -> ModelBundle:
    torch.manual_seed(0)
    network = build_network(architecture, taxonomy)
    if not architecture.shared:
        network.category_backbone = build_backbone(architecture)
    if network.heads.text is not None:
        torch.nn.init.normal_(network.heads.text.embedding.weight)
    return save_bundle(folder / "bundle", network, architecture, taxonomy)


@pytest.fixture(scope="module")
def graph(untrained: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained network, traced once because tracing is slow."""
    file = tmp_path_factory.mktemp("graph") / "graph.onnx"
    write_onnx(untrained, file)
    return file


@pytest.fixture(scope="module")
def exported(
    untrained: ModelBundle, catalog: Catalog, splits: Splits, graph: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Exported]:
    """All four engines in a copy of the untrained bundle, calibrated on the train split.

    The gate is replaced, because the near ties of a random network would not pass it.
    """
    assert splits.train
    path = tmp_path_factory.mktemp("exported") / "bundle"
    shutil.copytree(untrained.path, path)
    exports = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "write_onnx", lambda _bundle, file: shutil.copy(graph, file))
        patch.setattr(exporting, "passes", lambda _parity, precision: precision != "bfloat16")
        for runtime, int8 in EXPORTS:
            result = export(path, runtime, catalog.path, int8=int8)
            exports[result.folder.name] = result
    return exports


@pytest.fixture
def bundle(exported: dict[str, Exported], tmp_path: Path) -> ModelBundle:
    """A copy of the bundle with its engines, which a test may damage."""
    shutil.copytree(exported["onnx"].folder.parents[1], tmp_path / "bundle")
    return ModelBundle.load(tmp_path / "bundle")


@pytest.fixture(scope="module")
def sample(untrained: ModelBundle, catalog: Catalog) -> Sample:
    return draw_sample(untrained, catalog.path)


def noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 3, 32, 24), dtype=np.uint8)


def rewrite(bundle: ModelBundle, name: str, **changed: object) -> None:
    file = engine_folder(bundle.path, name) / RECORD
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def at_speed(bundle: ModelBundle, **ratios: float) -> None:
    for name, ratio in ratios.items():
        speed = read_record(bundle, name.replace("_", "-")).speed
        faster = speed.model_copy(update={"images_per_s": ratio * speed.torch_images_per_s})
        rewrite(bundle, name.replace("_", "-"), speed=faster.model_dump())


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("count", [1, 5])
def test_a_float_engine_computes_what_torch_computes(bundle: ModelBundle, name: str, count: int) -> None:
    pixels = noise(count)
    for ours, theirs in zip(
        TorchEngine(bundle, "float32").logits(pixels), open_engine(bundle, name).logits(pixels), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_an_int8_engine_is_small_and_close_to_torch(bundle: ModelBundle, name: str, sample: Sample) -> None:
    ours = TorchEngine(bundle, "float32").logits(sample.pixels)
    for a, b in zip(ours, open_engine(bundle, name).logits(sample.pixels), strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
        assert np.abs(a - b).max() > 1e-5, "nothing was quantised"
    sizes = [sum(file.stat().st_size for file in engine_folder(bundle.path, n).iterdir()) for n in (name, name[:-5])]
    assert sizes[0] < 0.5 * sizes[1]


def test_an_export_leaves_the_bundle_as_it_was(
    exported: dict[str, Exported], untrained: ModelBundle, splits: Splits
) -> None:
    path = exported["onnx"].folder.parents[1]
    assert ModelBundle.load(path).digest == untrained.digest
    assert (path / SPEC).read_bytes() == (untrained.path / SPEC).read_bytes()
    assert engine_names(path) == sorted(exported) == sorted(ENGINES.keys() - {"torch"})
    assert not list(path.glob(".export-*"))
    openvino = exported["openvino"]
    assert [attempt.precision for attempt, _ in openvino.tried] == ["bfloat16", "float32"], "the gate refused the first"
    assert openvino.record.precision == "float32"
    assert openvino.record.parity == openvino.tried[-1][1]
    assert openvino.record.parity.answers == 1
    assert openvino.record.parity.photos == len(splits.train)


def test_an_engine_that_disagrees_with_torch_is_not_kept(
    bundle: ModelBundle, catalog: Catalog, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: Path, file: Path, _scheme: Scheme | None, _sample: Sample) -> None:
        model = onnx.load(graph)
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type = "Neg"
        onnx.save(model, file)

    monkeypatch.setitem(MAKERS, "onnx", broken)
    with pytest.raises(ExportError, match=rf"(?s)was kept.*{len(splits.train)} photos.*Expected at least 99\.5%"):
        export(bundle, "onnx", catalog.path)
    assert not engine_folder(bundle.path, "onnx").exists(), "the older engine was removed"
    assert not list(bundle.path.glob(".export-*"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_engine_that_returns_nan_is_not_kept(untrained: ModelBundle, sample: Sample, value: float) -> None:
    torch_answers = Answers(*TorchEngine(untrained, "float32").logits(sample.pixels))
    category = torch_answers.category.copy()
    category[0, 0] = value
    parity = compare(untrained, sample, torch_answers, Answers(category, torch_answers.attributes))
    assert not passes(parity, "int8")
    assert "returns NaN or infinite logits" in exporting._refusal("onnx", [(Attempt("float32"), parity)])


def test_a_full_disk_leaves_the_previous_engine(
    bundle: ModelBundle, catalog: Catalog, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "write_onnx", lambda _bundle, file: shutil.copy(graph, file))
    with pytest.raises(StorageError, match="File too large"), little_room(1000):
        export(bundle, "onnx", catalog.path)
    open_engine(bundle, "onnx")
    assert not list(bundle.path.glob(".export-*"))


def test_engine_files_have_the_permissions_of_the_umask(exported: dict[str, Exported]) -> None:
    mask = os.umask(0)
    os.umask(mask)
    for result in exported.values():
        assert {stat.S_IMODE(file.stat().st_mode) for file in result.folder.iterdir()} == {0o666 & ~mask}
        assert stat.S_IMODE(result.folder.stat().st_mode) == 0o777 & ~mask


def test_the_gate_is_a_share_of_equal_decisions(untrained: ModelBundle, sample: Sample) -> None:
    ours = Answers(*TorchEngine(untrained, "float32").logits(sample.pixels))
    same = compare(untrained, sample, ours, ours)
    assert (same.answers, same.filled, same.logits) == (1, 1, 0)
    assert same.iou == same.torch_iou
    assert passes(same, "int8")
    decisions = untrained.decide(*ours)
    colour = untrained.taxonomy.columns["colour"]
    other = ours.attributes.copy()
    other[0, colour] = -other[0, colour]
    parity = compare(untrained, sample, ours, Answers(ours.category, other))
    count = len(sample.pixels) + int(decisions.applies.sum())
    assert parity.decisions == count
    assert parity.answers == pytest.approx(1 - 1 / count)
    worse = same.model_copy(update={"iou": 0.80, "torch_iou": 0.81})
    assert not passes(worse, "int8")
    assert passes(worse.model_copy(update={"iou": 0.806}), "int8")
    assert not passes(same.model_copy(update={"filled": 0.98}), "int8")
    assert not passes(same.model_copy(update={"answers": 0.99}), "float32")


def test_two_exports_never_write_one_bundle(bundle: ModelBundle, catalog: Catalog) -> None:
    with locked(bundle.path / ".export.lock"), pytest.raises(ExportError, match="another attire export is writing"):
        export(bundle, "onnx", catalog.path)


CLOSE = """
import gc, os, signal, sys
from attire.bundle import ModelBundle
from attire.engines.engine import open_engine

bundle = ModelBundle.load(sys.argv[1])
engines = [open_engine(bundle, "openvino"), open_engine(bundle, "openvino-int8")]
while engines:
    engines.pop(0)  # in the order in which they were opened
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_signals_are_handled_after_openvino_engines_were_closed(exported: dict[str, Exported]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CLOSE, exported["onnx"].folder.parents[1]], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


@pytest.mark.parametrize("kind", ["two networks", "mirrored", "titles", "colours"])
def test_every_kind_of_network_is_exported(catalog: Catalog, sample: Sample, tmp_path: Path, kind: str) -> None:
    small = {"backbone": "test_resnet", "hidden": 8, "shared": kind != "two networks"}
    extra = {
        "two networks": {},
        "mirrored": {"flip": True, "pooling": "multiscale", "head": "linear", "trunk": 16},
        "titles": {"text": "title", "text_buckets": 64, "text_width": 8, "trunk": 16},
        "colours": {
            "backbone": "test_efficientnet",
            "flip": True,
            "pooling": "multiscale",
            "head": "linear",
            "trunk": 16,
            "colour": 8,
        },
    }
    bundle = make_bundle(tmp_path, catalog.taxonomy, Architecture.model_validate(small | extra[kind]))
    write_onnx(bundle, tmp_path / "model.onnx")
    make_openvino(tmp_path / "model.onnx", tmp_path / "model.xml", None, sample)
    if kind == "colours":  # nncf fails on the cast of a constant, ONNX Runtime on scales of depthwise inputs by channel
        (tmp_path / "int8").mkdir()
        make_onnx(tmp_path / "model.onnx", tmp_path / "int8" / "model.onnx", Scheme(), Sample(noise(2), None, None))
        int8 = ExportedEngine.of_folder(tmp_path / "int8", "onnx", "int8", titles=False)
        assert all(np.isfinite(logits).all() for logits in int8.logits(noise(3)))
    reference, pixels = TorchEngine(bundle, "float32"), noise(3)
    runtimes: tuple[Runtime, ...] = ("onnx", "openvino")
    for runtime in runtimes:
        engine = ExportedEngine.of_folder(tmp_path, runtime, "float32", kind == "titles")
        pairs = [(engine.logits(pixels), reference.logits(pixels))]
        if bundle.title_reader:
            text = bundle.title_reader(["red shirt", "", "blue belt"])
            pairs.append((engine.titled_logits(pixels, text), reference.titled_logits(pixels, text)))
            assert np.abs(pairs[1][1][1][0] - pairs[0][1][1][0]).max() > 0.01, "the title changes the logits"
        for logits, expected in pairs:
            for a, b in zip(logits, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=2e-4)


def test_titles_need_photos_and_a_graph_that_reads_them(bundle: ModelBundle) -> None:
    engine = open_engine(bundle, "onnx")
    assert isinstance(engine, ExportedEngine)
    for pixels in (None, noise(1)):
        with pytest.raises(ConfigError, match="--engine torch"):
            engine.titled_logits(pixels, np.zeros((1, LONGEST), np.int32))


def _make_stale(bundle: ModelBundle) -> None:
    spec = json.loads((bundle.path / SPEC).read_text())
    spec["decision"]["gate"] = 0.7
    (bundle.path / SPEC).write_text(json.dumps(spec))


def _change_graph(bundle: ModelBundle) -> None:
    file = engine_folder(bundle.path, "onnx") / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def _add_nan(bundle: ModelBundle) -> None:
    """Put NaN into a layer, and update the digest."""
    file = engine_folder(bundle.path, "onnx") / "model.onnx"
    graph = onnx.load(file)
    weights = next(tensor for tensor in graph.graph.initializer if "bias" in tensor.name)
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full(weights.dims, np.nan, np.float32), weights.name))
    onnx.save(graph, file)
    rewrite(bundle, "onnx", sha256={file.name: file_sha256(file)})


def _drop_category(bundle: ModelBundle) -> None:
    """Remove a category from the graph's output, and update the digest."""
    file = engine_folder(bundle.path, "onnx") / "model.onnx"
    graph = onnx.load(file)
    name, columns = graph.graph.output[0].name, helper.make_tensor("columns", onnx.TensorProto.INT64, [2], [0, 1])
    for node in graph.graph.node:
        node.output[:] = ["all" if output == name else output for output in node.output]
    graph.graph.node.append(helper.make_node("Gather", ["all", "columns"], [name], axis=1))
    graph.graph.initializer.append(columns)
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    onnx.save(graph, file)
    rewrite(bundle, "onnx", sha256={file.name: file_sha256(file)})


def _write_record(content: str) -> Callable[[ModelBundle], object]:
    return lambda bundle: (engine_folder(bundle.path, "onnx") / RECORD).write_text(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_add_nan, r"returns NaN or infinite logits.*attire export"),
        (_drop_category, r"returns logits of shape \[\(2, 2\), \(2, 5\)\], expected \[\(2, 3\), \(2, 5\)\]"),
        (_write_record("[" * 5000 + "]" * 5000), r"engine\.json is damaged: nested too deep[^\n]*attire export[^\n]*$"),
        (_write_record("[]"), r"engine\.json is damaged[^\n]*attire export[^\n]*$"),
        (lambda b: rewrite(b, "onnx", sha256={}), r"engine\.json is damaged: sha256"),
        (
            lambda b: rewrite(b, "onnx", speed=read_record(b, "onnx").speed.model_dump() | {"torch_images_per_s": 0}),
            r"engine\.json is damaged: speed\.torch_images_per_s",
        ),
        (_make_stale, r"is out of date: it was exported from bundle .*attire export .*--to onnx --photos"),
        (_change_graph, r"model\.onnx is missing or has changed since it was exported.*attire export"),
        (lambda b: (engine_folder(b.path, "onnx") / "model.onnx").unlink(), "is missing or has changed"),
        (lambda b: (engine_folder(b.path, "onnx") / RECORD).write_text("{"), r"engine\.json is damaged"),
        (lambda b: shutil.rmtree(engine_folder(b.path, "onnx")), r"has no engine 'onnx' \(exported: onnx-int8, "),
    ],
)
def test_a_damaged_engine_is_refused_and_skipped_by_auto(
    bundle: ModelBundle, damage: Callable[[ModelBundle], object], message: str
) -> None:
    at_speed(bundle, onnx=9, openvino=0.5, onnx_int8=0.5, openvino_int8=0.5)
    damage(bundle)
    damaged = ModelBundle.load(bundle.path)
    with pytest.raises(BundleError, match=f"(?s){message}"):
        open_engine(damaged, "onnx")
    assert isinstance(open_engine(damaged), TorchEngine)


def test_auto_selects_the_fastest_engine_that_can_be_opened(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "attire")
    at_speed(bundle, onnx=1.5, openvino=2, onnx_int8=0.9, openvino_int8=3)
    opened: list[str] = []

    def watched(name: str, real: Callable[[ModelBundle], Engine]) -> Callable[[ModelBundle], Engine]:
        def opening(bundle: ModelBundle) -> Engine:
            opened.append(name)
            return real(bundle)

        return opening

    for name, real in list(ENGINES.items()):
        monkeypatch.setitem(ENGINES, name, watched(name, real))
    assert isinstance(open_engine(bundle), ExportedEngine)
    assert opened == ["openvino-int8"]
    assert "engine openvino-int8: 3.0 times as fast as torch" in caplog.text
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert isinstance(open_engine(bundle), ExportedEngine)
    assert opened == ["openvino-int8"] * 2 + ["openvino", "onnx"]
    assert "pip install 'attire[openvino]'" in caplog.text
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(open_engine(bundle), TorchEngine), "onnx-int8 is slower"
    with pytest.raises(MissingExtraError, match=r"attire\[onnx\]"):
        open_engine(bundle, "onnx")
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        open_engine(bundle, "openvion")


def test_a_sample_has_readable_photos_only(untrained: ModelBundle, catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "bad.jpg").write_text("no photo")
    with pytest.raises(ConfigError, match="no readable photo"):
        draw_sample(untrained, folder)
    for n, views in enumerate(catalog.photo_paths()[:4]):
        shutil.copy(views[0], folder / f"{n}.png")
    sample = draw_sample(untrained, folder)
    assert (len(sample.pixels), sample.truth, sample.text) == (4, None, None)
    assert len(draw_sample(untrained, folder, 2).pixels) <= 2
    both = [draw_sample(untrained, catalog.path, 20) for _ in range(2)]
    np.testing.assert_array_equal(both[0].pixels, both[1].pixels)
    assert both[0].truth is not None
    assert len(both[0].truth.category) == 20


def test_macs_are_those_of_convolutions_and_linear_layers(untrained: ModelBundle) -> None:
    macs = 0

    def count(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal macs
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        macs += output[0].numel() * weight[0].numel()

    layers = (torch.nn.Conv2d, torch.nn.Linear)
    handles = [m.register_forward_hook(count) for m in untrained.network.modules() if isinstance(m, layers)]
    with torch.no_grad():
        untrained.network(torch.zeros(1, 3, 32, 24))
    for handle in handles:
        handle.remove()
    heads = untrained.network.heads.attributes
    assert isinstance(heads.weight, torch.Tensor)
    assert multiplications(untrained) == macs + heads.weight.numel()


def test_an_inspection_shows_engines_and_faults(bundle: ModelBundle) -> None:
    _change_graph(bundle)
    inspection = inspect(bundle, speed=False)
    assert [engine.name for engine in inspection.engines] == ["torch", "onnx-int8", "openvino", "openvino-int8"]
    assert "has changed since it was exported" in inspection.faults[0]
    assert inspection.facts["words"] == f"3 categories, 2 keys, {bundle.taxonomy.width} values"
    measured = inspect(bundle).engines
    assert all(engine.images_per_s for engine in measured)
    assert measured[0].ratio == 1


def test_engines_take_turns_when_they_are_measured() -> None:
    calls = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            calls.append((self.name, len(pixels)))
            return np.zeros((len(pixels), 1), np.float32), np.zeros((len(pixels), 1), np.float32)

    rates = images_per_s({"a": Fake("a"), "b": Fake("b")}, noise(3))
    assert [name for name, _ in calls[:4]] == ["a", "b", "a", "b"]
    assert {count for _, count in calls} == {32}
    assert all(rate > 0 for rate in rates.values())


def test_a_record_can_be_written_and_read(exported: dict[str, Exported]) -> None:
    for result in exported.values():
        assert EngineRecord.model_validate_json((result.folder / RECORD).read_bytes()) == result.record
