"""Backbones of today: transformers and hybrids at sizes that are not their own, from training to a saved bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from helpers import tiny_backbones  # noqa: F401  (registers them)
from safetensors.torch import save_file

import attire
from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Architecture, Recipe, load_recipe
from attire.embeddings import catalog_embeddings
from attire.engines.engine import TorchEngine
from attire.errors import ConfigError, ExportError
from attire.explanation.explain import explain
from attire.exporting.export import export
from attire.exporting.inspect import multiplications
from attire.exporting.onnx import write_onnx
from attire.exporting.sample import draw_sample
from attire.model.backbone import create_backbone
from attire.model.colour import COLOURS
from attire.model.input_size import blueprint, data_config, nearest_size, own_size, patch_size
from attire.model.multiscale import MultiScale, default_pooling, feature_width, has_tokens, own_vector, timm_model
from attire.model.network import build_network
from attire.model.presets import PRESETS, licence, terms
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Key, Taxonomy
from attire.training.backbone_defaults import with_backbone_defaults
from attire.training.run import train

TAXONOMY = Taxonomy(categories=("Shirts", "Belts"), keys={"neck": Key(categories=("Shirts",), values=("Round", "V"))})
SIZE = (48, 40)  # neither is a multiple of 32
TINY = ("siglip", "clip", "dinov3", "pe_core", "mobileclip_b", "mobileclip_s", "swin")  # see helpers/tiny_backbones.py
FAMILIES = ("test_vit", "test_convnext", *(f"tiny_{family}" for family in TINY))
POOLED_BY_STAGES_ONLY = {"test_convnext", "tiny_swin"}


def tiny(name: str, **fields: Any) -> Recipe:
    small = {"size_px": SIZE, "batch_size": 16, "trunk": 8, "colour": 4, "amp": "off", "attributes": {"epochs": 1}}
    small |= {"calibration": 0, "folds": 0}
    return load_recipe(name, {**small, **fields})


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_family_is_trained_saved_and_explained_at_another_size_than_its_own(
    backbone: str, catalog: Catalog, splits: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tiny("frozen", backbone=backbone)
    bundle = train(catalog, splits, recipe=recipe, out=tmp_path / "run", weights="none", workers=0)
    height, width = patch_size(blueprint(backbone))
    size = bundle.preprocess.size_px
    assert (size[0] % height, size[1] % width) == (0, 0)
    assert ("is rounded to" in caplog.text) == (size != SIZE)
    assert bundle.spec.network.backbone == backbone
    assert bundle.spec.network.pooling == ("multiscale" if backbone in POOLED_BY_STAGES_ONLY else "both")
    assert bundle.provenance["recipe"]["size_px"] == list(size), "what is recorded is what is fed"
    photo = next(path for views in catalog.photo_paths() for path in views)
    assert attire.Predictor(bundle)(photo).bundle == bundle.digest
    assert explain(bundle, photo).heat.max() == 1
    assert multiplications(bundle) > 0
    again = ModelBundle.load(bundle.path)  # rebuilds the network, and compares its logits with those saved
    assert again.digest == bundle.digest


@pytest.mark.parametrize(
    ("backbone", "divided"), [("tiny_clip", False), ("tiny_swin", False), ("tiny_mobileclip_s", True)]
)
def test_last_stages_are_trained_where_a_backbone_can_be_divided(
    backbone: str, divided: bool, catalog: Catalog, splits: Splits, tmp_path: Path
) -> None:
    recipe = tiny("tuned", backbone=backbone, views=0)
    if divided:
        bundle = train(catalog, splits, recipe=recipe, out=tmp_path, weights="none", workers=0)
        assert bundle.spec.network.pooling == "both"
    else:
        with pytest.raises(ConfigError, match=r"Transformer cannot be computed one after.*--recipe frozen or base"):
            train(catalog, splits, recipe=recipe, out=tmp_path, weights="none", workers=0)


def test_a_hybrid_is_trained_as_a_whole(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    recipe = tiny("base", backbone="tiny_mobileclip_s", category={"epochs": 0})
    bundle = train(catalog, splits, recipe=recipe, out=tmp_path, weights="none", workers=0)
    assert all(parameter.isfinite().all() for parameter in bundle.network.parameters())


def test_a_transformer_is_exported_but_not_as_int8(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    recipe = tiny("frozen", backbone="tiny_clip")
    bundle = train(catalog, splits, recipe=recipe, out=tmp_path, weights="none", workers=0)
    with pytest.raises(
        ExportError, match=r"tiny_clip is a transformer, which has hardly any\. Export it without --int8"
    ):
        export(bundle, "onnx", catalog.path, int8=True)
    sample = draw_sample(bundle, catalog.path)
    write_onnx(bundle, tmp_path / "graph.onnx")
    engine = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    expected = TorchEngine(bundle, "float32").logits(sample.pixels)
    for actual, logits in zip(engine.run(None, {"pixels": sample.pixels}), expected, strict=True):
        np.testing.assert_allclose(actual, logits, atol=1e-3)


def test_a_run_that_starts_from_a_bundle_takes_its_size_or_resamples_its_positions(
    catalog: Catalog, splits: Splits, tmp_path: Path
) -> None:
    one = {"category": {"epochs": 0}, "backbone": "tiny_pe_core"}
    frozen = train(catalog, splits, recipe=tiny("frozen", **one), out=tmp_path / "frozen", weights="none", workers=0)
    assert frozen.preprocess.size_px == (48, 48)
    for wanted, size in (("auto", (48, 48)), ((64, 32), (64, 32))):
        recipe = tiny("base", size_px=wanted, **one)
        base = train(catalog, splits, recipe=recipe, out=tmp_path / str(size), init_from=frozen, workers=0)
        assert base.preprocess.size_px == size
        positions = timm_model(base.network.backbone).get_parameter("pos_embed")
        assert positions.shape[1] == size[0] * size[1] // 16**2 + 1


@pytest.mark.parametrize("backbone", ["tiny_siglip", "tiny_pe_core", "tiny_swin"])
def test_weights_have_the_size_of_the_backbone_and_are_resampled(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model(backbone, num_classes=0).eval()
    save_file(published.state_dict(), tmp_path / "weights.safetensors")
    own = create_backbone(backbone, tmp_path / "weights.safetensors", own_size(published)).eval()
    pixels = torch.randn(1, 3, *own_size(published))
    torch.testing.assert_close(own(pixels), published(pixels))
    other = create_backbone(backbone, tmp_path / "weights.safetensors", (96, 64)).eval()
    assert other(torch.randn(2, 3, 96, 64)).shape == (2, feature_width(other))
    same = {k for k, v in other.state_dict().items() if torch.equal(v, published.state_dict().get(k, v * torch.nan))}
    assert all("pos_embed" in k or "position" in k for k in other.state_dict().keys() - same)


@pytest.mark.parametrize(
    ("wanted", "backbone", "nearest"),
    [
        ((224, 168), "vit_base_patch32_siglip_256", (224, 160)),
        ((224, 168), "test_vit", (224, 176)),
        ((224, 168), "vit_large_patch14_clip_224", (224, 168)),
        ((224, 168), "vit_base_mci_224", (224, 176)),
        ((1, 1000), "test_vit", (16, 1008)),
        ((224, 170), "swin_tiny_patch4_window7_224", (224, 172)),
        ((223, 167), "fastvit_mci0", (223, 167)),
        ((223, 167), "resnet18", (223, 167)),
    ],
)
def test_sizes_are_rounded_to_whole_patches(wanted: tuple[int, int], backbone: str, nearest: tuple[int, int]) -> None:
    assert nearest_size(blueprint(backbone), wanted) == nearest
    if wanted != nearest:  # never silently: timm would leave out the last columns, or refuse
        with pytest.raises(ConfigError, match=r"does not accept photos of that size \(its patches are"):
            build_network(Architecture(backbone="test_vit3"), TAXONOMY, size_px=(224, 168))


def test_a_recipe_leaves_size_and_pooling_to_the_backbone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for backbone, size, pooling in (
            ("siglip2-b32", (256, 256), "both"),
            ("resnet50", (224, 224), "multiscale"),
            ("fastvit_mci0", (256, 256), "both"),
        ):
            recipe = with_backbone_defaults(load_recipe("frozen", {"backbone": backbone}))
            assert (recipe.size_px, recipe.pooling) == (size, pooling)
            assert with_backbone_defaults(recipe) == recipe
    assert not caplog.records
    stated = with_backbone_defaults(
        load_recipe("frozen", {"backbone": "test_vit", "pooling": "multiscale", "size_px": (32, 32)})
    )
    assert (stated.size_px, stated.pooling) == ((32, 32), "multiscale")
    with pytest.raises(ConfigError, match=r"'siglip2-b23' is not a timm model; did you mean 'siglip2-b32'"):
        with_backbone_defaults(load_recipe("frozen", {"backbone": "siglip2-b23"}))


def test_a_size_that_no_rounding_helps_names_the_own_size(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    recipe = tiny("frozen", backbone="cait_xxs24_224")
    with pytest.raises(ConfigError, match=r"cait_xxs24_224 does not accept .*\(its own is 224 224\)"):
        train(catalog, splits, recipe=recipe, out=tmp_path, weights="none", workers=0)


@pytest.mark.parametrize("backbone", ["tiny_clip", "tiny_siglip", "tiny_dinov3", "test_efficientnet"])
def test_both_poolings_are_the_stages_and_what_the_backbone_pools(backbone: str) -> None:
    plain = create_backbone(backbone, size_px=(64, 96)).eval()
    stages, both = MultiScale(plain).eval(), MultiScale(plain, own=True).eval()
    pixels = torch.randn(2, 3, 64, 96)
    features = both(pixels)
    assert features.shape == (2, both.num_features)
    torch.testing.assert_close(features[:, : stages.num_features], stages(pixels))
    own = features[:, stages.num_features :]
    if backbone == "tiny_dinov3":  # timm pools the mean over patches
        torch.testing.assert_close(own, plain.forward_features(pixels)[:, 0])  # type: ignore[operator]
    else:
        torch.testing.assert_close(own, plain(pixels))
    assert default_pooling(plain) == ("both" if has_tokens(plain) else "multiscale")
    torch.testing.assert_close(own, own_vector(plain, plain.forward_features(pixels)))  # type: ignore[operator]


def test_embeddings_of_two_poolings_are_kept_apart(catalog: Catalog) -> None:
    photos = [photo for views in catalog.photo_digests() for photo in views]
    for pooling in ("multiscale", "both", "multiscale"):
        torch.manual_seed(0)  # the same weights, under the same names
        recipe = with_backbone_defaults(tiny("frozen", backbone="test_vit", pooling=pooling, size_px=(32, 32)))
        network = build_network(recipe, catalog.taxonomy, size_px=recipe.input_px)
        preprocess = Preprocess.for_backbone(data_config(network.backbone), recipe.input_px, "pad")
        cache = catalog_embeddings(catalog, network, recipe.backbone, preprocess, 0)
        assert cache[photos].shape[1] == feature_width(network.backbone) + COLOURS


def test_licences_are_in_the_bundle_and_its_card(
    catalog: Catalog, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = train(
        catalog, splits, recipe=tiny("frozen", backbone="test_vit"), out=tmp_path / "a", weights="none", workers=0
    )
    assert bundle.provenance["weights_licence"] == "none: random weights"
    monkeypatch.setattr("attire.training.initial_weights.licence", lambda _: "apple-amlr")
    monkeypatch.setattr(
        "attire.model.network.create_backbone", lambda name, _, size_px: create_backbone(name, "none", size_px)
    )
    recipe = tiny("frozen", backbone="test_vit")
    bundle = train(catalog, splits, recipe=recipe, out=tmp_path / "b", workers=0)
    assert bundle.provenance["weights_licence"] == "apple-amlr"
    assert "| licence of these weights | apple-amlr |" in (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "have the licence apple-amlr: for research only, not for products" in caplog.text
    recipe = tiny("base", backbone="test_vit")
    later = train(catalog, splits, recipe=recipe, out=tmp_path / "c", init_from=bundle, workers=0)
    assert later.provenance["weights_licence"] == "apple-amlr", "whoever continues is bound too"


def test_presets_are_timm_models_whose_licence_is_known() -> None:
    rows = {row.name: row for row in attire.backbones()}
    assert list(rows) == list(PRESETS)
    for name, row in rows.items():
        assert row.licence == licence(row.timm_name) != "not stated", name
        assert (row.terms is None) == (row.licence in ("apache-2.0", "mit")), name
        assert row.published
        assert row.photos_per_s is None
    assert (rows["siglip2-b32"].size_px, rows["siglip2-b32"].width) == ((256, 256), 768)
    assert rows["siglip2-b32"].parameters == 94_552_320
    assert "research only" in str(rows["mobileclip2-s0"].terms)
    assert rows["efficientnet-lite0"].weights.startswith("attire[offline]")
    assert terms("not stated") is None
    assert "read it" in str(terms("some-new-licence"))


def test_a_backbone_is_measured_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("attire.model.backbone_table.LONG_ENOUGH_S", 0.0)
    (row,) = attire.backbones(["test_vit"], measure=True)
    assert row.name == row.timm_name == "test_vit"
    assert row.photos_per_s is not None
    assert row.photos_per_s > 0
    with pytest.raises(ConfigError, match="did you mean 'siglip2-b16'"):
        attire.backbones(["siglip2-b6"])
