"""Networks of every architecture: shapes, what each part sees, and what makes two of them differ."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from attire.config import Architecture, Recipe, load_recipe
from attire.errors import ConfigError
from attire.model.backbone import MultiScale, create_backbone, data_config, without_pooling
from attire.model.heads import HEADS
from attire.model.network import build_network
from attire.taxonomy import Key, Taxonomy

TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"),
    keys={
        "neck": Key(categories=("Shirts",), values=("Round", "V")),
        "tags": Key(arity="many", categories=("Shirts", "Belts"), values=("a", "b", "c")),
    },
)
PIXELS = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))


ARCHITECTURES = [
    *product(["last", "multiscale"], [head for head in HEADS if head != "csra"], [0, 8]),
    ("last", "csra", 0),
]


@pytest.mark.parametrize(("pooling", "head", "trunk"), ARCHITECTURES)
def test_every_architecture_answers_and_learns(pooling: str, head: str, trunk: int) -> None:
    architecture = Architecture.model_validate(
        {"backbone": "resnet10t", "pooling": pooling, "head": head, "trunk": trunk, "hidden": 4}
    )
    network = build_network(architecture, TAXONOMY)
    logits = network(PIXELS)
    assert (logits.category.shape, logits.attributes.shape) == ((2, 2), (2, 5))
    (logits.category.sum() + logits.attributes.sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without, "every parameter takes part"


def test_multiscale_is_mean_and_maximum_of_the_last_three_stages() -> None:
    backbone = create_backbone("resnet10t").eval()
    pooled = MultiScale(backbone).eval()
    with torch.no_grad():
        maps = backbone.forward_intermediates(PIXELS, intermediates_only=True)[-3:]  # type: ignore[operator]
        expected = torch.cat([pool for x in maps for pool in (x.mean((2, 3)), x.amax((2, 3)))], dim=1)
        found = pooled(PIXELS)
    assert found.shape[1] == pooled.num_features
    torch.testing.assert_close(found.square() * found.sign(), expected, atol=1e-4, rtol=1e-4)
    assert data_config(pooled) == data_config(backbone)


def test_a_backbone_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stages"):
        MultiScale(torch.nn.Flatten())


@pytest.mark.parametrize("head", ["csra", "mlp"])
def test_flipped_networks_do_not_tell_left_from_right(head: str) -> None:
    torch.manual_seed(0)
    plain = build_network(Architecture.model_validate({"backbone": "resnet10t", "head": head}), TAXONOMY).eval()
    assert not torch.allclose(plain(PIXELS).category, plain(PIXELS.flip(3)).category)
    plain.flip = True
    torch.testing.assert_close(plain(PIXELS), plain(PIXELS.flip(3)))


def test_two_networks_have_no_common_trunk() -> None:
    with pytest.raises(ValueError, match="a trunk is common to all heads"):
        Recipe(name="x", trunk=8, shared=False)
    with pytest.raises(ValueError, match="a prior reads the category from the same network"):
        Recipe(name="x", prior=True, shared=False)


def test_mirrored_maps_are_laid_on_one_another() -> None:
    architecture = Architecture(backbone="resnet10t", head="csra", flip=True)
    network = build_network(architecture, TAXONOMY).eval()
    found = network.features(PIXELS)
    torch.testing.assert_close(network.features(PIXELS.flip(3)), found.flip(3))
    assert not torch.allclose(found, found.flip(3))


def test_a_map_averages_to_what_the_backbone_pools() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t").eval()
    pooled = backbone(PIXELS)
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    spatial = without_pooling(backbone)
    torch.testing.assert_close(spatial(PIXELS).mean((2, 3)), pooled)
    torch.testing.assert_close(dict(spatial.state_dict()), state)  # weights of either fit the other
    assert not spatial.training
    assert without_pooling(create_backbone("resnet10t")).training


def test_layers_between_pooling_and_classifier_count() -> None:
    for head in ("csra", "linear"):
        architecture = Architecture.model_validate({"backbone": "mobilenetv3_small_050", "head": head})
        assert build_network(architecture, TAXONOMY).eval()(PIXELS).attributes.shape == (2, 5)


def test_backbones_without_a_map_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'head = "csra" needs .* map \[64, h, w\]; this one gives \[101, 64\]'):
        build_network(Architecture(backbone="test_vit", head="csra"), TAXONOMY)


@pytest.mark.parametrize(
    "fields", [{"pooling": "multiscale"}, {"trunk": 8}, {"train_backbone": False, "pooling": "last", "trunk": 0}]
)
def test_heads_that_look_at_positions_need_positions(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r'recipe base:\n  head = "csra" looks at positions'):
        load_recipe("base", {"head": "csra", **fields})
