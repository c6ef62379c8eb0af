"""Calibration: temperatures that make confidences accurate, fitted on products that the network was not trained on."""

from __future__ import annotations

import operator
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from attire.config import DecisionRule
from attire.errors import ConfigError
from attire.labels import State, Targets
from attire.score.calibration_record import CalibrationRecord
from attire.score.decisions import abstain, decide, log_odds, log_softmax
from attire.score.promise import Promise
from attire.score.thresholds import NEVER, Thresholds
from attire.taxonomy import Taxonomy

TEMPERATURES = np.exp(np.arange(-1.5, 2.01, 0.02))  # the search grid
SHRINKAGE = 10.0  # prior precision of a key's log temperature: how strongly it is shrunk towards that of all keys
TIE = 1e-6  # penalty (nats) on squared log temperature, so that without evidence the temperature is 1
SURE_CATEGORY = 0.9  # minimum confidence of a category in bundles that have no threshold for it

Floats = NDArray[np.float32]
Temperature = Annotated[float, Field(gt=0)]


class Calibration(BaseModel):
    """Temperatures of the category and of each key.

    Bundles of format 1 have thresholds instead of a `CalibrationRecord`: precision -> [K], the minimum confidence of
    each value, above 1 if it is never filled. They were fitted for all keys together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    category_temperature: Temperature
    temperature: tuple[Temperature, ...]  # [A]
    thresholds: dict[str, tuple[float, ...]] = Field(default_factory=dict, exclude_if=operator.not_)
    set_aside: dict[str, Any] | None = Field(default=None, exclude_if=operator.not_)  # of format 1, for people

    def scale(self, taxonomy: Taxonomy, category: Floats, attributes: Floats) -> tuple[Floats, Floats]:
        """Divide logits float32[N, C] and float32[N, K] by their temperatures, which calibrates their probabilities."""
        temperature = np.asarray(self.temperature, dtype=np.float32)[taxonomy.key_of_column]
        return category / np.float32(self.category_temperature), attributes / temperature

    def early_thresholds(self, taxonomy: Taxonomy, promise: Promise) -> Thresholds:
        """The thresholds of a bundle of format 1.

        Raises `ConfigError` for a promise that it cannot make: it has some precisions only, and those on average.
        """
        wanted = str(promise.precision)
        if wanted not in self.thresholds or promise.keys:
            raise ConfigError(
                f"the bundle cannot promise {promise} precision: it was calibrated by an earlier attire, for "
                f"{', '.join(self.thresholds)} of all keys together. Train it again for other promises."
            )
        threshold = np.array(self.thresholds[wanted])
        sure_category = np.full(len(taxonomy.categories), SURE_CATEGORY)
        shift = -log_odds(np.append(np.minimum(threshold, 1), sure_category))
        never = np.append(np.minimum.reduceat(threshold, taxonomy.starts) > 1, False)
        shift[: len(threshold)][threshold > 1] = -NEVER
        return Thresholds(shift, np.where(never, NEVER, 0.0), 0.0, {})


class Fitted(NamedTuple):
    """A calibration, and the record that thresholds are fitted from."""

    calibration: Calibration
    record: CalibrationRecord


def fit_calibration(
    taxonomy: Taxonomy,
    rule: DecisionRule,
    truth: Targets,
    category: Floats,
    attributes: Floats,
    frequency: Floats,
    taught: NDArray[np.bool_] | None = None,
) -> Fitted:
    """Fit temperatures on logits float32[N, C] and float32[N, K] of calibration products, and record their answers.

    frequency: float32[C, K], see `frequencies`. taught: bool[A], the keys with labels in training; None for all.
    """
    category_temperature, temperature = fit_temperatures(taxonomy, truth, category, attributes)
    calibration = Calibration(category_temperature=category_temperature, temperature=temperature)
    decisions = decide(taxonomy, rule, *calibration.scale(taxonomy, category, attributes))
    decisions = decisions if taught is None else abstain(taxonomy, decisions, taught)
    return Fitted(calibration, CalibrationRecord.of(taxonomy, truth, decisions, frequency))


def fit_temperatures(
    taxonomy: Taxonomy, truth: Targets, category: Floats, attributes: Floats
) -> tuple[float, tuple[float, ...]]:
    """Fit temperatures of the category and of each key (Guo et al., "On calibration of modern neural networks", 2017).

    A key's log temperature is shrunk towards that of all keys together, so that a key with few labels follows the rest.
    """
    known = truth.category >= 0
    rows, true = np.flatnonzero(known), truth.category[known]
    category_loss = np.array([-log_softmax(category / np.float32(t))[rows, true].sum() for t in TEMPERATURES])
    loss = _key_losses(taxonomy, truth, attributes)
    log = np.log(TEMPERATURES)
    common = log[(loss.sum(axis=1) + TIE * log**2).argmin()]
    best_of_keys = (loss + SHRINKAGE / 2 * (log - common)[:, None] ** 2).argmin(axis=0)
    best = int((category_loss + TIE * log**2).argmin())
    return float(TEMPERATURES[best]), tuple(float(TEMPERATURES[i]) for i in best_of_keys)


def _key_losses(taxonomy: Taxonomy, truth: Targets, logits: Floats) -> NDArray[np.float64]:
    """float64[T, A]: at each of `TEMPERATURES`, the negative log likelihood of the stated values, summed over the
    products with a known label."""
    loss = np.zeros((len(TEMPERATURES), len(taxonomy.keys)))
    for number, columns in enumerate(taxonomy.columns.values()):
        known = truth.state[:, number] == State.KNOWN  # a small part: most keys apply to few categories
        own, hot = logits[known, columns], truth.hot[known, columns]
        sign = np.where(hot, np.float32(1), np.float32(-1))
        for step, t in enumerate(TEMPERATURES if known.any() else ()):
            scaled = own / np.float32(t)
            surprise = -log_softmax(scaled) * hot if taxonomy.one[number] else np.logaddexp(0, -sign * scaled)
            loss[step, number] = surprise.sum(dtype=np.float64)
    return loss
