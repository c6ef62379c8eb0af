"""The moving average of weights: what a short run and a long run keep of their start."""

from __future__ import annotations

import pytest
import torch

from attire.training.trainer import _average


@pytest.mark.parametrize(("steps", "decay", "most"), [(20, 0.999, 0.01), (2000, 0.99, 1e-6)])
def test_the_average_forgets_its_start(steps: int, decay: float, most: float) -> None:
    average = torch.ones(1)
    for count in range(1, steps + 1):
        _average(decay, [average], [torch.zeros(1)], torch.tensor(count))
    assert 0 <= float(average) < most


def test_later_on_it_moves_as_slowly_as_it_should() -> None:
    moved = torch.zeros(1)
    _average(0.9, [moved], [torch.ones(1)], torch.tensor(10_000))
    assert float(moved) == pytest.approx(0.1, rel=1e-5)
