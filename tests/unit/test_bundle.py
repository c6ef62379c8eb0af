"""Bundles: they load as they were saved, and whatever was changed is refused with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from attire.bundle import SPEC, WEIGHTS, ModelBundle
from attire.config import Architecture, Csra, DecisionRule
from attire.errors import BundleError
from attire.learned import LEARNED, Learned
from attire.model.heads import HEADS
from attire.model.network import Network, build_backbone, build_network
from attire.pixels.preprocess import Preprocess
from attire.probe import PROBE
from attire.taxonomy import Key, Taxonomy
from attire.titles import TitleReader

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"), keys={"neck": Key(categories=("Shirts",), values=("Round", "V", "Boat"))}
)
PREPROCESS = Preprocess(size_px=(48, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def make(
    path: Path,
    *,
    shared: bool = True,
    head: Literal["csra", "linear", "mlp"] = "mlp",
    text: Literal["none", "title"] = "none",
    untaught: tuple[str, ...] = (),
    learned: Learned | None = None,
    change: Callable[[Network], object] = lambda _network: None,
) -> ModelBundle:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="test_resnet", head=head, csra=Csra(share=0.3), hidden=8, shared=shared, text=text, text_buckets=64
    )
    network = build_network(architecture, TAXONOMY)
    if network.heads.text is not None:
        torch.nn.init.normal_(network.heads.text.embedding.weight)
    network.category_backbone = None if shared else build_backbone(architecture)
    with torch.no_grad():
        change(network)
    return ModelBundle.save(
        path,
        network,
        architecture,
        taxonomy=TAXONOMY,
        preprocess=PREPROCESS,
        decision=DecisionRule(),
        untaught=untaught,
        learned=learned,
        provenance={"recipe": {"name": "base", "seed": 3}, "catalog": "abc", "products": 12},
        scores={"attribute_iou": 0.5, "map": None},
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bundle") / "a").path


@pytest.fixture
def bundle(saved: Path, tmp_path: Path) -> Path:
    """A copy that tests may change."""
    return Path(shutil.copytree(saved, tmp_path / "a"))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_saved_bundle_loads_unchanged(tmp_path: Path, shared: bool, head: Literal["csra", "linear", "mlp"]) -> None:
    saved = make(tmp_path / "a", shared=shared, head=head)
    loaded = ModelBundle.load(tmp_path / "a")
    pixels = torch.randn(2, 3, 48, 32)
    for before, after in zip(saved.network(pixels), loaded.network(pixels), strict=True):
        torch.testing.assert_close(before, after)
    assert loaded.digest == saved.digest
    assert (loaded.taxonomy, loaded.preprocess, loaded.decision) == (TAXONOMY, PREPROCESS, DecisionRule())
    assert loaded.scores == {"attribute_iou": 0.5, "map": None}
    assert not loaded.network.training


def test_a_bundle_hashes_titles_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = make(tmp_path / "a", text="title")
    loaded = ModelBundle.load(tmp_path / "a")
    assert loaded.title_reader == TitleReader(64)
    assert "and titles" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    text = torch.from_numpy(TitleReader(64)(["a title", ""]))
    torch.testing.assert_close(loaded.network(None, text), saved.network(None, text))
    monkeypatch.setattr("attire.titles.CHARACTERS", (3, 4))  # another hash, as in a later version
    with pytest.raises(BundleError, match="gives other answers than when it was saved"):
        ModelBundle.load(tmp_path / "a")


def test_the_model_card(saved: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    for words in ("base on test_resnet", "| attribute iou | 0.5000 |", "| map | – |", "Round, V, Boat", "digest `abc`"):
        assert words in card


def test_saving_replaces_all_files(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "outdated").touch()
    make(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert not (tmp_path / "a" / "outdated").exists()


@pytest.mark.parametrize("name", [WEIGHTS, PROBE])
def test_missing_and_changed_files_are_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match="not the file that was saved"):
        ModelBundle.load(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="is missing"):
        ModelBundle.load(bundle)


def test_other_answers_than_when_saved_are_refused(bundle: Path) -> None:
    probe = load_file(bundle / PROBE)
    probe["attributes"][0, 0] += 0.5
    save_file(probe, bundle / PROBE)
    edit(bundle, lambda spec: spec["sha256"].update({PROBE: sha256(bundle / PROBE)}))
    with pytest.raises(BundleError, match="gives other answers than when it was saved"):
        ModelBundle.load(bundle)


def test_weights_of_another_network_are_refused(bundle: Path) -> None:
    edit(bundle, lambda spec: spec["network"].update(backbone="resnet14t"))
    with pytest.raises(BundleError, match="does not fit 'resnet14t'"):
        ModelBundle.load(bundle)


def test_specs_that_cannot_be_read(bundle: Path) -> None:
    edit(bundle, lambda spec: spec.update(format=4))
    with pytest.raises(BundleError, match="format 4; this attire reads formats 1 to 3"):
        ModelBundle.load(bundle)
    (bundle / SPEC).write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        ModelBundle.load(bundle)


NAN = float("nan")
PROBES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "without a key": lambda probe: probe.pop("category"),
    "without photos": lambda probe: probe.pop("pixels"),
    "of another shape": lambda probe: probe.update(category=probe["category"][:1].clone()),
    "of nothing": lambda probe: probe.update({name: tensor[:0].clone() for name, tensor in probe.items()}),
    "of another type": lambda probe: probe.update(pixels=probe["pixels"].float()),
    "of another size": lambda probe: probe.update(pixels=probe["pixels"][:, :, :8].clone()),
}


@pytest.mark.parametrize("change", PROBES.values(), ids=PROBES)
def test_an_invalid_probe_is_refused(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    rewrite(bundle, PROBE, change)
    with pytest.raises(BundleError, match=r"not the probe of this bundle: expected attributes float32\[2, 3\]"):
        ModelBundle.load(bundle)


def test_nan_logits_in_the_probe_are_refused(bundle: Path) -> None:
    rewrite(bundle, PROBE, lambda probe: probe["category"].fill_(NAN))
    with pytest.raises(BundleError, match="its category logits differ by nan"):
        ModelBundle.load(bundle)


@pytest.mark.parametrize("name", ["heads.attributes.bias", "backbone.bn1.running_var"])
def test_nan_weights_are_refused(bundle: Path, name: str) -> None:
    rewrite(bundle, WEIGHTS, lambda weights: weights[name].fill_(NAN))
    with pytest.raises(
        BundleError, match=f"contains NaN or infinite values, for example in {name}: the training diverged"
    ):
        ModelBundle.load(bundle)


def test_a_diverged_network_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a was not written: .* in heads\.category\.bias.*lower learning rate"):
        make(tmp_path / "a", change=lambda network: network.heads.category.bias.fill_(NAN))
    assert not list(tmp_path.iterdir())


SPECS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no digests": (lambda spec: spec["sha256"].clear(), "sha256 must name"),
    "another digest": (lambda spec: spec["sha256"].update({"../x": "0"}), "sha256 must name"),
    "photos of no size": (lambda spec: spec["preprocess"].update(size_px=[-4, 0]), r"preprocess\.size_px\.0"),
    "a deviation of zero": (lambda spec: spec["preprocess"].update(std=[0, 1, 1]), r"preprocess\.std\.0"),
    "too large a network": (lambda spec: spec["network"].update(hidden=10**12), r"network\.hidden"),
    "provenance in one word": (lambda spec: spec["provenance"].update(recipe="base"), r"provenance\.recipe"),
    "a short calibration": (
        lambda spec: spec.update(calibration={"category_temperature": 1, "temperature": [], "thresholds": {}}),
        "calibration has another number of keys",
    ),
    "thresholds of other values": (
        lambda spec: spec.update(
            calibration={"category_temperature": 1, "temperature": [1], "thresholds": {"0.95": [1]}}
        ),
        "calibration has another number of keys",
    ),
    "no temperature": (
        lambda spec: spec.update(calibration={"category_temperature": 0, "temperature": [1], "thresholds": {}}),
        r"calibration\.category_temperature",
    ),
    "an unknown untaught key": (lambda spec: spec.update(untaught=["nck"]), "'nck', which is not a key"),
}


@pytest.mark.parametrize(("change", "fault"), SPECS.values(), ids=SPECS)
def test_specs_that_contradict_themselves(bundle: Path, change: Callable[[dict[str, Any]], object], fault: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=rf"bundle\.json is damaged: [^\n]*{fault}[^\n]*Copy the bundle again"):
        ModelBundle.load(bundle)


@pytest.mark.parametrize("content", [b"[" * 5000 + b"]" * 5000, b"[]", b"\xff", b'{"format": 1}'])
def test_damaged_specs_are_reported_in_one_line(bundle: Path, content: bytes) -> None:
    (bundle / SPEC).write_bytes(content)
    with pytest.raises(BundleError, match=r"^[^\n]*bundle\.json (is damaged|has format)[^\n]*$"):
        ModelBundle.load(bundle)


def test_files_without_read_permission(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("attire.bundle.file_sha256", forbidden)
    with pytest.raises(BundleError, match=r"safetensors cannot be read: Permission denied\. Check its permissions"):
        ModelBundle.load(bundle)


def test_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = make(tmp_path / "a").path
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == dict.fromkeys((SPEC, WEIGHTS, PROBE, "README.md"), 0o644)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_key_without_labels_is_never_answered(tmp_path: Path) -> None:
    saved = make(tmp_path / "a", untaught=("neck",))
    loaded = ModelBundle.load(saved.path)
    assert loaded.spec.untaught == ("neck",)
    decisions = loaded.decide(np.array([[5, 0]], dtype=np.float32), np.array([[0, 9, 0]], dtype=np.float32))
    assert decisions.applies[0, 0]
    for precision in (None, 0.95):
        assert not loaded.accepted(decisions, precision).keys.any()
    assert not decisions.probability.any(), "what a network says of it is chance"


def test_the_digest_of_a_bundle_with_all_keys_taught_is_that_of_older_ones(saved: Path) -> None:
    assert "untaught" not in json.loads((saved / SPEC).read_text(encoding="utf-8"))


def test_of_takes_bundles_and_paths(saved: Path) -> None:
    loaded = ModelBundle.load(saved)
    assert ModelBundle.of(loaded) is loaded
    assert ModelBundle.of(saved).digest == ModelBundle.of(str(saved)).digest == loaded.digest


def test_the_message_for_a_run_names_its_bundle(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(BundleError, match="Expected what `attire train` writes"):
        ModelBundle.load(run)
    bundle.rename(run / "bundle")
    with pytest.raises(BundleError, match=r"Its bundle is .*run/bundle"):
        ModelBundle.load(run)


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    spec = json.loads((bundle / SPEC).read_text(encoding="utf-8"))
    change(spec)
    (bundle / SPEC).write_text(json.dumps(spec), encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(bundle: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a file, and its digest in the spec."""
    tensors = load_file(bundle / name)
    change(tensors)
    save_file(tensors, bundle / name)
    edit(bundle, lambda spec: spec["sha256"].update({name: sha256(bundle / name)}))


def test_the_learned_photos_are_saved_and_verified(tmp_path: Path) -> None:
    digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(20)]
    bundle = make(tmp_path / "a", learned=Learned.of(digests[:10] * 2))
    assert bundle.learned is not None
    assert len(bundle.learned) == 10
    assert bundle.learned.has(digests).tolist() == [True] * 10 + [False] * 10
    assert (bundle.learned | Learned.of(digests[8:12])).has(digests).sum() == 12
    assert make(tmp_path / "b").learned is None
    other = make(tmp_path / "b", learned=Learned.of(digests[5:]))
    shutil.copy(other.path / LEARNED, bundle.path)
    with pytest.raises(BundleError, match=r"learned\.safetensors is not the file that was saved"):
        ModelBundle.load(bundle.path)
    (bundle.path / LEARNED).unlink()
    with pytest.raises(BundleError, match=r"learned\.safetensors is missing: the bundle is incomplete"):
        ModelBundle.load(bundle.path)


@pytest.mark.parametrize("content", [{}, {"photos": np.zeros(3)}, {"other": np.zeros(3, np.uint64)}, None])
def test_a_damaged_record_of_learned_photos_is_refused(tmp_path: Path, content: dict[str, Any] | None) -> None:
    path = make(tmp_path / "a", learned=Learned.of([])).path
    if content is None:
        (path / LEARNED).write_bytes(b"[" * 100)
    else:
        save_arrays(content, path / LEARNED)
    edit(path, lambda spec: spec["provenance"]["learned"].update(sha256=sha256(path / LEARNED)))
    with pytest.raises(BundleError, match=r"learned\.safetensors is damaged"):
        ModelBundle.load(path)
