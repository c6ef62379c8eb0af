"""The last stages of a network, trained on what the first stages made of cached views of the photos."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Architecture, Recipe, load_recipe
from attire.embeddings import catalog_embeddings, catalog_views
from attire.errors import ConfigError, StorageError
from attire.model.input_size import data_config
from attire.model.last_stages import FirstStages, LastStages
from attire.model.network import Network, build_network
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Key, Taxonomy
from attire.training.initial_weights import initial_network
from attire.training.run import train

TAXONOMY = Taxonomy(categories=("Shirts", "Belts"), keys={"neck": Key(categories=("Shirts",), values=("Round", "V"))})
SIZE = (64, 48)
PIXELS = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {
    "backbone": "resnet10t",
    "size_px": SIZE,
    "batch_size": 16,
    "trunk": 8,
    "colour": 4,
    "amp": "off",
}


def network_of(backbone: str, **fields: Any) -> Network:
    architecture = {"backbone": backbone, "pooling": "multiscale", "trunk": 8, "head": "linear", "flip": True, **fields}
    return build_network(Architecture.model_validate(architecture), TAXONOMY).eval()


def tiny(**fields: Any) -> Recipe:
    return load_recipe("tuned", {**SMALL, "attributes": {"epochs": 2, "lr": 1e-2}, **fields})


@pytest.mark.parametrize(
    ("backbone", "trained"),
    [
        *(("resnet10t", trained) for trained in (1, 2, 3)),
        ("tf_efficientnet_lite0", 1),
        ("convnext_atto", 2),
        ("regnety_002", 1),
        ("mobilenetv4_conv_small_050", 1),
    ],
)
@pytest.mark.parametrize("colour", [0, 4])
def test_both_parts_together_equal_the_network(backbone: str, trained: int, colour: int) -> None:
    network = network_of(backbone, colour=colour)
    last = LastStages(network, trained, SIZE).eval()
    first = FirstStages(network, trained)
    with torch.no_grad():
        rows = torch.stack([first(PIXELS), first(PIXELS.flip(3))], dim=1)
        torch.testing.assert_close(last(rows), network(PIXELS), rtol=1e-3, atol=1e-4)


def test_only_the_last_stages_and_the_heads_are_trained() -> None:
    network = network_of("resnet10t")
    last = LastStages(network, 1, SIZE)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    trained = {names[id(parameter)] for parameter in last.parameters()}
    assert {name for name in trained if name.startswith("backbone")} == {
        name for name in names.values() if name.startswith("backbone.backbone.layer4.")
    }
    assert {name for name in names.values() if name.startswith("heads")} <= trained
    assert set(network.backbone.state_dict()) == set(network_of("resnet10t").backbone.state_dict())


def test_every_trained_parameter_gets_a_gradient() -> None:
    """Processes that train together wait for all gradients."""
    for name, recipe in (("tuned", tiny(backbone="test_efficientnet")), ("base", load_recipe("base", SMALL))):
        network, _ = initial_network(recipe, TAXONOMY, "none", None)
        last = name == "tuned"
        model = LastStages(network, 1, SIZE).train() if last else network.train()
        logits = model(FirstStages(network, 1)(PIXELS) if last else PIXELS)
        (logits.category.sum() + logits.attributes.sum()).backward()
        missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_a_backbone_that_cannot_be_divided_is_refused(backbone: str) -> None:
    size = (160, 160) if backbone == "test_vit" else (224, 224)
    with pytest.raises(ConfigError, match=r'cannot be computed one after the other\. Use trained_stages = 0 or "all"'):
        LastStages(network_of(backbone), 1, size)


@pytest.mark.parametrize("fields", [{"pooling": "last"}, {"pooling": "last", "trunk": 0}])
def test_stages_need_multiscale_pooling(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match='needs pooling = "multiscale"'):
        LastStages(network_of("resnet10t", **fields), 1, SIZE)


def test_training_leaves_the_first_stages_as_they_are(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = build_network(tiny(), catalog.taxonomy).backbone.state_dict()
    bundle = train(catalog, splits, recipe=tiny(), out=tmp_path / "run", weights="none", workers=0)
    changed = {
        name.split(".")[1]
        for name, value in bundle.network.backbone.state_dict().items()
        if not torch.equal(value, start[name])
    }
    assert changed == {"layer4"}
    assert bundle.calibration is not None
    resumed = train(catalog, splits, recipe=tiny(), out=tmp_path / "run", weights="none", workers=0, resume=True)
    assert resumed.digest == bundle.digest


def test_a_view_costs_new_photos_only_and_is_always_the_same(catalog: Catalog, tmp_path: Path) -> None:
    def views_of(copy: Catalog) -> list[np.ndarray]:
        torch.manual_seed(0)
        network = build_network(tiny(), catalog.taxonomy)
        preprocess = Preprocess.for_backbone(data_config(network.backbone), SIZE, "pad")
        caches = catalog_views(copy, network, tiny(), preprocess, workers=0)
        photos = [photo for views in copy.photo_digests() for photo in views]
        return [cache[photos] for cache in caches]

    copies = [Catalog.load(shutil.copytree(catalog.path, tmp_path / name)) for name in "ab"]
    first, second = (views_of(copy) for copy in copies)
    assert len(first) == 2 + tiny().views
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_array_equal(a, b)
    assert not any(np.array_equal(first[0], other) for other in first[1:])
    before = {file: file.stat().st_mtime_ns for file in (copies[0].path / "cache").glob("*/embeddings.f4")}
    views_of(copies[0])
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_the_network_stays_where_and_as_it_is_while_photos_are_embedded(catalog: Catalog) -> None:
    network = build_network(tiny(), catalog.taxonomy)
    preprocess = Preprocess.for_backbone(data_config(network.backbone), SIZE, "pad")
    before = {name: (value.device, value.stride()) for name, value in network.state_dict().items()}
    catalog_views(catalog, network, tiny(), preprocess, workers=0)
    catalog_embeddings(catalog, network, tiny().backbone, preprocess, workers=0)
    assert {name: (value.device, value.stride()) for name, value in network.state_dict().items()} == before


def test_a_full_disk_is_noticed_before_anything_is_computed(
    catalog: Catalog, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTIRE_CACHE", str(tmp_path / "cache"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(StorageError, match=r"need .* GB more, and 0.0 GB are free\. Set ATTIRE_CACHE"):
        train(catalog, splits, recipe=tiny(), out=tmp_path / "run", weights="none", workers=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"augment": "none"}, "views are augmented photos"), ({"text": "title"}, "mixup mixes photos but not titles")],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("tuned", fields)
