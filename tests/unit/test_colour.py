"""The colour branch: what it sees of a photo, and that only attributes use it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from attire.config import Architecture, load_recipe
from attire.errors import ConfigError
from attire.model.colour import BINS, COLOURS, COLUMNS, ROWS, Colours
from attire.model.network import build_network
from attire.taxonomy import Key, Taxonomy

MEAN, STD = (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)
SEES = Colours(MEAN, STD).eval()
TAXONOMY = Taxonomy(
    categories=("Shirts", "Belts"), keys={"colour": Key(categories=("Shirts",), values=("Red", "Blue"))}
)
# CIELAB under D65 of colours in sRGB, from Bruce Lindbloom's calculator (brucelindbloom.com)
REFERENCE = {
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (128, 128, 128): (53.59, 0.0, 0.0),
    (0, 0, 128): (12.97, 47.50, -64.70),
}


def photo(*rgb: int, size: tuple[int, int] = (64, 48)) -> Tensor:
    """Normalised pixels [1, 3, H, W] of one colour."""
    levels = torch.tensor(rgb, dtype=torch.float32)[:, None, None].expand(3, *size) / 255
    return ((levels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def cells(features: Tensor) -> np.ndarray:
    """float[ROWS, COLUMNS, 4]: the mean L*, a*, b* of each cell, and its share of product."""
    grid = features[0, 2 * BINS :].reshape(ROWS, COLUMNS, 4) * torch.tensor([100, 100, 100, 1])
    return grid.numpy()


@pytest.mark.parametrize("rgb", REFERENCE)
def test_colours_are_those_of_cielab(rgb: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(cells(SEES(photo(*rgb)))[..., :3] - REFERENCE[rgb], 0, atol=0.06)


@pytest.mark.parametrize("size", [(224, 168), (64, 48), (32, 24), (97, 61), (8, 8)])
def test_histograms_are_shares_of_the_product(size: tuple[int, int]) -> None:
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    features = SEES(pixels)
    assert features.shape == (3, COLOURS)
    shares = features[:, : 2 * BINS].square().reshape(3, 2, BINS).sum(2)
    torch.testing.assert_close(shares, torch.ones(3, 2), atol=0.02, rtol=0)


def test_white_background_counts_as_nothing() -> None:
    small = photo(180, 20, 40)
    small[:, :, :, 24:] = photo(255, 255, 255)[:, :, :, 24:]
    whole, half = SEES(photo(180, 20, 40)), SEES(small)
    torch.testing.assert_close(half[:, :BINS], whole[:, :BINS])
    np.testing.assert_allclose(cells(half)[..., 3], np.tile([1, 1, 0, 0], (ROWS, 1)))
    assert not SEES(photo(255, 255, 255)).any(), "a blank photo has no colour"


def test_a_mirrored_photo_has_the_same_histograms() -> None:
    pixels = torch.randn(2, 3, 63, 47, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(SEES(pixels)[:, : 2 * BINS], SEES(pixels.flip(3))[:, : 2 * BINS])


def test_only_attributes_see_colours() -> None:
    network = build_network(
        Architecture(backbone="resnet10t", pooling="multiscale", trunk=8, head="linear", colour=4), TAXONOMY
    ).eval()
    pixels = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    features = network.features(pixels)
    other = features.clone()
    other[:, -COLOURS:] += 1
    before, after = network.heads(features), network.heads(other)
    torch.testing.assert_close(after.category, before.category, rtol=0, atol=0)
    assert not torch.allclose(after.attributes, before.attributes)


def test_a_title_alone_has_no_colours() -> None:
    architecture = Architecture(backbone="resnet10t", head="linear", colour=4, text="title", text_buckets=9)
    network = build_network(architecture, TAXONOMY).eval()
    logits = network(None, torch.tensor([[0, 0]], dtype=torch.int32))
    bias = network.heads.attributes.bias
    assert isinstance(bias, Tensor)
    torch.testing.assert_close(logits.attributes, bias[None])


def test_colours_need_pooled_features() -> None:
    with pytest.raises(ConfigError, match="colour = 0"):
        load_recipe("base", {"head": "csra", "pooling": "last", "trunk": 0})
