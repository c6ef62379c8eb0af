"""The moving average of weights in short and long runs."""

from __future__ import annotations

import pytest
import torch

from attire.training.trainer import _average


@pytest.mark.parametrize(("steps", "decay", "limit"), [(20, 0.999, 0.01), (2000, 0.99, 1e-6)])
def test_the_average_forgets_the_initial_weights(steps: int, decay: float, limit: float) -> None:
    average = torch.ones(1)
    for count in range(1, steps + 1):
        _average(decay, [average], [torch.zeros(1)], torch.tensor(count))
    assert 0 <= float(average) < limit


def test_later_updates_use_the_full_decay() -> None:
    average = torch.zeros(1)
    _average(0.9, [average], [torch.ones(1)], torch.tensor(10_000))
    assert float(average) == pytest.approx(0.1, rel=1e-5)
