"""A blend answers with the mean of several networks, and is calibrated on what none of them learned."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.drawn_feed import draw_feed

import attire
from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.cli import app
from attire.config import Architecture, load_recipe
from attire.errors import ConfigError
from attire.labels import Targets
from attire.learning.learn import learn
from attire.model.blend import blend_networks, blended_architecture
from attire.model.input_size import data_config
from attire.model.network import Network, build_network
from attire.photos.image import open_photo
from attire.pixels.normalise import FromBytes
from attire.pixels.preprocess import Preprocess
from attire.score.calibration import fit_calibration
from attire.score.calibration_record import frequencies
from attire.taxonomy import Key, Taxonomy
from attire.training.blend import blend
from attire.training.folds import earlier_folds
from attire.training.run import train

TAXONOMY = Taxonomy(categories=("Shirts", "Belts"), keys={"neck": Key(categories=("Shirts",), values=("Round", "V"))})
SIZE = (64, 48)
TINY: dict[str, Any] = {
    "size_px": SIZE,
    "batch_size": 16,
    "trunk": 8,
    "colour": 4,
    "amp": "off",
    "folds": 2,
    "attributes": {"epochs": 2, "lr": 1e-2},
}


def network_of(backbone: str, seed: int, **fields: Any) -> tuple[Network, Architecture]:
    """A network with random weights and norms, as training leaves them."""
    torch.manual_seed(seed)
    content = {"backbone": backbone, "pooling": "multiscale", "trunk": 8, "head": "linear", "flip": True, "colour": 4}
    architecture = Architecture.model_validate(content | fields)
    network = build_network(architecture, TAXONOMY)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.running_mean = torch.randn(norm.num_features)
            norm.running_var = torch.rand(norm.num_features) + 0.5
    return network.eval(), architecture


@pytest.mark.parametrize("colour", [0, 4])
def test_logits_are_the_mean_of_those_of_the_networks(colour: int) -> None:
    """Also if the backbones expect pixels of another mean and deviation, and the trunks have another width."""
    parts = [
        network_of("resnet10t", 0, colour=colour),
        network_of("tf_efficientnet_lite0", 1, trunk=12, colour=2 * colour),
        network_of("resnet10t", 2, colour=colour),
    ]
    architecture = blended_architecture([architecture for _, architecture in parts])
    blended = blend_networks([network for network, _ in parts], architecture, TAXONOMY, SIZE)
    assert (architecture.trunk, architecture.colour) == (28, 4 * colour)
    photos = torch.randint(0, 256, (3, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))

    def logits(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
        config = data_config(network.backbone)
        with torch.no_grad():
            category, attributes = FromBytes(network, Preprocess.for_backbone(config, SIZE, "pad"))(photos)
        return category, attributes

    for ours, *theirs in zip(logits(blended), *(logits(network) for network, _ in parts), strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs).mean(0), rtol=1e-4, atol=1e-4)


def test_a_transformer_and_a_convolutional_network_are_pooled_each_in_its_way() -> None:
    parts = [network_of("resnet10t", 0)[1], network_of("vit_tiny_patch16_224", 1, pooling="both")[1]]
    assert blended_architecture(parts).pooling == "auto"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head": "mlp"}, "it needs a trunk, linear heads and photos alone"),
        ({"trunk": 0}, "it needs a trunk, linear heads and photos alone"),
        ({"text": "title"}, "it needs a trunk, linear heads and photos alone"),
        ({"flip": False}, "all have flip = true or none"),
        ({"colour": 0}, "all have a colour branch or none"),
        ({"pooling": "last"}, r"different pooling \(last, multiscale\)"),
    ],
)
def test_other_networks_are_refused(fields: dict[str, Any], message: str) -> None:
    usual = network_of("resnet10t", 0)[1]
    with pytest.raises(ConfigError, match=message):
        blended_architecture([usual, usual.model_copy(update=fields)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog and two runs on it: frozen heads, and a last stage that was trained too."""
    folder = tmp_path_factory.mktemp("runs")
    catalog = ingest(draw_feed(folder), folder / "photos", folder / "catalog")
    splits = split(catalog, val=0.3, seed=1)
    frozen = load_recipe("frozen", TINY | {"backbone": "resnet10t"})
    tuned = load_recipe("tuned", TINY | {"backbone": "tf_efficientnet_lite0", "trunk": 6, "views": 1})
    train(catalog, splits, recipe=frozen, out=folder / "frozen", weights="none", workers=0)
    train(catalog, splits, recipe=tuned, out=folder / "tuned", weights="none", workers=0)
    bundles = [f"{folder}/frozen/bundle", f"{folder}/tuned/bundle"]
    app(["blend", *bundles, "--catalog", f"{folder}/catalog", "--out", f"{folder}/blend"], result_action="return_value")
    return folder


def pixels_of(bundle: ModelBundle, catalog: Catalog) -> torch.Tensor:
    """The first photo of each product."""
    photos = [open_photo(photo) for photo, *_ in catalog.photo_paths()]
    return torch.from_numpy(np.stack([bundle.preprocess(photo) for photo in photos]))


def test_a_blend_is_calibrated_on_what_its_networks_had_not_learned(runs: Path) -> None:
    catalog, blended = Catalog.load(runs / "catalog"), ModelBundle.load(runs / "blend" / "bundle")
    rows = catalog.rows_of(Splits.load(catalog).train)
    sums = [np.zeros((len(catalog), width), np.float32) for width in (3, catalog.taxonomy.width)]
    for name in ("frozen", "tuned"):
        bundle = ModelBundle.load(runs / name / "bundle")
        pixels = pixels_of(bundle, catalog)
        times = np.zeros(len(catalog), np.int64)
        for fold in earlier_folds(bundle):
            network = copy.deepcopy(bundle.network)
            fold.folder.load_result(network)
            own = ~in_learned_groups(catalog, fold.learned)
            times += own
            with torch.no_grad():
                for total, logits in zip(sums, network(pixels), strict=True):
                    total[own] += logits.numpy()[own] / 2
        assert (times[rows] == 1).all()
    truth = Targets(*(column[rows] for column in catalog.targets()))
    category, attributes = (total[rows] for total in sums)
    fitted = fit_calibration(
        catalog.taxonomy, blended.decision, truth, category, attributes, frequencies(catalog.taxonomy, truth)
    )
    assert blended.record is not None
    assert blended.record.products == len(rows)
    assert blended.calibration is not None
    np.testing.assert_allclose(blended.calibration.temperature, fitted.calibration.temperature, rtol=0.05)
    for name in ("key", "right"):
        assert sorted(getattr(blended.record, name)) == sorted(getattr(fitted.record, name))
    np.testing.assert_allclose(sorted(blended.record.log_odds), sorted(fitted.record.log_odds), atol=0.05)


def test_a_blend_is_a_bundle_like_any_other(runs: Path, tmp_path: Path) -> None:
    catalog, blended = Catalog.load(runs / "catalog"), ModelBundle.load(runs / "blend" / "bundle")
    assert blended.learned is not None
    assert in_learned_groups(catalog, blended.learned)[catalog.rows_of(Splits.load(catalog).train)].all()
    assert len(blended.provenance["blend"]) == 2
    assert (
        blended.provenance["recipe"]["trained_stages"] == 1
    )  # so that `learn` warns of a backbone that has seen labels
    assert blended.scores.keys() == ModelBundle.load(runs / "frozen" / "bundle").scores.keys()
    with pytest.raises(ConfigError, match="a blend has several networks"):
        attire.explain(blended, catalog.photo_paths()[0][0])
    report = attire.evaluate(blended, catalog, out=tmp_path / "report", brief=True)
    assert report.figures["attribute_iou"].value > 0
    learned = learn(catalog, blended, tmp_path / "learned", workers=0)
    assert Path(learned.bundle) == tmp_path / "learned" / "bundle"


def test_bundles_that_do_not_belong_together_are_refused(runs: Path, tmp_path: Path) -> None:
    catalog, frozen, tuned = runs / "catalog", runs / "frozen" / "bundle", runs / "tuned" / "bundle"
    moved = shutil.copytree(tuned, tmp_path / "moved")
    other = shutil.copytree(catalog, tmp_path / "catalog")
    split(other, val=0.4, seed=2, anew=True)
    out = tmp_path / "out"
    cases = (
        ([frozen], catalog, out, "two bundles or more"),
        ([frozen, tuned], catalog, runs / "blend", "exists already"),
        ([frozen, moved], catalog, out, r"the folds of the run that made .*moved are not beside it"),
        ([frozen, tuned], other, out, "was trained on another state of the splits"),
    )
    for bundles, shop, to, message in cases:
        with pytest.raises(ConfigError, match=message):
            blend(bundles, shop, to)
    assert not out.exists()
