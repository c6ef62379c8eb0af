"""Near duplicates: the same shot in other encodings is found, similar products are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from attire.catalog.duplicates import fingerprint, near_duplicates, tie


def shirt(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (168, 224), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 40, 138, 200), fill=tuple(random.integers(0, 200, 3).tolist()))
    for _ in range(25):
        x, y, w, h = (int(n) for n in random.integers((30, 40, 5, 5), (120, 180, 40, 40)))
        draw.ellipse(
            (x, y, x + w, y + h),
            fill=tuple(random.integers(0, 255, 3).tolist()),
        )
    return image


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def pairs_among(photos: list[Image.Image]) -> set[tuple[int, int]]:
    hashes, thumbs = zip(*map(fingerprint, photos), strict=True)
    return {(a, b) for a, b in near_duplicates(hashes, thumbs).tolist()}


def test_the_same_shot_is_found_in_other_encodings() -> None:
    one = shirt(0)
    photos = [one, shirt(1), recompressed(one), shirt(2), one.resize((336, 448)), shirt(3)]
    assert pairs_among(photos) == {(0, 2), (0, 4), (2, 4)}


def test_other_products_are_not_duplicates() -> None:
    assert pairs_among([shirt(seed) for seed in range(40)]) == set()


def test_photos_that_differ_only_in_colour_are_not_duplicates() -> None:
    red, green = (Image.new("RGB", (64, 64), colour) for colour in ("#ff0000", "#008200"))
    assert fingerprint(red)[0] == fingerprint(green)[0]
    assert pairs_among([red, green]) == set()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    hashes, thumbs = [b"\0" * 32] * count, [b"\0" * 192] * count
    assert near_duplicates(hashes, thumbs).shape == (0, 2)


def test_tie_joins_chains() -> None:
    assert tie(6, [(4, 2), (2, 5), (1, 0)]).tolist() == [0, 0, 2, 3, 2, 2]
