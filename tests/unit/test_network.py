"""Networks of every architecture: output shapes, pooling, test-time flip, and titles."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from attire.config import Architecture, Recipe, load_recipe
from attire.errors import ConfigError
from attire.model.backbone import create_backbone, without_pooling
from attire.model.heads import HEADS
from attire.model.input_size import data_config
from attire.model.multiscale import MultiScale
from attire.model.network import build_network
from attire.model.text import PHOTO_DROPOUT, Kept, drop_inputs
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "neck": Key(categories=("Shirts",), values=("Round", "V")),
        "tags": Key(arity="many", categories=("Shirts", "Belts"), values=("a", "b", "c")),
    },
)
TITLES = torch.tensor([[3, 7, 0], [0, 0, 0]], dtype=torch.int32)
PIXELS = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))


ARCHITECTURES = [
    *product(["last", "multiscale"], [head for head in HEADS if head != "csra"], [0, 8], ["none", "title"]),
    ("last", "csra", 0, "none"),
]


@pytest.mark.parametrize(("pooling", "head", "trunk", "text"), ARCHITECTURES)
def test_every_architecture_has_logits_and_gradients(pooling: str, head: str, trunk: int, text: str) -> None:
    architecture = Architecture.model_validate(
        {"backbone": "test_resnet", "pooling": pooling, "head": head, "trunk": trunk, "hidden": 4, "text": text}
    )
    network = build_network(architecture, TAXONOMY)
    logits = network(PIXELS, TITLES if text == "title" else None)
    assert (logits.category.shape, logits.attributes.shape) == ((2, 2), (2, 5))
    (logits.category.sum() + logits.attributes.sum()).backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not unused, "every parameter gets a gradient"


def test_multiscale_is_mean_and_maximum_of_the_last_three_stages() -> None:
    backbone = create_backbone("test_resnet").eval()
    pooled = MultiScale(backbone).eval()
    with torch.no_grad():
        maps = backbone.forward_intermediates(PIXELS, intermediates_only=True)[-3:]  # type: ignore[operator]
        expected = torch.cat([pool for x in maps for pool in (x.mean((2, 3)), x.amax((2, 3)))], dim=1)
        features = pooled(PIXELS)
    assert features.shape[1] == pooled.num_features
    torch.testing.assert_close(features.square() * features.sign(), expected, atol=1e-4, rtol=1e-4)
    assert data_config(pooled) == data_config(backbone)


def test_a_backbone_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stages"):
        MultiScale(torch.nn.Flatten())


@pytest.mark.parametrize("head", ["csra", "mlp"])
def test_networks_with_flip_give_mirrored_photos_equal_logits(head: str) -> None:
    torch.manual_seed(0)
    plain = build_network(Architecture.model_validate({"backbone": "test_resnet", "head": head}), TAXONOMY).eval()
    assert not torch.allclose(plain(PIXELS).category, plain(PIXELS.flip(3)).category)
    plain.flip = True
    torch.testing.assert_close(plain(PIXELS), plain(PIXELS.flip(3)))


def test_separate_networks_cannot_have_a_trunk_or_a_title() -> None:
    with pytest.raises(ValueError, match="a trunk is shared by all heads"):
        Recipe(name="x", trunk=8, shared=False)
    with pytest.raises(ValueError, match="text needs shared = true"):
        Recipe(name="x", text="title", shared=False)


def test_maps_of_mirrored_photos_are_flipped_back_before_averaging() -> None:
    architecture = Architecture(backbone="test_resnet", head="csra", flip=True)
    network = build_network(architecture, TAXONOMY).eval()
    features = network.features(PIXELS)
    torch.testing.assert_close(network.features(PIXELS.flip(3)), features.flip(3))
    assert not torch.allclose(features, features.flip(3))


def test_the_mean_of_the_map_equals_the_pooled_features() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet").eval()
    pooled = backbone(PIXELS)
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    spatial = without_pooling(backbone)
    torch.testing.assert_close(spatial(PIXELS).mean((2, 3)), pooled)
    torch.testing.assert_close(dict(spatial.state_dict()), state)  # the weights are interchangeable
    assert not spatial.training
    assert without_pooling(create_backbone("test_resnet")).training


def test_backbones_with_a_layer_after_pooling_work() -> None:
    for head in ("csra", "linear"):
        architecture = Architecture.model_validate({"backbone": "mobilenetv3_small_050", "head": head})
        assert build_network(architecture, TAXONOMY).eval()(PIXELS).attributes.shape == (2, 5)


def test_backbones_without_a_map_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'head = "csra" needs .* map \[64, h, w\]; this one returns \[101, 64\]'):
        build_network(Architecture(backbone="test_vit", head="csra"), TAXONOMY)


@pytest.mark.parametrize(
    "fields", [{"pooling": "multiscale"}, {"trunk": 8}, {"trained_stages": 0, "pooling": "last", "trunk": 0}]
)
def test_csra_needs_a_map(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r'recipe base:\n  head = "csra" uses positions'):
        load_recipe("base", {"head": "csra", "colour": 0, **fields})


@pytest.mark.parametrize(("head", "trunk"), list(product(["linear", "mlp"], [0, 8])))
def test_without_a_title_the_network_equals_one_that_reads_photos_only(head: str, trunk: int) -> None:
    both, plain = (
        build_network(
            Architecture.model_validate(
                {"backbone": "test_resnet", "head": head, "trunk": trunk, "hidden": 4, "text": text, "text_buckets": 9}
            ),
            TAXONOMY,
        ).eval()
        for text in ("title", "none")
    )
    assert both.heads.text is not None
    torch.nn.init.normal_(both.heads.text.embedding.weight)  # the padding row too: it must not be read
    mismatches = plain.load_state_dict(both.state_dict(), strict=False)
    assert all(name.startswith("heads.text.") for name in [*mismatches.missing_keys, *mismatches.unexpected_keys])
    expected = plain(PIXELS)
    for logits in (both(PIXELS), both(PIXELS, torch.zeros(2, 3, dtype=torch.int32))):
        torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    titled = both(PIXELS, TITLES)
    assert not torch.allclose(titled.category[0], expected.category[0])
    torch.testing.assert_close(titled.category[1], expected.category[1])


def test_a_title_alone_gives_logits() -> None:
    network = build_network(
        Architecture(backbone="test_resnet", hidden=4, text="title", text_buckets=9), TAXONOMY
    ).eval()
    assert network.heads.text is not None
    torch.nn.init.normal_(network.heads.text.embedding.weight)
    titled, untitled = network(None, TITLES).category
    assert not torch.allclose(titled, untitled)
    torch.testing.assert_close(untitled, network.heads.category.bias)


def test_training_drops_titles_and_photos_but_never_both() -> None:
    torch.manual_seed(0)
    text = torch.ones(4000, 2, dtype=torch.int32)
    text[3000:] = 0
    kept = drop_inputs(text, 0.5)
    titled, bare = (Kept(*(column[rows, 0] for column in kept)) for rows in (slice(3000), slice(3000, None)))
    assert abs(float(titled.title.float().mean()) - 0.5) < 0.03
    assert abs(float(titled.photo.float().mean()) - (1 - PHOTO_DROPOUT)) < 0.02
    assert bool((titled.photo | titled.title).all())
    assert bool(bare.photo.all())
    assert not bare.title.any()
    torch.manual_seed(0)
    for again, before in zip(drop_inputs(text, 0.5), kept, strict=True):
        torch.testing.assert_close(again, before, msg="the same seed drops the same inputs")
