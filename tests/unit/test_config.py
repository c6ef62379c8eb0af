"""Recipes: the shipped ones are valid, `seed` is the original, faults are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from attire.config import load_recipe, recipe_names
from attire.errors import ConfigError


def test_every_shipped_recipe_loads() -> None:
    assert recipe_names() == ["base", "frozen", "seed"]
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_seed_is_the_original_method() -> None:
    seed = load_recipe("seed")
    assert (seed.backbone, seed.size_px, seed.hidden, seed.shared) == ("resnext50_32x4d", (224, 224), 256, False)
    assert (seed.optimizer, seed.betas, seed.schedule) == ("adam", (0.5, 0.999), "plateau")
    assert (seed.category.epochs, seed.category.lr) == (13, 2e-3)
    assert (seed.attributes.epochs, seed.attributes.lr) == (8, 2e-3)
    assert (seed.loss, seed.unlabelled, seed.decision.rule, seed.decision.threshold) == (
        "bce",
        "negative",
        "threshold",
        0.8,
    )
    assert (seed.label_smoothing, seed.sampling, seed.attribute_weight) == (0, 0, 1)
    assert (seed.augment, seed.ema_decay, seed.weight_decay, seed.dropout) == ("none", 0, 0, 0)


def test_overrides_merge_into_nested_fields() -> None:
    recipe = load_recipe("base", {"attributes": {"epochs": 3}, "batch_size": 8})
    assert recipe.attributes.epochs == 3
    assert recipe.attributes.lr == load_recipe("base").attributes.lr
    assert recipe.batch_size == 8


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('backbone = "resnet18"\n[attributes]\nepochs = 2\n')
    recipe = load_recipe(path)
    assert (recipe.name, recipe.backbone, recipe.attributes.epochs) == ("mine", "resnet18", 2)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('bakbone = "resnet18"', r"bakbone is not a field; did you mean 'backbone'\?"),
        ("[attributes]\nepoch = 2", r"attributes\.epoch is not a field; did you mean 'attributes\.epochs'\?"),
        ("[asl]\ngama_negative = 2", r"asl\.gama_negative is not a field; did you mean 'asl\.gamma_negative'\?"),
        ("batch_size = 0", "batch_size=0"),
        ("batch_size = ", "not valid TOML"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_recipe(path)


def test_unknown_recipes_suggest_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'frozen'"):
        load_recipe("frosen")
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(tmp_path / "none.toml")


def test_a_fixed_threshold_is_not_calibrated() -> None:
    with pytest.raises(ConfigError, match=r'"threshold" has a threshold of its own.*take calibration = 0'):
        load_recipe("base", {"decision": {"rule": "threshold"}})
