"""Bundles: what is saved comes back, and whatever is not as it was saved is refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from attire.bundle import PROBE, SPEC, WEIGHTS, ModelBundle
from attire.config import Architecture, Csra, Decision
from attire.errors import BundleError
from attire.model.heads import HEADS
from attire.model.network import build_backbone, build_network
from attire.pixels.preprocess import Preprocess
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
) -> ModelBundle:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="resnet10t", head=head, csra=Csra(share=0.3), hidden=8, shared=shared, text=text, text_buckets=64
    )
    network = build_network(architecture, TAXONOMY)
    if network.heads.text is not None:
        torch.nn.init.normal_(network.heads.text.embedding.weight)
    network.category_backbone = None if shared else build_backbone(architecture)
    return ModelBundle.save(
        path,
        network,
        architecture,
        taxonomy=TAXONOMY,
        preprocess=PREPROCESS,
        decision=Decision(),
        provenance={"recipe": {"name": "base", "seed": 3}, "catalog": "abc", "products": 12},
        scores={"attribute_iou": 0.5, "map": None},
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bundle") / "a").path


@pytest.fixture
def bundle(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "a"))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("head", sorted(HEADS))
def test_what_is_saved_comes_back(tmp_path: Path, shared: bool, head: Literal["csra", "linear", "mlp"]) -> None:
    made = make(tmp_path / "a", shared=shared, head=head)
    loaded = ModelBundle.load(tmp_path / "a")
    pixels = torch.randn(2, 3, 48, 32)
    for before, after in zip(made.network(pixels), loaded.network(pixels), strict=True):
        torch.testing.assert_close(before, after)
    assert loaded.digest == made.digest
    assert (loaded.taxonomy, loaded.preprocess, loaded.decision) == (TAXONOMY, PREPROCESS, Decision())
    assert loaded.scores == {"attribute_iou": 0.5, "map": None}
    assert not loaded.network.training


def test_a_bundle_reads_titles_as_it_learned_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path / "a", text="title")
    loaded = ModelBundle.load(tmp_path / "a")
    assert loaded.title_reader == TitleReader(64)
    assert "and titles" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    text = torch.from_numpy(TitleReader(64)(["a title", ""]))
    torch.testing.assert_close(loaded.network(None, text), made.network(None, text))
    monkeypatch.setattr("attire.titles.CHARACTERS", (3, 4))  # a later attire that hashes otherwise
    with pytest.raises(BundleError, match="does not compute what it computed"):
        ModelBundle.load(tmp_path / "a")


def test_the_model_card_tells_what_it_is(saved: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    for words in ("base on resnet10t", "| attribute iou | 0.5000 |", "| map | – |", "Round, V, Boat", "digest `abc`"):
        assert words in card


def test_a_bundle_replaces_an_older_one_whole(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "left-over").touch()
    make(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert not (tmp_path / "a" / "left-over").exists()


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
    with pytest.raises(BundleError, match="does not compute what it computed"):
        ModelBundle.load(bundle)


def test_weights_of_another_network_are_refused(bundle: Path) -> None:
    edit(bundle, lambda spec: spec["network"].update(backbone="resnet14t"))
    with pytest.raises(BundleError, match="does not fit 'resnet14t'"):
        ModelBundle.load(bundle)


def test_specs_that_cannot_be_read(bundle: Path) -> None:
    edit(bundle, lambda spec: spec.update(format=2))
    with pytest.raises(BundleError, match="format 2; this attire reads format 1"):
        ModelBundle.load(bundle)
    (bundle / SPEC).write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        ModelBundle.load(bundle)


def test_a_run_points_to_its_bundle(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(BundleError, match="Expected what `attire train` writes"):
        ModelBundle.load(run)
    bundle.rename(run / "bundle")
    with pytest.raises(BundleError, match=r"Its bundle is .*run/bundle"):
        ModelBundle.load(run)


def edit(bundle: Path, change: object) -> None:
    spec = json.loads((bundle / SPEC).read_text(encoding="utf-8"))
    change(spec)  # type: ignore[operator]
    (bundle / SPEC).write_text(json.dumps(spec), encoding="utf-8")


def sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
