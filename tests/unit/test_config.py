"""Recipes: the shipped ones are valid, `seed` is the original, faults are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from attire.config import Recipe, load_recipe, recipe_names
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
        ("size_px = [-4, 0]", r"size_px\.0=-4: .*\n.*size_px\.1=0: "),
        ("size_px = 224", "size_px=224"),
        ("betas = [1.5, 0.9]", r"betas\.0=1\.5"),
        ("weight_decay = nan", "weight_decay=nan"),
        ("attribute_weight = inf", "attribute_weight=inf"),
        ("seed = -1", "seed=-1"),
        (f"seed = {10**400}", r"seed=10000000\d*\.\.\.0*: "),
        ("hidden = 100_000_000_000", "hidden=100000000000"),
        ("[attributes]\nepochs = -1", r"attributes\.epochs=-1"),
        ("[category]\nlr = nan", r"category\.lr=nan"),
        ("[category]\nlr = 0", r"category\.lr=0"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b'backbone = "r\xe9snet"', "byte 13 is not UTF-8"), (b"a = " + b"[" * 3000 + b"]" * 3000, "nested too deeply")],
)
def test_recipes_that_cannot_be_read(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        load_recipe(path)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(ConfigError, match=r"mine\.toml: Is a directory"):
        load_recipe(tmp_path / "mine.toml")


def numbers(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number in a JSON schema, by the path of its field."""
    if "$ref" in schema:
        yield from numbers(definitions[schema["$ref"].rpartition("/")[2]], definitions, path)
    for name, field in schema.get("properties", {}).items():
        yield from numbers(field, definitions, f"{path}.{name}")
    for place, field in enumerate([*schema.get("prefixItems", []), *schema.get("anyOf", [])]):
        yield from numbers(field, definitions, f"{path}.{place}")
    if schema.get("type") in ("number", "integer"):
        yield path, schema


def test_every_number_is_bounded() -> None:
    schema = Recipe.model_json_schema()
    found = dict(numbers(schema, schema["$defs"]))
    assert {".batch_size", ".size_px.0", ".betas.1", ".category.lr", ".focal.alpha.0"} <= found.keys()
    for path, field in found.items():
        assert {"minimum", "exclusiveMinimum"} & field.keys(), path
        assert {"maximum", "exclusiveMaximum"} & field.keys(), path


def test_unknown_recipes_suggest_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'frozen'"):
        load_recipe("frosen")
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(tmp_path / "none.toml")


def test_a_fixed_threshold_is_not_calibrated() -> None:
    with pytest.raises(ConfigError, match=r'"threshold" has a threshold of its own.*take calibration = 0'):
        load_recipe("base", {"decision": {"rule": "threshold"}})
