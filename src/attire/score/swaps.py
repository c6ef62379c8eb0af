"""How large a difference between two models chance can make: a paired randomisation test of many figures at once.

If two models are equally good, it does not matter which of them gave which answer. So the answers of both are swapped
for a random half of the groups, again and again, and the differences that this makes are those of chance (Fisher, "The
design of experiments", 1935; for evaluations: Noreen, 1989; Smucker et al., CIKM 2007). Of all figures together, the
largest difference in units of its standard error is kept from each swap, so that a limit holds for all figures at once
and takes into account that they depend on each other (max-T, Westfall and Young, "Resampling-based multiple testing",
1993). Unlike resampling, this needs no minimum number of labels: with few, chance alone reaches no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from attire.progress import track

Name = TypeVar("Name", bound=Hashable)
Floats = NDArray[np.float64]
_MAX_WEIGHTS = 8_000_000  # in memory at once
_STEP = 50  # swaps per update of the progress bar


class Changes(NamedTuple, Generic[Name]):
    """Differences B - A. errors: their standard errors if the models are equally good.

    limit: if they are, no figure is worse by more than `limit` standard errors, with probability 1 - chance.
    """

    differences: dict[Name, float]
    errors: dict[Name, float]
    limit: float


def swapped(
    figures: Callable[[NDArray[np.float32]], dict[Name, Floats]],
    groups: Sequence[str],
    chance: float,
    lower_is_better: Collection[Name] = (),
    swaps: int = 1000,
    seed: int = 0,
) -> Changes[Name]:
    """Compare the answers of A and B to the same N products.

    `figures` maps weights float32[2N, R], of the N answers of A followed by the N answers of B, to float64[R] for each
    figure. `groups` is the group of each product; whole groups are swapped. A figure that is nan for one of the models
    is left out.
    """
    names, group_of_product = np.unique(np.asarray(groups), return_inverse=True)
    rng, products = np.random.default_rng(seed), len(group_of_product)
    plain = _differences(figures, np.zeros((products, 1), dtype=np.float32))
    differences = {name: float(value[0]) for name, value in plain.items() if not np.isnan(value[0])}
    step = max(1, min(_STEP, _MAX_WEIGHTS // max(1, 2 * products)))
    # The opposite of each swap counts too: it changes the signs of all differences.
    rounds = -(-swaps // 2)
    blocks = [min(step, rounds - start) for start in range(0, rounds, step)]
    samples: dict[Name, list[Floats]] = {name: [] for name in differences}
    for size in track(blocks, "swapping answers", "blocks", len(blocks)):
        swaps_of_groups = rng.integers(0, 2, (len(names), size)).astype(np.float32)
        by_chance = _differences(figures, swaps_of_groups[group_of_product])
        for name, blocks_of_name in samples.items():
            blocks_of_name.append(np.nan_to_num(by_chance[name]))
    by_name = {name: np.concatenate(values) for name, values in samples.items()}
    errors = {name: float(np.sqrt((values**2).mean())) for name, values in by_name.items()}
    worst = np.zeros(2 * rounds)
    for name, values in by_name.items():
        if errors[name] > 0:
            losses = values / errors[name] * (1 if name in lower_is_better else -1)
            worst = np.maximum(worst, np.concatenate([losses, -losses]))
    # The plain difference is one of the possible swaps, so it counts as one of them.
    place = int(np.ceil((1 - chance) * (len(worst) + 1))) - 1
    limit = float(np.sort(worst)[place]) if place < len(worst) else float("inf")
    return Changes(differences, errors, limit)


def _differences(
    figures: Callable[[NDArray[np.float32]], dict[Name, Floats]], swap: NDArray[np.float32]
) -> dict[Name, Floats]:
    """B - A with the answers of both swapped where `swap`, float32[N, R], is 1."""
    of_a, of_b = (figures(np.concatenate(sides)) for sides in ((1 - swap, swap), (swap, 1 - swap)))
    return {name: of_b[name] - of_a[name] for name in of_a}
