"""A power law of the error over the number of labels, and what it forecasts.

error(n) = a + b (n / N)^-c, where a is the error that no number of labels removes: Hestness et al., "Deep Learning
Scaling is Predictable, Empirically", 2017; Viering & Loog, "The Shape of Learning Curves: a Review", 2022.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXPONENTS = np.linspace(0.1, 1.2, 23)  # c that are tried; learning curves of classifiers have 0.1 to 1
LEAST_POINTS = 3  # to fit

Floats = NDArray[np.float64]


class PowerLaws(NamedTuple):
    """R power laws of the error over n / `labels`. a, b, c: float64[R]."""

    labels: float
    a: Floats
    b: Floats
    c: Floats

    def __call__(self, n: Floats) -> Floats:
        """float64[R, P]: the error at float64[P] numbers of labels."""
        relative = np.asarray(n, dtype=np.float64)[None] / self.labels
        return np.asarray(self.a[:, None] + self.b[:, None] * relative ** -self.c[:, None])


def fit_power_laws(n: Floats, errors: Floats) -> PowerLaws:
    """Fit R curves: n float64[P], positive, numbers of labels; errors float64[R, P].

    Least squares with a, b >= 0, in closed form for each of `EXPONENTS`. Points weigh as the root of n, because those
    of few labels vary most and are furthest from what is forecast.
    """
    weight = np.sqrt(n / n.max())
    best = np.full(len(errors), np.inf)
    a, b, c = (np.zeros(len(errors)) for _ in range(3))
    total = weight.sum()
    for exponent in EXPONENTS:
        x = (n / n.max()) ** -exponent
        mean_x, mean_y = weight @ x / total, errors @ weight / total
        slope = (errors - mean_y[:, None]) @ (weight * (x - mean_x)) / (weight @ (x - mean_x) ** 2)
        slope = np.maximum(slope, 0)  # more labels do not harm
        start = mean_y - slope * mean_x
        through_zero = errors @ (weight * x) / (weight @ x**2)
        slope, start = np.where(start < 0, through_zero, slope), np.maximum(start, 0)
        loss = ((start[:, None] + slope[:, None] * x - errors) ** 2) @ weight
        better = loss < best
        best = np.where(better, loss, best)
        a, b, c = (np.where(better, new, old) for new, old in ((start, a), (slope, b), (exponent, c)))
    return PowerLaws(float(n.max()), a, b, c)
