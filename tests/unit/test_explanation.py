"""Explanations: the heat map peaks at the evidence, in the photo's coordinates, and the bundle is not changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from helpers.full_disk import little_room
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from attire.bundle import BundleSpec, ModelBundle
from attire.config import Architecture, DecisionRule
from attire.errors import ConfigError, MissingExtraError, PhotoError, StorageError, TaxonomyError
from attire.explanation.explain import Question, explain, explanations
from attire.explanation.heatmaps import heat_maps
from attire.explanation.picture import colours, grid, save
from attire.model.network import Heads, Network, build_backbone, build_network
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import CATEGORY, Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "colour": Key(categories=("Shirts", "Belts"), values=("red", "green")),
        "tags": Key(arity="many", categories=("Belts",), values=("blue",)),
    },
)
GREY, RED, GREEN, BLUE = (90, 90, 90), (255, 60, 60), (60, 255, 60), (60, 60, 255)


class Means(nn.Module):
    """A backbone whose map is the photo averaged in cells of 8 px, and whose features are the mean of each channel."""

    def forward_features(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(pixels, 8)

    def forward_head(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(pixels))


def colour_bundle(
    fit: Literal["pad", "squash", "crop"] = "squash",
    *,
    flip: bool = False,
    rule: Literal["typed", "threshold"] = "typed",
) -> ModelBundle:
    """A bundle whose logit of each colour is the mean of that channel; the logit of Shirts is the mean of red."""
    heads = Heads(3, TAXONOMY, Architecture(head="linear"))
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.zero_()
        next(heads.attributes.parameters()).copy_(20 * torch.eye(3))
        heads.category.weight[0, 0] = 20.0
    spec = BundleSpec(
        created="",
        network=Architecture(head="linear"),
        taxonomy=TAXONOMY,
        preprocess=Preprocess(size_px=(64, 64), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit=fit),
        decision=DecisionRule(rule=rule),
        calibration=None,
        provenance={},
        scores={},
        sha256={},
    )
    return ModelBundle(Path(), spec, Network(Means(), heads, flip=flip).eval())


def patched(size: tuple[int, int], **patches: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> Image.Image:
    """A grey photo of `size` (width, height) with coloured patches, each a (colour, box)."""
    photo = Image.new("RGB", size, GREY)
    for colour, box in patches.values():
        photo.paste(colour, box)
    return photo


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("size", [(200, 200), (120, 300), (300, 120)])
def test_the_heat_map_peaks_at_the_evidence(
    fit: Literal["pad", "squash", "crop"], size: tuple[int, int], flip: bool
) -> None:
    width, height = size
    x, y, half = width // 2 + 30, height // 2 - 25, 12  # off centre, but inside the window of every fit
    box = (x - half, y - half, x + half, y + half)
    photo = patched(size, value=(RED, box), rival=(GREEN, (width - x, height - y, width - x + 8, height - y + 8)))
    explanation = explain(colour_bundle(fit, flip=flip), photo, "colour")
    assert (explanation.value, explanation.applies, explanation.warning) == ("red", True, "")
    assert explanation.heat.shape == (height, width)
    assert explanation.heat.dtype == np.float32
    assert (explanation.heat.min(), explanation.heat.max()) == (0, 1)
    centre = np.argwhere(explanation.heat > 0.9).mean(axis=0)
    cell = max(size) / 8
    assert abs(centre - (y, x)).max() < cell / 2
    assert explanation.heat[: height // 8, : width // 8].max() < 0.1


def test_cropped_regions_have_no_heat() -> None:
    photo = patched((300, 100), inside=(RED, (140, 40, 160, 60)), outside=(RED, (0, 0, 60, 100)))
    explanation = explain(colour_bundle("crop"), photo, "colour")
    assert not explanation.heat[:, :100].any()
    assert explanation.heat[50, 150] > 0.5


def test_another_value_has_another_map() -> None:
    photo = patched((160, 160), red=(RED, (0, 0, 60, 60)), green=(GREEN, (120, 120, 160, 160)))
    bundle = colour_bundle()
    red, green = explanations(bundle, [Question(photo, "colour", value) for value in ("RED", "green")])
    assert (red.value, green.value) == ("red", "green"), "spelt as in the taxonomy"
    assert red.heat[20, 20] > 0.7 > 0.1 > red.heat[140, 140]
    assert green.heat[140, 140] > 0.7 > 0.1 > green.heat[20, 20]
    assert red.confidence + green.confidence == pytest.approx(1)
    assert [candidate.value for candidate in green.ranked] == ["red", "green"]
    assert green.others.startswith("red ")


def test_a_mixed_batch_equals_single_questions() -> None:
    bundle, photo = colour_bundle(), patched((160, 160), red=(RED, (0, 0, 60, 60)), blue=(BLUE, (90, 90, 160, 160)))
    questions = [Question(photo, key) for key in ("tags", CATEGORY, "colour", CATEGORY, "tags")]
    for question, explanation in zip(questions, explanations(bundle, questions, batch_size=3), strict=True):
        alone = explain(bundle, photo, question.key)
        assert (explanation.key, explanation.value, explanation.ranked) == (alone.key, alone.value, alone.ranked)
        np.testing.assert_allclose(explanation.heat, alone.heat, atol=1e-6)


def test_a_key_that_does_not_apply_is_explained_with_a_warning() -> None:
    photo = patched((160, 160), red=(RED, (0, 0, 60, 60)), blue=(BLUE, (90, 90, 160, 160)))
    explanation = explain(colour_bundle(), photo, "tags")
    assert (explanation.category, explanation.applies) == ("Shirts", False)
    assert explanation.warning == "tags does not apply to Shirts, the predicted category"
    assert explanation.heat[140, 140] > 0.7
    assert explain(colour_bundle(rule="threshold"), photo, "tags").applies, "the original method asks every key"


def test_a_value_without_evidence_has_a_warning() -> None:
    explanation = explain(colour_bundle(), Image.new("RGB", (64, 64), RED), "colour", "green")
    assert not explanation.heat.any()
    assert explanation.warning == "nothing in the photo supports green"


@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"pooling": "multiscale", "flip": True, "trunk": 8, "head": "linear"},
        {"shared": False, "flip": True},
        {"backbone": "test_convnext"},
        {"head": "csra", "flip": True},
        {"head": "csra", "shared": False},
        {"backbone": "test_vit"},
        {"backbone": "test_vit", "pooling": "multiscale"},
        {"backbone": "test_vit", "pooling": "both", "flip": True, "trunk": 8, "head": "linear"},
        {"backbone": "test_efficientnet", "pooling": "both"},
    ],
)
@pytest.mark.parametrize("category", [True, False])
def test_every_architecture_is_explained_and_not_changed(architecture: dict[str, Any], category: bool) -> None:
    torch.manual_seed(0)
    built = Architecture.model_validate({"backbone": "test_resnet", "hidden": 8, **architecture})
    network = build_network(built, TAXONOMY)
    if not built.shared:
        network.category_backbone = build_backbone(built)
    pixels = torch.randn(1, 3, 64, 96).repeat(2, 1, 1, 1)
    before = network.eval()(pixels)
    heat = heat_maps(network, pixels, [0, 1], [[1], [0]], category=category)
    assert heat.shape == (2, 64, 96)
    assert heat.isfinite().all()
    assert heat.any(), "evidence against one value is evidence for the other"
    for old, new in zip(before, network(pixels), strict=True):
        assert torch.equal(old, new)
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())
    assert not network.training


def test_a_separate_category_network_explains_the_category() -> None:
    torch.manual_seed(0)
    heads = Heads(3, TAXONOMY, Architecture(head="linear"))
    blind = Means()
    blind.forward_head = lambda maps: maps.mean((2, 3)) * 0  # type: ignore[method-assign]
    network = Network(blind, heads, Means()).eval()
    pixels = torch.rand(2, 3, 64, 64)
    assert heat_maps(network, pixels, [0, 1], [[1], [0]], category=True).any()
    assert not heat_maps(network, pixels, [0, 1], [[1], [0]], category=False).any()


def test_the_map_of_a_transformer_is_that_of_the_patches_that_enter_its_last_block() -> None:
    torch.manual_seed(0)
    network = build_network(Architecture(backbone="test_vit3", pooling="both"), TAXONOMY, size_px=(64, 96)).eval()
    model, pixels, entering = network.backbone.backbone, torch.randn(2, 3, 64, 96), []

    def keep(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        inputs[0].retain_grad()
        entering.append(inputs[0])

    hook = model.blocks[-1].register_forward_pre_hook(keep)  # type: ignore[index, union-attr]
    logits = network(pixels).category
    (logits[:, 0] - logits[:, 1]).sum().backward()
    hook.remove()
    patches = (entering[0] * entering[0].grad).sum(2)[:, 1:]  # type: ignore[operator]  # HiResCAM, without the class token
    expected = F.interpolate(patches.reshape(2, 1, 4, 6).clamp(min=0), (64, 96), mode="bicubic")[:, 0].clamp(min=0)
    heat = heat_maps(network, pixels, [0, 0], [[1], [1]], category=True)
    torch.testing.assert_close(heat, expected.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"pooling": "both"}])
def test_a_backbone_that_hides_where_its_features_come_from_is_refused(fields: dict[str, Any]) -> None:
    architecture = Architecture.model_validate({"backbone": "xcit_nano_12_p16_224", "hidden": 4, **fields})
    network = build_network(architecture, TAXONOMY).eval()
    with pytest.raises(ConfigError, match="Xcit computes its features in a way that hides where they come from"):
        heat_maps(network, torch.rand(1, 3, 64, 64), [0], [[1]], category=True)


def test_wrong_photos_words_and_file_types_are_refused(tmp_path: Path) -> None:
    bundle, photo = colour_bundle(), Image.new("RGB", (64, 64))
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(PhotoError, match=r"text\.jpg: text: expected one of"):
        explain(bundle, str(tmp_path / "text.jpg"), "colour")
    with pytest.raises(TaxonomyError, match="'color' is not one of 2 keys; did you mean 'colour'"):
        explain(bundle, photo, "color")
    with pytest.raises(TaxonomyError, match="did you mean 'green'"):
        explain(bundle, photo, "colour", "gren")
    with pytest.raises(TaxonomyError, match="did you mean 'Belts'"):
        explain(bundle, photo, value="Belst")
    with pytest.raises(ConfigError, match=r"cannot write .*\.xyz"):
        save(photo, tmp_path / "out.xyz")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "attire.explanation.hirescam", raising=False)
    monkeypatch.setitem(sys.modules, "torchcam", None)
    monkeypatch.setitem(sys.modules, "torchcam.methods", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'attire\[explain\]'"):
        explain(colour_bundle(), Image.new("RGB", (64, 64)), "colour")


def test_pictures_show_photo_heat_and_warning(tmp_path: Path) -> None:
    photo = patched((160, 200), red=(RED, (0, 0, 60, 60)), blue=(BLUE, (90, 90, 160, 160)))
    plain, warned = (explain(colour_bundle(), photo, key).picture() for key in ("colour", "tags"))
    warning_colour = (185, 28, 28)
    assert warning_colour not in {colour for _, colour in plain.getcolors(1 << 20) or []}
    assert warning_colour in {colour for _, colour in warned.getcolors(1 << 20) or []}
    sheet = grid([plain, warned, plain])
    assert sheet.height == 2 * max(plain.height, warned.height)
    with pytest.raises(StorageError, match=r"sheet\.png: File too large\. Free space"), little_room(100):
        save(sheet, tmp_path / "new" / "sheet.png")
    save(sheet, tmp_path / "new" / "sheet.png")
    assert Image.open(tmp_path / "new" / "sheet.png").size == sheet.size


def test_hotter_is_brighter() -> None:
    grey = colours(np.linspace(0, 1, 50, dtype=np.float32)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(grey) > 0).all(), "also without colour vision"
