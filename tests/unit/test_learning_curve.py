"""Learning curves: power laws that are recovered, forecasts that cover the truth, parts that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attire
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.cli import app
from attire.config import load_recipe
from attire.errors import ConfigError
from attire.learning_curve.curve import ALL, LearningCurve, curve, key_curves
from attire.learning_curve.measure import Measured
from attire.learning_curve.page import page
from attire.learning_curve.power_law import EXPONENTS, fit_power_laws
from attire.learning_curve.tables import sheet, verdict
from attire.training.run import train

SIZES = np.array([50, 100, 200, 400, 800])


@given(st.floats(0, 0.4), st.floats(0.01, 0.5), st.sampled_from(EXPONENTS.tolist()))
def test_a_power_law_is_recovered_and_extrapolated(a: float, b: float, c: float) -> None:
    def error(n: np.ndarray) -> np.ndarray:
        return a + b * (n / 800) ** -c

    law = fit_power_laws(SIZES.astype(float), error(SIZES.astype(float))[None])
    np.testing.assert_allclose(law(np.array([1600.0, 3200]))[0], error(np.array([1600.0, 3200])), atol=1e-6)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_no_curve_forecasts_that_labels_harm(errors: list[float]) -> None:
    law = fit_power_laws(SIZES.astype(float), np.array([errors]))
    ahead = law(np.array([800.0, 1600, 3200]))[0]
    assert (np.diff(ahead) <= 1e-12).all()
    assert (ahead >= 0).all()


def drawn(rng: np.random.Generator, errors: list[np.ndarray], products: int) -> list[Measured]:
    """Answers of models whose errors on two keys are known; the same products are hard for all of them."""
    hard = rng.random((products, len(errors)))
    known = np.ones((products, len(errors)), dtype=bool)
    return [
        Measured(np.full(len(errors), n), (hard > np.array([e[i] for e in errors])).astype(float), known, hard > 0.5)
        for i, n in enumerate(SIZES)
    ]


def test_forecasts_cover_the_truth_and_say_what_limits_a_key() -> None:
    """Key `steep` follows a power law, key `flat` has an error that labels do not change."""
    rng = np.random.default_rng(0)
    steep, flat = 0.05 + 0.2 * (SIZES / 800) ** -0.5, np.full(5, 0.2)
    limits: dict[str, list[str]] = {"steep": [], "flat": []}
    covered = []
    for _ in range(12):
        curves = key_curves(["steep", "flat"], drawn(rng, [steep, flat], 800), [str(i) for i in range(800)], 0)
        assert [one.key for one in curves] == [ALL, "steep", "flat"]
        for one in curves[1:]:
            limits[one.key].append(one.limit)
        twice = curves[1].forecasts[0]
        assert twice.labels == 1600
        covered.append(twice.low <= 1 - (0.05 + 0.2 * 2**-0.5) <= twice.high)
    assert np.mean(covered) >= 0.8
    assert limits["steep"].count("labels") >= 10
    assert limits["flat"].count("not labels") >= 10


def test_a_key_with_few_labels_has_no_forecast() -> None:
    few = [
        one._replace(known=one.known & (np.arange(800) < 20)[:, None])
        for one in drawn(np.random.default_rng(0), [np.full(5, 0.2)], 800)
    ]
    (_, one) = key_curves(["rare"], few, [str(i) for i in range(800)], 0)
    assert one.checked == 20
    assert (one.limit, one.forecasts, one.law) == ("too few labels", (), None)


RECIPE = """
backbone = "test_resnet"
size_px = [32, 24]
flip = true
trunk = 8
head = "linear"
loss = "softmax"
trained_stages = 0
[decision]
rule = "typed"
[attributes]
epochs = 1
lr = 1e-3
"""


def test_a_catalog_gets_a_curve_and_finished_parts_are_kept(
    catalog: Catalog,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    trained: list[int] = []

    def counted(catalog: Catalog, chosen: Splits, **options: object) -> object:
        trained.append(len(chosen.train))
        assert set(chosen.train) <= set(splits.train)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(catalog, chosen, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("attire.learning_curve.measure.train", counted)
    with pytest.raises(KeyboardInterrupt):
        curve(catalog, splits, out=tmp_path, recipe=recipe, weights="none")
    assert not (tmp_path / "curve.json").exists()
    result = attire.curve(catalog, splits, out=tmp_path, recipe=recipe, weights="none")
    assert trained[:2] == sorted(trained[:2])
    assert trained[2:] == [trained[2]] * 2, "only the interrupted part is trained again"
    assert trained[-1] == len(splits.train)
    assert {key.key for key in result.keys} == {ALL, *catalog.taxonomy.keys}
    assert result.keys[0].points[-1].labels == sum(key.points[-1].labels for key in result.keys[1:])
    assert LearningCurve.model_validate(json.loads((tmp_path / "curve.json").read_text())) == result
    assert not list(tmp_path.glob("parts-*/*/")), "networks of parts are not kept"
    arguments = ["curve", str(catalog.path), "--out", str(tmp_path), "--recipe", str(recipe), "--weights", "none"]
    app(arguments, result_action="return_value")
    assert len(trained) == 4, "the command reads the same parts"
    assert f"{tmp_path / 'curve.html'}" in capsys.readouterr().out.replace("\n", "")
    html = (tmp_path / "curve.html").read_text()
    assert html == page(result)
    assert html.count("<figure>") == len(result.keys)
    assert verdict(result) in html
    assert len(sheet(result).rows) == len(result.keys)


def test_a_recipe_that_trains_the_backbone_is_refused(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe tuned trains the backbone.* --recipe frozen"):
        curve(catalog, splits, out=tmp_path, recipe=load_recipe("tuned", {"backbone": "test_resnet"}))
