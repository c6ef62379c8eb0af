"""Recipes: everything that decides how a model is trained, in one frozen, checked, serialisable object.

Defaults, a TOML file and command-line flags merge in that order. A run records its resolved recipe in the bundle.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attire.errors import ConfigError, did_you_mean
from attire.records import read_toml

# Upper bounds lie far above what trains well: they are there to tell a typing error before it takes all memory.
Side = Annotated[int, Field(ge=1, le=4096)]  # px
Width = Annotated[int, Field(ge=1, le=65_536)]  # of a layer
Exponent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, lt=1)]
WholeShare = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DecisionRule(_Frozen):
    """How probabilities become answers.

    `typed`: a key is answered where the categories to which it applies hold more than `gate` of the category
    probability: with the likeliest value, by softmax for arity `one`, by sigmoid for arity `many`, there with every
    other value above `threshold`. A higher gate answers fewer keys that the true category rules out, and fewer others.
    `threshold`: every value whose sigmoid exceeds `threshold`, whatever the category (the original method).
    """

    rule: Literal["typed", "threshold"] = "typed"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    gate: Share = 0.5


class Stage(_Frozen):
    """Length and peak learning rate of one training stage; without epochs it is left out."""

    epochs: int = Field(default=0, ge=0, le=100_000)
    lr: float = Field(default=1e-3, gt=0, le=100)


class Csra(_Frozen):
    """Of the head `csra`."""

    share: float = Field(default=0.1, ge=0, le=100)  # of attention beside the plain average: the paper's lambda
    temperature: float = Field(default=1.0, gt=0, le=10_000)  # the greater, the fewer positions count


class WeightedBce(_Frozen):
    """Of the loss `weighted_bce`."""

    power: WholeShare = 1.0  # a value that holds weighs frequency ** -power


class Focal(_Frozen):
    """Of the loss `focal`."""

    gamma: Exponent = 2.0  # the paper's best
    alpha: float | None = Field(default=None, gt=0, lt=1)  # weight of values that hold; the paper's best 0.25


class Asl(_Frozen):
    """Of the loss `asl`; the paper's best."""

    gamma_positive: Exponent = 0.0
    gamma_negative: Exponent = 4.0
    clip: Share = 0.05


class Selective(_Frozen):
    """Of the policy `selective`: which unlabelled values may be there; the paper's."""

    prior: WholeShare = 0.05  # those that hold more often than this
    likely: int = Field(default=5, ge=0, le=1_000_000)  # and so many likeliest ones per product of a batch


class Architecture(_Frozen):
    """What it takes to build a network, before any weights."""

    backbone: str = Field(default="resnext50_32x4d", min_length=1, max_length=200)  # timm name
    pooling: Literal["last", "multiscale"] = "last"  # the backbone's own, or mean and maximum of its last three stages
    flip: bool = False  # features are the mean over the photo and its mirror image
    trunk: int = Field(default=0, ge=0, le=65_536)  # width of one layer that all heads share; 0: none
    head: Literal["csra", "linear", "mlp"] = "mlp"
    csra: Csra = Csra()
    hidden: Width = 256  # width of each key's mlp
    shared: bool = True  # one backbone answers category and attributes; False: two
    text: Literal["none", "title"] = "none"  # what the heads read beside the photo
    text_buckets: int = Field(default=32768, ge=2, le=2**24)  # rows of the table of n-gram embeddings
    text_width: Width = 64  # of an n-gram's embedding

    @model_validator(mode="after")
    def _two_networks_share_nothing(self) -> Self:
        if self.trunk and not self.shared:
            raise ValueError("a trunk is common to all heads, so it needs shared = true")
        if self.text != "none" and not self.shared:
            raise ValueError("a title is read once for all heads, so text needs shared = true")
        return self

    @model_validator(mode="after")
    def _positions_are_not_pooled(self) -> Self:
        if self.spatial and (self.pooling != "last" or self.trunk or self.text != "none"):
            raise ValueError(
                'head = "csra" looks at positions: it needs pooling = "last", trunk = 0 and text = "none", '
                'or head = "mlp"'
            )
        return self

    @property
    def spatial(self) -> bool:
        """Whether the heads look at positions, so that the backbone gives its last map instead of pooled features."""
        return self.head == "csra"


class Recipe(Architecture):
    """One way of training. The files in `attire/training/recipes` are instances, with a comment for each choice."""

    name: str
    size_px: tuple[Side, Side] = (224, 224)  # height, width
    fit: Literal["pad", "squash", "crop"] = "pad"
    augment: Literal["none", "light"] = "none"
    batch_size: int = Field(default=64, ge=1, le=1_000_000)
    train_backbone: bool = True  # False: heads on embeddings that are computed once
    dropout: Share = 0.0
    text_dropout: Share = 0.5  # share of titles left out, so that photos alone suffice
    balance: WholeShare = 1.0  # categories weigh frequency ** -balance in their loss
    optimizer: Literal["adam", "adamw"] = "adamw"
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    schedule: Literal["plateau", "cosine"] = "cosine"
    warmup: Share = 0.0  # share of the stage's steps
    ema_decay: Share = 0.0  # 0: no averaging
    loss: Literal["asl", "bce", "focal", "softmax", "weighted_bce"] = "softmax"
    # Beside the category's loss: a mean over values is a small one.
    attribute_weight: float = Field(default=1.0, gt=0, le=1e6)
    unlabelled: Literal["ignore", "negative", "selective"] = "ignore"  # what a key without a label tells a binary loss
    label_smoothing: Share = 0.0  # of the category, and of keys of arity one under softmax
    sampling: WholeShare = 0.0  # products come by category frequency ** -sampling; 0: each once
    weighted_bce: WeightedBce = WeightedBce()
    focal: Focal = Focal()
    asl: Asl = Asl()
    selective: Selective = Selective()
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"  # auto: bf16 where the hardware multiplies it natively
    calibration: Share = 0.0  # share of train that only calibrates; 0: no calibration
    decision: DecisionRule = DecisionRule()
    category: Stage = Stage()
    attributes: Stage = Stage()
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss == "softmax" and self.unlabelled != "ignore":
            raise ValueError(
                f'loss = "softmax" says of an unlabelled key neither yes nor no, so unlabelled = "{self.unlabelled}" '
                'means nothing to it: take unlabelled = "ignore", or a binary loss (asl, bce, focal, weighted_bce)'
            )
        if self.decision.rule == "threshold" and self.calibration:
            raise ValueError(
                'decision.rule = "threshold" has a threshold of its own, which calibrated probabilities would shift: '
                'take calibration = 0, or rule = "typed"'
            )
        if self.spatial and not self.train_backbone:
            raise ValueError(
                'head = "csra" looks at positions, which cached embeddings have not: '
                'take train_backbone = true, or head = "linear" or "mlp"'
            )
        return self

    @property
    def architecture(self) -> Architecture:
        """The part of the recipe that a bundle needs to build the network again."""
        return Architecture.model_validate(self.model_dump(include=set(Architecture.model_fields)))


def recipe_names() -> list[str]:
    """The recipes that come with attire."""
    return sorted(
        f.name.removesuffix(".toml")
        for f in resources.files("attire.training").joinpath("recipes").iterdir()
        if f.name.endswith(".toml")
    )


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name or in that TOML file, with `overrides` on top (nested fields as nested mappings).

    Raises `ConfigError` naming each wrong field, where it stands and what would be right.
    """
    content = {"name": Path(recipe).stem} | _read(recipe)
    try:
        return Recipe.model_validate(_merge(content, overrides or {}))
    except ValidationError as error:
        raise ConfigError(f"recipe {recipe}:\n  " + "\n  ".join(_explain(e) for e in error.errors())) from None


def _read(recipe: str | Path) -> dict[str, Any]:
    if str(recipe) in recipe_names():
        shipped = resources.files("attire.training").joinpath("recipes", f"{recipe}.toml")
        return tomllib.loads(shipped.read_text(encoding="utf-8"))
    if Path(recipe).suffix != ".toml":
        hint = did_you_mean(str(recipe), recipe_names())
        raise ConfigError(f"'{recipe}' is neither a recipe ({', '.join(recipe_names())}) nor a .toml file{hint}")
    try:
        return read_toml(Path(recipe))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {recipe}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"cannot read the recipe {recipe}: it is not valid TOML: {error}.") from None


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in top.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if nested else value
    return merged


def _explain(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    if not where:  # two fields that do not go together
        return f"{error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "extra_forbidden":
        return f"{where} is not a field{did_you_mean(where, _paths(Recipe))}"
    return f"{where}={reprlib.repr(error['input'])}: {error['msg']}."


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """Every field, and those of fields that are models, as `category.lr`."""
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{below}" for below in _paths(field.annotation))
