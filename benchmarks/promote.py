"""How often `attire promote` refuses a model that is as good as the present one, and whether it catches a real loss.

python benchmarks/promote.py CATALOG --equal RUN... --worse RUN... --work DIR [--json FILE] [--plot FILE]

RUN is a directory that `attire train --recipe frozen` wrote. The answers to val are computed from cached embeddings.

- the answers of two equal models are swapped for random groups, so that neither is better, and they are compared;
- each model of --equal (one recipe, several seeds) is compared with each other, in both directions;
- each model of --worse is compared with each of --equal;
- right answers on single keys are replaced in a share of the products, and the result compared with the original.

Beside the decision of `attire.promotion.judgement` stand two that are simpler: paired bootstrap intervals of 95% for
each figure by itself, as `attire compare` shows them, and the same corrected by Bonferroni.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from scipy.stats import norm
from support.common import Row, report
from support.plots import save_plot

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.evaluation.compare import LOWER_IS_BETTER
from attire.evaluation.evidence import Evidence, matches_of_both
from attire.inference.embedded import EmbeddedEngine
from attire.inference.logits import catalog_logits
from attire.labels import Targets
from attire.progress import track
from attire.promotion.judgement import CHANCE, Judgement, judge
from attire.score.decisions import Decisions
from attire.score.metrics import MIN_LABELS, key_iou, weighted
from attire.score.promise import PRECISION

Paths = Annotated[list[Path], Parameter(consume_multiple=True)]
BROKEN = (0.05, 0.15)  # shares of products whose right answers on a key are replaced


def answers(bundle: ModelBundle, catalog: Catalog) -> Evidence:
    """The answers to the products of val, from the catalog's cached embeddings."""
    ids = Splits.load(catalog).val
    rows = catalog.rows_of(ids)
    logits = catalog_logits(bundle, catalog, ids, EmbeddedEngine(bundle, catalog))
    assert len(logits.answered) == len(ids), "a product of val has no photo"
    decisions = bundle.decide(logits.category, logits.attributes)
    truth = Targets(*(column[rows] for column in catalog.targets()))
    accepted = bundle.accepted(decisions, PRECISION)
    groups = tuple(catalog.products["group"].gather(rows))
    return Evidence(catalog.taxonomy, tuple(ids), groups, truth, decisions, accepted)


def by_chance(a: Evidence, b: Evidence, comparisons: int = 1000) -> list[bool]:
    """Whether a model is refused that is as good as the other: the answers of both are swapped for random groups.

    The limit of the comparison is the same whatever is swapped before it, so it is computed once.
    """
    judgement, both = judged(a, b), matches_of_both(a, b)
    groups, of_product = np.unique(np.asarray(a.groups), return_inverse=True)
    rng, refused = np.random.default_rng(1), []
    limits = {name: (d.high - d.value) for name, d in judgement.changes.items()}
    for _ in track(range(comparisons // 50), "swapping", "blocks"):
        swap = rng.integers(0, 2, (len(groups), 50)).astype(np.float32)[of_product]
        sides = [
            weighted(both, weights) | dict(zip(a.taxonomy.keys, key_iou(both, weights), strict=True))
            for weights in (np.concatenate([1 - swap, swap]), np.concatenate([swap, 1 - swap]))
        ]
        losses = [
            (sides[0][name] - sides[1][name]) * (-1 if name in LOWER_IS_BETTER else 1) > limit
            for (_, name), limit in limits.items()
            if limit > 0
        ]
        refused += np.any(losses, axis=0).tolist()
    return refused


def mixed(a: Evidence, b: Evidence, rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """The two models with their answers swapped for random groups, without the figures of filled fields."""
    groups, of_product = np.unique(np.asarray(a.groups), return_inverse=True)
    swap = rng.integers(0, 2, len(groups)).astype(bool)[of_product]

    def side(first: Evidence, second: Evidence) -> Evidence:
        own: list[NDArray[Any]] = [*first.decisions]
        others: list[NDArray[Any]] = [*second.decisions]
        chosen = [np.where(swap.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in zip(own, others, strict=True)]
        return replace(first, decisions=Decisions._make(chosen), accepted=None)

    return side(a, b), side(b, a)


def broken(evidence: Evidence, key: str, share: float, rng: np.random.Generator) -> Evidence:
    """Right answers on the key are moved to the next value, for a share of all products."""
    index, columns = list(evidence.taxonomy.keys).index(key), evidence.taxonomy.columns[key]
    rows = np.flatnonzero(evidence.matches.right[:, index] & (rng.random(len(evidence.ids)) < share))
    chosen = evidence.decisions.chosen.copy()
    chosen[rows, columns] = np.roll(chosen[rows, columns], 1, axis=1)
    return replace(evidence, decisions=evidence.decisions._replace(chosen=chosen))


def bootstrapped(a: Evidence, b: Evidence, resamples: int = 300) -> tuple[bool, bool]:
    """Whether B is refused by bootstrap intervals: of each figure by itself, and corrected by Bonferroni.

    Bonferroni's quantile is beyond the most extreme of the resamples, so that interval is that of a normal distribution
    with the same standard error.
    """
    matches = [side.matches for side in (a, b)]
    groups, of_product = np.unique(np.asarray(a.groups), return_inverse=True)
    rng = np.random.default_rng(0)

    def numbers(weights: NDArray[np.floating]) -> NDArray[np.float64]:
        sides = [np.vstack([*weighted(side, weights).values(), key_iou(side, weights)]) for side in matches]
        return sides[1] - sides[0]

    blocks = [
        numbers(
            rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), 50).T[of_product].astype(np.float32)
        )
        for _ in range(resamples // 50)
    ]
    samples, plain = np.hstack(blocks), numbers(np.ones((len(a.ids), 1)))[:, 0]
    figures = list(weighted(matches[0], np.ones((len(a.ids), 1))))
    sign = np.array([-1 if name in LOWER_IS_BETTER else 1 for name in figures] + [1] * len(a.taxonomy.keys))
    known = ~np.isnan(plain)
    samples, plain, sign = samples[known], plain[known], sign[known]
    alone = np.nanquantile(samples * sign[:, None], 0.975, axis=1) < 0
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
    bootstraps: int = 40,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Run all parts, each of which is kept in `work` and not repeated, and report them."""
    store = Catalog.load(catalog)

    @cache
    def of_run(run: Path) -> Evidence:
        return answers(ModelBundle.load(run / "bundle"), store)

    work.mkdir(parents=True, exist_ok=True)

    def kept(name: str, compute: Callable[[], list[Any]]) -> list[Any]:
        file = work / f"{name}.json"
        if not file.is_file():
            file.write_text(dumps(compute()), encoding="utf-8")
        found: list[Any] = loads(file.read_text(encoding="utf-8"))
        return found

    rows = []
    first, second = map(of_run, equal[:2])
    rows += [("equal", refused) for refused in kept("equal", lambda: by_chance(first, second))]
    known = dict(zip(first.taxonomy.keys, first.matches.known.sum(axis=0).tolist(), strict=True))
    if plot is not None:
        widths = kept("widths", lambda: [d.high - d.value for d in judged(first, second).keys.values()])
        names = [key for key, count in known.items() if count]
        draw([{"key": key, "labels": known[key], "loss": w} for key, w in zip(names, widths, strict=True)], plot)
    for a, b in combinations(equal, 2):
        found = kept(f"{a.name}-{b.name}", lambda: both_ways(judged(of_run(a), of_run(b))))  # noqa: B023
        rows += [("another seed", bool(names)) for names in found]
    named: dict[str, str] = {}
    for run in worse:
        for good in equal[:3]:
            found = kept(f"{good.name}-{run.name}", lambda: both_ways(judged(of_run(good), of_run(run))))  # noqa: B023
            rows += [(run.name, bool(found[0])), (f"back from {run.name}", bool(found[1]))]
            named[run.name] = ", ".join(found[0])
            named[f"back from {run.name}"] = ", ".join(found[1])
    by_labels = sorted((count, key) for key, count in known.items() if count >= MIN_LABELS)
    for count, key in by_labels[5 :: max(1, len(by_labels) // 4)]:
        for share in BROKEN:
            candidate = broken(first, key, share, np.random.default_rng(0))
            found = kept(f"broken-{key}-{share}", lambda: lost(judged(first, candidate)))  # noqa: B023
            rows.append((f"{share:.0%} of the right answers to a key with {count} labels", key in found))
    for part in range(0, bootstraps, 10):
        pairs = [mixed(first, second, np.random.default_rng([part, i])) for i in range(10)]
        found = kept(f"bootstrap-{part}", lambda: [bootstrapped(*pair) for pair in pairs])  # noqa: B023
        rows += [("equal, bootstrap intervals of each figure", alone) for alone, _ in found]
        rows += [("equal, bootstrap intervals and Bonferroni", corrected) for _, corrected in found]
    kinds = dict.fromkeys(kind for kind, _ in rows)
    shares = {kind: [refused for other, refused in rows if other == kind] for kind in kinds}
    report(
        "share of candidates that are refused",
        [
            Row(f"{kind} (of {len(found)})", float(np.mean(found)), named.get(kind, ""))
            for kind, found in shares.items()
        ],
        json,
    )


def draw(keys: list[dict[str, Any]], file: Path) -> None:
    """Draw the smallest loss of IoU that is refused, over the labels of a key, each of which is a point."""
    import altair as alt

    points = alt.Chart(alt.InlineData(values=[key for key in keys if key["loss"] > 0])).mark_point(filled=True, size=36)
    chart = points.encode(
        x=alt.X("labels:Q", title="labels of the key in the compared products", scale=alt.Scale(type="log")),
        y=alt.Y("loss:Q", title="smallest loss of IoU that is refused"),
        tooltip=["key:N"],
    ).properties(width=460, height=220)
    save_plot(chart, file)


def both_ways(judgement: Judgement) -> list[list[str]]:
    """What is worse in the candidate than in the present one, and what would be if they were each other."""
    return [lost(judgement), [name for _, name in judgement.gains]]


def lost(judgement: Judgement) -> list[str]:
    """The names of the figures and keys that are worse."""
    return [name for _, name in judgement.losses]


if __name__ == "__main__":
    cyclopts.run(main)
