"""How often `attire promote` refuses a model that is as good as the present one, and whether it catches a real loss.

python benchmarks/promote.py CATALOG --equal RUN... --worse RUN... --work DIR [--trials 400] [--json FILE]

RUN is a directory that `attire train --recipe frozen` wrote; all have the same backbone, whose features are computed
once. Each bundle is evaluated on val. Then

- the answers of two equal models are swapped for random groups, so that neither is better, and they are compared;
- each model of --equal (one recipe, several seeds) is compared with each other, in both directions;
- each model of --worse is compared with each of --equal;
- the right answers of single keys are replaced in a share of the products, and the result compared with the original.

Beside the decision of `attire.promotion.judgement` stand two that are simpler: paired bootstrap intervals of 95% for
each figure by itself, as `attire compare` shows them, and the same corrected by Bonferroni.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from support.common import Row, report

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.engines.engine import Bytes, Floats
from attire.evaluation.compare import LOWER_IS_BETTER
from attire.evaluation.evaluate import evaluate
from attire.evaluation.evidence import Evidence
from attire.labels import labelled
from attire.pixels.normalise import Normalise
from attire.progress import track
from attire.promotion.judgement import CHANCE, Judgement, judge
from attire.score.decisions import Accepted, Decisions
from attire.score.metrics import key_iou, weighted
from attire.score.promise import PRECISION

Paths = Annotated[list[Path], Parameter(consume_multiple=True)]
BROKEN = (0.02, 0.05, 0.1, 0.2)  # shares of products whose right answers on a key are replaced


class SharedFeatures:
    """Runs the heads of bundles with the same frozen backbone on features that are computed once for each photo."""

    name = "torch"

    def __init__(self) -> None:
        self.features: dict[bytes, NDArray[np.float32]] = {}
        self.bundle: ModelBundle | None = None

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        assert self.bundle is not None
        network, names = self.bundle.network, [hashlib.sha256(photo.tobytes()).digest() for photo in pixels]
        photos = Normalise(self.bundle.preprocess)(torch.from_numpy(pixels))
        with torch.inference_mode():
            if new := [i for i, name in enumerate(names) if name not in self.features]:
                for i, row in zip(new, network._backbone_features(photos[new]).numpy(), strict=True):
                    self.features[names[i]] = row
            features = torch.from_numpy(np.stack([self.features[name] for name in names]))
            category, attributes = network.heads(network.with_colours(features, photos), None)
        return category.numpy(), attributes.numpy()


def answers(runs: Sequence[Path], catalog: Catalog, work: Path) -> list[Evidence]:
    """The answers of each run's bundle to the products of val; finished reports are used again."""
    engine = SharedFeatures()
    found = []
    for run in runs:
        out = work / run.name
        if not (out / "scores.json").is_file():
            engine.bundle = ModelBundle.load(run / "bundle")
            evaluate(engine.bundle, catalog, "val", engine=engine, out=out)
        found.append(Evidence.load(out))
    return found


def mixed(a: Evidence, b: Evidence, rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """The two models with their answers swapped for random groups."""
    groups, of_product = np.unique(np.asarray(a.groups), return_inverse=True)
    swap = rng.integers(0, 2, len(groups)).astype(bool)[of_product]

    def chosen(first: Any, second: Any) -> list[NDArray[Any]]:
        return [np.where(swap.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in zip(first, second, strict=True)]

    def side(first: Evidence, second: Evidence) -> Evidence:
        assert first.accepted is not None and second.accepted is not None
        return replace(
            first,
            decisions=Decisions._make(chosen(first.decisions, second.decisions)),
            accepted=Accepted._make(chosen(first.accepted, second.accepted)),
        )

    return side(a, b), side(b, a)


def broken(evidence: Evidence, key: str, share: float, rng: np.random.Generator) -> Evidence:
    """Right answers on the key are moved to the next value, for a share of all products."""
    index, columns = list(evidence.taxonomy.keys).index(key), evidence.taxonomy.columns[key]
    rows = np.flatnonzero(evidence.matches.right[:, index] & (rng.random(len(evidence.ids)) < share))
    chosen = evidence.decisions.chosen.copy()
    chosen[rows, columns] = np.roll(chosen[rows, columns], 1, axis=1)
    return replace(evidence, decisions=evidence.decisions._replace(chosen=chosen))


def bootstrapped(a: Evidence, b: Evidence, resamples: int = 1000) -> tuple[bool, bool]:
    """Whether B is refused by bootstrap intervals: of each figure by itself, and corrected by Bonferroni.

    With 1,000 resamples Bonferroni's quantile is beyond the most extreme one, so the interval is that of a normal
    distribution with the same standard error.
    """
    matches = [side.matches for side in (a, b)]
    groups, of_product = np.unique(np.asarray(a.groups), return_inverse=True)
    rng = np.random.default_rng(0)

    def numbers(weights: NDArray[np.floating]) -> NDArray[np.float64]:
        sides = [np.vstack([*weighted(side, weights).values(), key_iou(side, weights)]) for side in matches]
        return sides[1] - sides[0]

    blocks = [
        numbers(rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), 50).T[of_product])
        for _ in range(resamples // 50)
    ]
    samples, plain = np.hstack(blocks), numbers(np.ones((len(a.ids), 1)))[:, 0]
    figures = list(weighted(matches[0], np.ones((len(a.ids), 1))))
    sign = np.array([-1 if name in LOWER_IS_BETTER else 1 for name in figures] + [1] * len(a.taxonomy.keys))
    known = ~np.isnan(plain)
    samples, plain, sign = samples[known], plain[known], sign[known]
    alone = np.nanquantile(samples * sign[:, None], 0.975, axis=1) < 0
    from scipy.stats import norm

    corrected = plain * sign + norm.ppf(1 - CHANCE / len(plain)) * np.nanstd(samples, axis=1) < 0
    return bool(alone.any()), bool(corrected.any())


def judged(a: Evidence, b: Evidence) -> Judgement:
    """The comparison of `attire promote`."""
    return judge(a, b, list(a.taxonomy.keys), PRECISION)


def main(
    catalog: Path,
    *,
    equal: Paths,
    worse: Paths,
    work: Path,
    trials: int = 400,
    bootstraps: int = 60,
    keys: Annotated[list[str], Parameter(consume_multiple=True)] = [],  # noqa: B006
    json: Path | None = None,
) -> None:
    """Run all four parts and report them."""
    store = Catalog.load(catalog)
    good, bad = answers(equal, store, work), answers(worse, store, work)
    rng = np.random.default_rng(0)
    print(
        equal,
        worse,
        trials,
        bootstraps,
        keys,
        json,
        judged,
        bootstrapped,
        track,
        labelled,
        permutations,
        Row,
        report,
        rng,
        good,
        bad,
    )


if __name__ == "__main__":
    cyclopts.run(main)
