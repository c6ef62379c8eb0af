"""The learning curve of each key: IoU and coverage over the number of labels, with a forecast and its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, load_recipe
from attire.files import replace_text
from attire.learning_curve.measure import Measured, measure
from attire.learning_curve.power_law import LEAST_POINTS, PowerLaws, fit_power_laws
from attire.score.promise import PRECISION, Promise
from attire.storage import storing

RESAMPLES = 500
TIMES = (2, 4)  # as many labels, that are forecast
LEAST_CHECKED = 30  # labels of val that a key needs for a forecast
HELPS, USELESS = 0.005, 0.02  # gain in IoU by twice the labels: surely more than one, or surely less than the other
ALL = "all keys"

Limit = Literal["labels", "not labels", "unclear", "too few labels"]
Floats = NDArray[np.float64]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Point(_Frozen):
    """Figures of a model that learned `labels` labels of the key: IoU with its 95% interval, and coverage."""

    labels: int
    iou: float
    low: float
    high: float
    coverage: float


class Forecast(_Frozen):
    """The IoU with `labels` labels, and the gain over all labels of today; each with a 95% interval."""

    labels: int
    iou: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


class KeyCurve(_Frozen):
    """The curve of one key, or of all keys together.

    checked: labels in val. floor: the error, 1 - IoU, that no number of labels removes by the fitted power law
    a + b (n / N)^-c, whose parameters are `law`; None with fewer points than it takes. limit: what holds the key back.
    """

    key: str
    checked: int
    points: tuple[Point, ...]
    law: tuple[float, float, float] | None
    forecasts: tuple[Forecast, ...]
    limit: Limit


class LearningCurve(_Frozen):
    """The curves of all keys together (the first) and of each key; `promise` is that of the coverage."""

    catalog: str
    splits: str
    recipe: str
    backbone: str
    promise: str
    products: int
    keys: tuple[KeyCurve, ...]


def curve(
    catalog: Catalog | str | Path,
    splits: Splits | str | Path | None = None,
    *,
    out: str | Path,
    recipe: str | Path | Recipe = "frozen",
    weights: str | Path | None = None,
    precision: Promise | float = PRECISION,
    seed: int = 0,
) -> LearningCurve:
    """Train on 1/16, 1/8, 1/4, 1/2 and all of train, score on val, and extrapolate to twice and four times the labels.

    Parts of fewer than ten groups are left out. recipe: one that trains only heads. weights: as in `train`. precision:
    the promise that coverage is measured at. seed: of the order in which groups of products are added. Finished parts
    are kept in `out`, so that an interrupted call goes on. Writes `out`/curve.json.

    Raises `ConfigError` for a recipe that trains the backbone, and `CatalogError` if there are too few products.
    """
    catalog, promise, out = Catalog.of(catalog), Promise.of(precision), Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    chosen = Splits.of(splits, catalog)
    with storing(out):
        measured, groups = measure(catalog, chosen, recipe, weights, promise.check(catalog.taxonomy), seed, out)
        result = LearningCurve(
            catalog=catalog.digest,
            splits=chosen.digest,
            recipe=recipe.name,
            backbone=recipe.backbone,
            promise=str(promise),
            products=len(chosen.train),
            keys=tuple(key_curves(list(catalog.taxonomy.keys), measured, groups, seed)),
        )
        replace_text(out / "curve.json", result.model_dump_json(indent=1))
    return result


def key_curves(keys: Sequence[str], measured: Sequence[Measured], groups: Sequence[str], seed: int) -> list[KeyCurve]:
    """The curves of all keys together and of each key with labels in train and val.

    groups: that of each product of val. Intervals are by resampling groups of val, the same ones at all sizes. Points
    also vary with the products that were learned and with the training: that variance is estimated from how far the
    points of all keys are from their power laws, in units of the variance of a share, and added to the resamples.
    """
    weights = _resamples(groups, seed)
    scored = [_Scored.of(key, [number], measured, weights) for number, key in enumerate(keys)]
    scored = [one for one in scored if one.checked and len(one.labels)]
    fits = [one for one in scored if one.can_fit]
    spread = float(np.median([one.spread() for one in fits])) if fits else 1.0
    together = _Scored.of(ALL, list(range(len(keys))), measured, weights)
    rng = np.random.default_rng(seed)
    return [one.curve(spread, rng) for one in ([together] if together.checked else []) + scored]


class _Scored:
    """Figures of one key, or of several together, at P sizes with labels.

    labels: float64[P]; iou: float64[P]; coverage: float64[P]; resampled: float64[R, P], the IoU.
    """

    def __init__(
        self, key: str, checked: int, labels: Floats, iou: Floats, coverage: Floats, resampled: Floats
    ) -> None:
        self.key, self.checked, self.labels = key, checked, labels
        self.iou, self.coverage, self.resampled = iou, coverage, resampled

    @classmethod
    def of(cls, key: str, columns: list[int], measured: Sequence[Measured], weights: Floats) -> _Scored:
        sizes = [one for one in measured if one.labels[columns].sum()]
        known = measured[0].known[:, columns].sum(axis=1).astype(np.float64)
        total = max(1.0, known.sum())
        ious = [one.iou[:, columns].sum(axis=1) for one in sizes]
        with np.errstate(invalid="ignore"):
            resampled = [iou @ weights / (known @ weights) for iou in ious]
        return cls(
            key,
            int(known.sum()),
            np.array([one.labels[columns].sum() for one in sizes], dtype=np.float64),
            np.array([iou.sum() / total for iou in ious]),
            np.array([one.filled[:, columns].sum() / total for one in sizes]),
            np.array(resampled).T.reshape(weights.shape[1], len(sizes)),
        )

    @property
    def can_fit(self) -> bool:
        return len(self.labels) >= LEAST_POINTS and self.checked >= LEAST_CHECKED

    @property
    def variance(self) -> float:
        """Of the share of right answers among the checked ones."""
        error = float(np.clip(1 - self.iou[-1], 0.02, 0.98))
        return error * (1 - error) / self.checked

    def law(self) -> PowerLaws:
        return fit_power_laws(self.labels, 1 - self.iou[None])

    def spread(self) -> float:
        """The variance of points around their power law, in units of `variance`."""
        residuals = self.law()(self.labels)[0] - (1 - self.iou)
        return float((residuals**2).sum() / max(1, len(residuals) - 2) / self.variance)

    def curve(self, spread: float, rng: np.random.Generator) -> KeyCurve:
        low, high = np.nanquantile(self.resampled, [0.025, 0.975], axis=0)
        points = tuple(
            Point(labels=int(n), iou=iou, low=below, high=above, coverage=filled)
            for n, iou, below, above, filled in zip(
                self.labels, self.iou.tolist(), low.tolist(), high.tolist(), self.coverage.tolist(), strict=True
            )
        )
        if not self.can_fit:
            return KeyCurve(
                key=self.key, checked=self.checked, points=points, law=None, forecasts=(), limit="too few labels"
            )
        law = self.law()
        whole = self.resampled[~np.isnan(self.resampled).any(axis=1)]
        noise = rng.normal(0, np.sqrt(spread * self.variance), whole.shape)
        laws = fit_power_laws(self.labels, np.clip(1 - whole + noise, 0, 1))
        forecasts = tuple(self._forecast(law, laws, times) for times in TIMES)
        return KeyCurve(
            key=self.key,
            checked=self.checked,
            points=points,
            law=(float(law.a[0]), float(law.b[0]), float(law.c[0])),
            forecasts=forecasts,
            limit=_limit(forecasts[0]),
        )

    def _forecast(self, law: PowerLaws, laws: PowerLaws, times: int) -> Forecast:
        now, then = self.labels[-1:], times * self.labels[-1:]
        gains = (laws(now) - laws(then))[:, 0]
        gain = float((law(now) - law(then))[0, 0])
        low, high = (float(x) for x in np.quantile(1 - laws(then)[:, 0], [0.025, 0.975]))
        gain_low, gain_high = (float(x) for x in np.quantile(gains, [0.025, 0.975]))
        return Forecast(
            labels=int(then[0]),
            iou=float(1 - law(then)[0, 0]),
            low=low,
            high=high,
            gain=gain,
            gain_low=gain_low,
            gain_high=gain_high,
        )


def _limit(twice: Forecast) -> Limit:
    if twice.gain_low > HELPS:
        return "labels"
    return "not labels" if twice.gain_high < USELESS else "unclear"


def _resamples(groups: Sequence[str], seed: int) -> Floats:
    """float64[N, RESAMPLES]: weights of products in resamples of whole groups."""
    names, group_of_product = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    return np.asarray(counts.T.astype(np.float64)[group_of_product])
