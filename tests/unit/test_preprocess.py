"""Preprocessing and augmentation: size, aspect ratio, white padding, and torchvision as the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from attire.pixels.augment import AREA, AUGMENTS, STRETCH, _box, _curve
from attire.pixels.normalise import Normalise
from attire.pixels.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess(size_px: tuple[int, int], fit: str) -> Preprocess:
    return Preprocess.model_validate({"size_px": size_px, "mean": MEAN, "std": STD, "fit": fit})


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("photo_size", [(168, 224), (300, 20), (1, 500), (64, 48), (1, 1)])
@pytest.mark.parametrize("size_px", [(64, 48), (48, 64), (32, 32)])
def test_every_photo_gets_the_size(fit: str, photo_size: tuple[int, int], size_px: tuple[int, int]) -> None:
    pixels = preprocess(size_px, fit)(Image.new("RGB", photo_size, (9, 99, 199)))
    assert pixels.shape == (3, *size_px)
    assert pixels.dtype == np.float32


def test_a_strip_is_padded_without_a_huge_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pad = preprocess((64, 48), "pad")
    expected = pad.resize(Image.linear_gradient("L").resize((3000, 100)).convert("RGB"))
    monkeypatch.setattr("attire.pixels.preprocess.FRAME_PIXELS", 500_000)
    strip = Image.linear_gradient("L").resize((3000, 100)).convert("RGB")
    framed = pad.frame(strip)
    assert framed.width * framed.height < 600_000
    assert framed.width / framed.height == pytest.approx(48 / 64, rel=0.01)
    assert np.abs(pad.resize(strip).astype(int) - expected).mean() < 3
    assert pad.resize(Image.new("RGB", (100_000, 1))).shape == (3, 64, 48)


def test_padding_is_white_and_keeps_proportions() -> None:
    pixels = preprocess((40, 40), "pad").resize(Image.new("RGB", (10, 40), (0, 0, 0)))
    black = (pixels == 0).all(axis=0)
    assert black[:, 17:23].all()
    assert (pixels[:, :, :14] == 255).all()
    assert (pixels[:, :, 26:] == 255).all()


def test_cropping_keeps_the_middle() -> None:
    photo = Image.new("RGB", (40, 10), (255, 0, 0))
    photo.paste((0, 0, 255), (15, 0, 25, 10))
    pixels = preprocess((20, 20), "crop").resize(photo)
    assert (pixels[2] > 250).all()


def test_normalisation_equals_torchvision() -> None:
    from torchvision.transforms import v2

    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    chain = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    np.testing.assert_allclose(preprocess((64, 48), "pad")(photo), chain(photo).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_every_augmentation_keeps_size_type_and_hue(name: str) -> None:
    torch.manual_seed(0)
    augment = AUGMENTS[name](preprocess((64, 48), "pad"))
    photo = Image.new("RGB", (60, 90), (200, 30, 30))
    for _ in range(20):
        pixels = augment(photo)
        assert pixels.shape == (3, 64, 48)
        assert pixels.dtype == np.uint8
        red, green, blue = (int(x) for x in pixels[:, 32, 24])
        assert red > 2 * green
        assert abs(green - blue) <= 2, "colour is an attribute, so the hue must not change"


def test_light_augmentation_varies_and_repeats_under_a_seed() -> None:
    augment = AUGMENTS["light"](preprocess((64, 48), "pad"))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    views = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        views.append(augment(photo))
    assert (views[0] == views[2]).all()
    assert (views[0] != views[1]).any()


def test_brightness_and_contrast_equal_torchvision() -> None:
    from torchvision.transforms.v2 import functional

    photo = Image.fromarray(np.random.default_rng(0).integers(40, 200, (20, 20, 3), dtype=np.uint8))
    expected = functional.adjust_contrast(functional.adjust_brightness(photo, 1.15), 0.85)
    result = photo.point(_curve(photo, 1.0, 0.0))
    np.testing.assert_allclose(np.asarray(result, int), np.asarray(expected, int), atol=2)


def test_crops_cover_the_frame_within_their_limits() -> None:
    torch.manual_seed(0)
    boxes = np.array([_box(200, 100) for _ in range(500)])
    width, height = (boxes[:, 2] - boxes[:, 0]) / 200, (boxes[:, 3] - boxes[:, 1]) / 100
    assert boxes.min() >= 0
    assert (boxes[:, 2:].max(0) <= (200 + 1e-9, 100 + 1e-9)).all()
    area, ratio = width * height, width / height
    assert AREA - 1e-9 <= area.min() < AREA + 0.02
    assert area.max() > 0.95
    assert (ratio >= STRETCH - 1e-9).all()
    assert (ratio <= 1 / STRETCH + 1e-9).all()
    assert boxes[:, 0].max() > 25, "crops also start further right"


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("photo_size", [(168, 224), (300, 20), (64, 48), (1, 1)])
def test_the_window_matches_the_frame(fit: str, photo_size: tuple[int, int]) -> None:
    framing = preprocess((64, 48), fit)
    left, top, right, bottom = framing.window(*photo_size)
    assert (right - left, bottom - top) == framing.frame(Image.new("RGB", photo_size)).size
    assert abs(left + right - photo_size[0]) <= 1, "the window is centred"
    assert abs(top + bottom - photo_size[1]) <= 1


def test_the_layer_normalises_like_the_function() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    layer = Normalise(preprocess((4, 5), "pad"))
    np.testing.assert_allclose(
        layer(torch.from_numpy(pixels)).numpy(), preprocess((4, 5), "pad").normalise(pixels), atol=1e-6
    )
    assert not layer.state_dict()
