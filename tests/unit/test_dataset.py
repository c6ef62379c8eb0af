"""Examples: every product once per epoch, randomness that depends only on (seed, epoch, product), no substitutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attire.errors import PhotoError
from attire.labels import Targets
from attire.pixels.augment import AUGMENTS
from attire.pixels.dataset import Draw, DrawSampler, EmbeddingDataset, PhotoDataset, PhotoFiles
from attire.pixels.preprocess import Preprocess

PREPROCESS = Preprocess(size_px=(16, 12), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def targets(products: int) -> Targets:
    return Targets(np.arange(products), np.zeros((products, 2), dtype=bool), np.zeros((products, 1), dtype=np.int8))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_product_is_drawn_once_per_epoch(world: int) -> None:
    samplers = [DrawSampler(10, seed=4, rank=rank, world=world) for rank in range(world)]
    epochs = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        draws = [list(sampler) for sampler in samplers]
        assert {len(share) for share in draws} == {len(samplers[0])}, "DDP needs equal numbers of steps"
        assert {draw.product for share in draws for draw in share} == set(range(10))
        epochs.append([draw for share in draws for draw in share])
    assert epochs[0] != epochs[1]


def test_without_a_seed_nothing_is_random() -> None:
    assert list(DrawSampler(3, seed=None)) == [Draw(0, None), Draw(1, None), Draw(2, None)]


def test_a_draw_is_a_function_of_seed_epoch_and_product() -> None:
    def seeds(seed: int, world: int) -> dict[int, int | None]:
        return dict(draw for rank in range(world) for draw in DrawSampler(8, seed=seed, rank=rank, world=world))

    assert seeds(1, 1) == seeds(1, 2)
    assert seeds(1, 1) != seeds(2, 1)


def drawn(expected: list[float], world: int, epoch: int = 0) -> list[Draw]:
    draws = []
    for rank in range(world):
        sampler = DrawSampler(len(expected), seed=4, rank=rank, world=world, expected=np.array(expected))
        sampler.set_epoch(epoch)
        share = list(sampler)
        assert len(share) == len(sampler), "DDP needs equal numbers of steps"
        draws += share
    return draws


def test_rare_products_are_drawn_more_often() -> None:
    expected = [0.5] * 8 + [3.25, 2.75]
    counts = np.array(
        [np.bincount([d.product for d in drawn(expected, 1, epoch)], minlength=10) for epoch in range(400)]
    )
    assert (counts.sum(1) == 10).all()
    assert (np.abs(counts - expected) < 1).all(), "each epoch is as even as whole numbers allow"
    np.testing.assert_allclose(counts.mean(0), expected, atol=0.1)
    assert drawn(expected, 1, 1) == drawn(expected, 1, 1) != drawn(expected, 1, 2)


def test_equal_expected_counts_draw_every_product_once() -> None:
    assert sorted(d.product for d in drawn([1.0] * 9, 1)) == list(range(9))


@pytest.mark.parametrize("world", [2, 5])
def test_processes_share_repeated_draws(world: int) -> None:
    expected = [0.5] * 8 + [3.25, 2.75]
    assert sorted(drawn(expected, world)) == sorted(drawn(expected, 1))


def test_a_product_drawn_again_is_drawn_differently() -> None:
    draws = drawn([0.5] * 8 + [3.0, 3.0], 1)
    assert len(set(draws)) == len(draws) == 10
    first = dict(drawn([1.0] * 10, 1))
    assert all(first[product] in [d.seed for d in draws if d.product == product] for product in (8, 9))


def test_photos_become_pixels(tmp_path: Path) -> None:
    for name, colour in (("a.png", "black"), ("b.png", "white")):
        Image.new("RGB", (12, 16), colour).save(tmp_path / name)
    augment = AUGMENTS["light"](PREPROCESS)
    photos = PhotoFiles([tmp_path / "a.png", tmp_path / "b.png"], PREPROCESS.size_px)
    dataset = PhotoDataset(photos, [1, 1], targets(2), PREPROCESS, augment)
    pixels, labels = dataset[Draw(1, None)][:2]
    assert torch.equal(pixels, torch.full((3, 16, 12), 255, dtype=torch.uint8))
    assert labels.category == 1
    state = torch.get_rng_state()
    again = [dataset[Draw(0, 7)][0] for _ in range(2)]
    torch.testing.assert_close(again[0], again[1])
    assert torch.equal(torch.get_rng_state(), state), "loading an example leaves the global random state unchanged"


def test_each_view_is_drawn() -> None:
    embeddings = np.arange(5, dtype=np.float32)[:, None]  # product 0 has three views, product 1 two
    dataset = EmbeddingDataset(embeddings, [3, 2], targets(2))
    assert {float(dataset[Draw(0, seed)][0]) for seed in range(9)} == {0, 1, 2}
    assert {float(dataset[Draw(1, seed)][0]) for seed in range(9)} == {3, 4}
    assert [float(dataset[Draw(product, None)][0]) for product in (0, 1)] == [0, 3]


def test_titles_are_part_of_examples_only_if_given() -> None:
    embeddings, text = np.zeros((3, 1), dtype=np.float32), np.array([[1, 2], [3, 0]], dtype=np.int32)
    assert len(EmbeddingDataset(embeddings, [2, 1], targets(2))[Draw(1, None)]) == 2
    *_, title = EmbeddingDataset(embeddings, [2, 1], targets(2), text)[Draw(1, None)]
    assert torch.equal(torch.as_tensor(title), torch.tensor([3, 0]))


def test_a_photo_that_became_unreadable_raises(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    photos, augment = PhotoFiles([tmp_path / "a.jpg"], PREPROCESS.size_px), AUGMENTS["none"](PREPROCESS)
    dataset = PhotoDataset(photos, [1], targets(1), PREPROCESS, augment)
    with pytest.raises(PhotoError, match=r"a\.jpg.*run attire ingest again"):
        dataset[Draw(0, None)]
    with pytest.raises(ValueError, match="without a photo"):
        PhotoDataset(photos, [0], targets(1), PREPROCESS, augment)
