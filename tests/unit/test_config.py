"""Recipes: those that come with attire are valid, `original` is the original method, errors name the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from attire.config import Asl, Focal, Recipe, load_recipe, parse_assignments, recipe_fields, recipe_names
from attire.errors import ConfigError


def test_every_shipped_recipe_loads() -> None:
    assert recipe_names() == ["audit", "base", "frozen", "original", "tuned"]
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_original_is_the_original_method() -> None:
    original = load_recipe("original")
    assert (original.backbone, original.size_px, original.hidden, original.shared) == (
        "resnext50_32x4d",
        (224, 224),
        256,
        False,
    )
    assert (original.optimizer, original.betas, original.schedule) == ("adam", (0.5, 0.999), "plateau")
    assert (original.category.epochs, original.category.lr) == (13, 2e-3)
    assert (original.attributes.epochs, original.attributes.lr) == (8, 2e-3)
    assert (original.loss.name, original.unlabelled.name, original.decision.rule, original.decision.threshold) == (
        "bce",
        "negative",
        "threshold",
        0.8,
    )
    assert (original.label_smoothing, original.sampling, original.attribute_weight) == (0, 0, 1)
    assert (original.augment, original.ema_decay, original.weight_decay, original.dropout) == ("none", 0, 0, 0)


def test_overrides_merge_into_nested_fields() -> None:
    recipe = load_recipe("base", {"attributes": {"epochs": 3}, "batch_size": 8})
    assert recipe.attributes.epochs == 3
    assert recipe.attributes.lr == load_recipe("base").attributes.lr
    assert recipe.batch_size == 8


def test_a_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('backbone = "resnet18"\n[attributes]\nepochs = 2\n')
    recipe = load_recipe(path)
    assert (recipe.name, recipe.backbone, recipe.attributes.epochs) == ("mine", "resnet18", 2)


def test_a_recipe_with_a_base(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text('base = "frozen"\nloss = "focal"\n[attributes]\nlr = 0.01\n')
    (tmp_path / "mine.toml").write_text('base = "ours.toml"\ntrunk = 64\n[loss]\ngamma = 1\n')
    frozen, mine = load_recipe("frozen"), load_recipe(tmp_path / "mine.toml")
    assert (mine.name, mine.trunk, mine.loss) == ("mine", 64, Focal(gamma=1))
    assert (mine.attributes.lr, mine.attributes.epochs) == (0.01, frozen.attributes.epochs)
    assert mine.trained_stages == 0
    asl = load_recipe(tmp_path / "mine.toml", {"loss": {"name": "asl", "clip": 0.1}})
    assert asl.loss == Asl(clip=0.1), "parameters of the earlier loss are dropped"


@pytest.mark.parametrize(
    ("base", "fault"),
    [
        ('"mine.toml"', "it is its own base"),
        ('"frosen"', "did you mean 'frozen'"),
        ('"none.toml"', "No such file"),
        ("3", "base=3: expected the name of a recipe"),
    ],
)
def test_an_invalid_base(tmp_path: Path, base: str, fault: str) -> None:
    (tmp_path / "mine.toml").write_text(f"base = {base}\n")
    with pytest.raises(ConfigError, match=fault):
        load_recipe(tmp_path / "mine.toml")


def test_any_field_can_be_set_as_text() -> None:
    texts = ["attributes.lr=3e-4", "attributes.epochs = 2", "backbone=resnet18", "loss=focal", "loss.gamma=1"]
    texts += ["size_px=[64, 48]", "flip=false"]
    recipe = load_recipe("frozen", parse_assignments(texts))
    assert (recipe.attributes.lr, recipe.attributes.epochs, recipe.backbone) == (3e-4, 2, "resnet18")
    assert (recipe.loss, recipe.size_px, recipe.flip) == (Focal(gamma=1), (64, 48), False)
    for text in ("backbone", "=3"):
        with pytest.raises(ConfigError, match=rf"--set {text}: expected FIELD=VALUE"):
            parse_assignments([text])


def test_every_field_says_what_it_does() -> None:
    fields = list(recipe_fields())
    assert all(field.description for field in fields)
    assert {"attributes.lr", "loss", "loss.gamma_negative", "decision.gate"} <= {field.path for field in fields}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"precision": "bf16"}, r'precision is now amp \("auto", "bf16" or "off"\)'),
        ({"focal": {"gamma": 1}}, r'focal is now \[loss\] with name = "focal"'),
        ({"loss": "fcal"}, r"loss='fcal' is not one of .*; did you mean 'focal'\?"),
        ({"batch_size": 0}, r"batch_size: products per training step; default 256"),
        ({"loss": {"name": "focal", "gamma": -1}}, r"loss\.gamma: for focal: exponent .*; default 2\.0"),
    ],
)
def test_errors_say_what_was_expected(fields: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load_recipe("frozen", fields)


def test_the_old_name_of_a_recipe_is_answered_with_the_new_one() -> None:
    with pytest.raises(ConfigError, match="the recipe 'seed' is now called 'original'"):
        load_recipe("seed")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('bakbone = "resnet18"', r"bakbone is not a field; did you mean 'backbone'\?"),
        ("[attributes]\nepoch = 2", r"attributes\.epoch is not a field; did you mean 'attributes\.epochs'\?"),
        (
            '[loss]\nname = "asl"\ngama_negative = 2',
            r"loss\.gama_negative is not a field; did you mean 'loss\.gamma_negative'",
        ),
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
def test_invalid_fields_are_named(tmp_path: Path, text: str, fault: str) -> None:
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


def test_a_folder_is_not_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(ConfigError, match=r"mine\.toml: Is a directory"):
        load_recipe(tmp_path / "mine.toml")


def numbers(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number in a JSON schema, by the path of its field."""
    if "$ref" in schema:
        yield from numbers(definitions[schema["$ref"].rpartition("/")[2]], definitions, path)
    for name, field in schema.get("properties", {}).items():
        yield from numbers(field, definitions, f"{path}.{name}")
    choices = [*schema.get("prefixItems", []), *schema.get("anyOf", []), *schema.get("oneOf", [])]
    for index, field in enumerate(choices):
        yield from numbers(field, definitions, f"{path}.{index}")
    if schema.get("type") in ("number", "integer"):
        yield path, schema


def test_every_number_is_bounded() -> None:
    schema = Recipe.model_json_schema()
    fields = dict(numbers(schema, schema["$defs"]))
    assert {".batch_size", ".size_px.0.0", ".betas.1", ".category.lr", ".loss.3.alpha.0"} <= fields.keys()
    for path, field in fields.items():
        assert {"minimum", "exclusiveMinimum"} & field.keys(), path
        assert {"maximum", "exclusiveMaximum"} & field.keys(), path


def test_unknown_recipes_suggest_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'frozen'"):
        load_recipe("frosen")
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(tmp_path / "none.toml")


def test_a_fixed_threshold_is_not_calibrated() -> None:
    with pytest.raises(ConfigError, match=r'"threshold" uses a fixed threshold.*use calibration = 0'):
        load_recipe("base", {"decision": {"rule": "threshold"}})
