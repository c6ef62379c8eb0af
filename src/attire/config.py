"""Recipes: everything that decides how a model is trained, in one frozen, checked, serialisable object.

Defaults, a TOML file and command-line flags merge in that order. A run records its resolved recipe in the bundle.
"""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from attire.errors import ConfigError, did_you_mean
from attire.records import read_toml

# Upper bounds lie far above what trains well: they catch a typing error before it takes all memory.
Side = Annotated[int, Field(ge=1, le=4096)]  # px
Width = Annotated[int, Field(ge=1, le=65_536)]  # of a layer
Exponent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, lt=1)]
FullShare = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DecisionRule(_Frozen):
    """How probabilities become answers.

    `typed`: a key is answered where the categories to which it applies hold more than `gate` of the category
    probability: with the likeliest value, by softmax for arity `one`, by sigmoid for arity `many`, there with every
    other value above `threshold`. A higher gate answers fewer keys that the true category rules out, and fewer others.
    `threshold`: every value whose sigmoid exceeds `threshold`, whatever the category (the original method).
    """

    rule: Literal["typed", "threshold"] = Field(
        "typed", description="typed: one answer per key that applies; threshold: every value above the threshold"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="sigmoid above which a value of arity many is answered")
    gate: Share = Field(0.5, description="category probability that a key needs to be answered (rule typed)")


class Stage(_Frozen):
    """Length and peak learning rate of one training stage; a stage without epochs is left out."""

    epochs: int = Field(0, ge=0, le=100_000, description="epochs of the stage; 0 leaves it out")
    lr: float = Field(1e-3, gt=0, le=100, description="peak learning rate of the stage")


class Csra(_Frozen):
    """Parameters of the head `csra`."""

    share: float = Field(0.1, ge=0, le=100, description="attention beside the plain average (the paper's lambda)")
    temperature: float = Field(1.0, gt=0, le=10_000, description="the higher, the fewer positions count")


class Softmax(_Frozen):
    """Softmax within each key of arity one, sigmoid within each key of arity many."""

    name: Literal["softmax"] = "softmax"


class Bce(_Frozen):
    """Binary cross entropy of every value."""

    name: Literal["bce"] = "bce"


class WeightedBce(_Frozen):
    """Binary cross entropy that weighs rare values more."""

    name: Literal["weighted_bce"] = "weighted_bce"
    power: FullShare = Field(1.0, description="a positive label weighs its frequency ** -power")


class Focal(_Frozen):
    """Focal loss; the paper's best parameters."""

    name: Literal["focal"] = "focal"
    gamma: Exponent = Field(2.0, description="exponent of 1 - p(truth)")
    alpha: float | None = Field(None, gt=0, lt=1, description="weight of positive labels; the paper's best is 0.25")


class Asl(_Frozen):
    """Asymmetric loss; the paper's best parameters."""

    name: Literal["asl"] = "asl"
    gamma_positive: Exponent = Field(0.0, description="exponent for positive labels")
    gamma_negative: Exponent = Field(4.0, description="exponent for negative labels")
    clip: Share = Field(0.05, description="negatives below this probability carry no loss")


class Ignore(_Frozen):
    """A key without a label carries no loss."""

    name: Literal["ignore"] = "ignore"


class Negative(_Frozen):
    """A key without a label counts as having none of its values (the original)."""

    name: Literal["negative"] = "negative"


class Selective(_Frozen):
    """As `negative`, but values that may well be there carry no loss; the paper's parameters."""

    name: Literal["selective"] = "selective"
    prior: FullShare = Field(0.05, description="values more frequent than this carry no loss where unlabelled")
    likely: int = Field(5, ge=0, le=1_000_000, description="likeliest unlabelled values per product without loss")


Loss = Softmax | Bce | WeightedBce | Focal | Asl
UnlabelledPolicy = Ignore | Negative | Selective


class Architecture(_Frozen):
    """What it takes to build a network, before any weights."""

    backbone: str = Field("resnext50_32x4d", min_length=1, max_length=200, description="any timm model, by name")
    pooling: Literal["last", "multiscale"] = Field(
        "last", description="last: the backbone's own; multiscale: mean and maximum of its last three stages"
    )
    flip: bool = Field(False, description="test-time flip: features are the mean over the photo and its mirror image")
    trunk: int = Field(0, ge=0, le=65_536, description="width of one layer that all heads share; 0: none")
    head: Literal["csra", "linear", "mlp"] = Field("mlp", description="what answers each key from the features")
    csra: Csra = Csra()
    hidden: Width = Field(256, description="hidden width of each key's mlp head")
    shared: bool = Field(True, description="one backbone for category and attributes; false: two")
    text: Literal["none", "title"] = Field("none", description="title: read the feed's titles beside the photo")
    text_buckets: int = Field(32768, ge=2, le=2**24, description="rows of the table of n-gram embeddings")
    text_width: Width = Field(64, description="width of an n-gram's embedding")

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

    name: str = Field(description="what the recipe is called in reports")
    size_px: tuple[Side, Side] = Field((224, 224), description="height and width of the network's input")
    fit: Literal["pad", "squash", "crop"] = Field("pad", description="how a photo is brought to size_px")
    augment: Literal["none", "light"] = Field("none", description="light: crops, flips and brightness, never hue")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="products per training step")
    train_backbone: bool = Field(True, description="false: train heads on embeddings that are computed once")
    dropout: Share = Field(0.0, description="share of features dropped in training")
    text_dropout: Share = Field(0.5, description="share of titles dropped in training, so that photos alone suffice")
    balance: FullShare = Field(1.0, description="class weights of the category loss are frequency ** -balance")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimizer")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="betas of the optimizer")
    weight_decay: float = Field(0.0, ge=0, le=100, description="weight decay; norms and biases have none")
    schedule: Literal["plateau", "cosine"] = Field(
        "cosine", description="plateau: halve the learning rate when the validation loss stalls; cosine: decay to 0"
    )
    warmup: Share = Field(0.0, description="share of a stage's steps with a rising learning rate (cosine)")
    ema_decay: Share = Field(0.0, description="decay of the exponential moving average of weights; 0: none")
    loss: Loss = Field(Softmax(), discriminator="name", description="loss of the attributes")
    attribute_weight: float = Field(1.0, gt=0, le=1e6, description="weight of the attribute loss beside the category's")
    unlabelled: UnlabelledPolicy = Field(
        Ignore(), discriminator="name", description="what a key without a label means to a binary loss"
    )
    label_smoothing: Share = Field(0.0, description="label smoothing of the category, and of keys under softmax")
    sampling: FullShare = Field(0.0, description="products are drawn by category frequency ** -sampling; 0: each once")
    amp: Literal["auto", "bf16", "off"] = Field(
        "auto", description="mixed precision; auto: bf16 where the hardware multiplies it natively"
    )
    calibration: Share = Field(0.0, description="share of train kept out to calibrate on; 0: no calibration")
    decision: DecisionRule = DecisionRule()
    category: Stage = Stage()
    attributes: Stage = Stage()
    seed: int = Field(0, ge=0, lt=2**32, description="fixes every random choice of a run")

    @field_validator("loss", "unlabelled", mode="before")
    @classmethod
    def _by_name(cls, choice: object) -> object:
        return {"name": choice} if isinstance(choice, str) else choice

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss.name == "softmax" and self.unlabelled.name != "ignore":
            raise ValueError(
                f'unlabelled = "{self.unlabelled.name}" needs a binary loss (asl, bce, focal, weighted_bce): '
                'loss = "softmax" has no loss for a key without a label. Use unlabelled = "ignore", or a binary loss'
            )
        if self.decision.rule == "threshold" and self.calibration:
            raise ValueError(
                'decision.rule = "threshold" has a fixed threshold, which calibrated probabilities would shift: '
                'use calibration = 0, or rule = "typed"'
            )
        if self.spatial and not self.train_backbone:
            raise ValueError(
                'head = "csra" looks at positions, which cached embeddings do not have: '
                'use train_backbone = true, or head = "linear" or "mlp"'
            )
        return self

    @property
    def architecture(self) -> Architecture:
        """The part of the recipe that a bundle needs to build the network again."""
        return Architecture.model_validate(self.model_dump(include=set(Architecture.model_fields)))


class RecipeField(NamedTuple):
    """One field of a recipe: its dotted path, what it does, and its default."""

    path: str
    description: str
    default: object


RENAMED_RECIPES = {"seed": "original"}
RENAMED_FIELDS = {
    "precision": 'amp ("auto", "bf16" or "off")',
    **{loss: f'[loss] with name = "{loss}"' for loss in ("asl", "focal", "weighted_bce")},
    "selective": '[unlabelled] with name = "selective"',
}


def recipe_names() -> list[str]:
    """The recipes that come with attire."""
    return sorted(
        f.name.removesuffix(".toml")
        for f in resources.files("attire.training").joinpath("recipes").iterdir()
        if f.name.endswith(".toml")
    )


def recipe_fields(model: type[BaseModel] = Recipe) -> Iterator[RecipeField]:
    """Every field of a recipe. Parameters of a loss or policy say for which one they are."""
    for name, field in model.model_fields.items():
        if name == "name":
            continue
        nested = _nested(field.annotation)
        if not nested:
            yield RecipeField(name, field.description or "", field.default)
            continue
        if len(nested) > 1:  # one of several, chosen by name
            yield RecipeField(name, f"{field.description}: {', '.join(map(_tag, nested))}", field.default.name)
        for choice in nested:
            for below in recipe_fields(choice):
                prefix = f"of {_tag(choice)}: " if len(nested) > 1 else ""
                yield below._replace(path=f"{name}.{below.path}", description=prefix + below.description)


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name or in that TOML file, with `overrides` on top (nested fields as nested mappings).

    A file may name another recipe or file to start from, as `base = "frozen"`, and then gives only what differs.

    Raises `ConfigError` naming each wrong field, where it is and what would be right.
    """
    content = _read(recipe, ())
    try:
        return Recipe.model_validate(merge(content, overrides or {}))
    except ValidationError as error:
        faults = [_explain(fault, content if overrides else {}) for fault in error.errors()]
        raise ConfigError("\n  ".join([f"recipe {recipe}:", *faults])) from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Fields set as text, `attributes.lr=3e-4`, as overrides for `load_recipe`; values are TOML, or else words.

    Raises `ConfigError` for text that is not FIELD=VALUE.
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(f"--set {assignment}: expected FIELD=VALUE, for instance attributes.lr=3e-4.")
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            value = text.strip()
        for name in reversed(path.strip().split(".")):
            value = {name: value}
        fields = merge(fields, value)
    return fields


def _read(recipe: str | Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a recipe with that of its `base` below it; `above` are the files that led here."""
    if str(recipe) in recipe_names():
        shipped = resources.files("attire.training").joinpath("recipes", f"{recipe}.toml")
        return {"name": str(recipe)} | tomllib.loads(shipped.read_text(encoding="utf-8"))
    path = Path(recipe)
    if path.suffix != ".toml":
        if new := RENAMED_RECIPES.get(str(recipe)):
            raise ConfigError(f"the recipe '{recipe}' is now called '{new}'.")
        hint = did_you_mean(str(recipe), recipe_names())
        raise ConfigError(f"'{recipe}' is not a recipe ({', '.join(recipe_names())}) or a .toml file{hint}")
    try:
        content = read_toml(path)
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {recipe}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"cannot read the recipe {recipe}: it is not valid TOML: {error}.") from None
    base = content.pop("base", None)
    if base is not None:
        if not isinstance(base, str):
            raise ConfigError(f"recipe {recipe}: base={base!r}: expected the name of a recipe or of a .toml file.")
        if path.resolve() in above:
            raise ConfigError(f"recipe {recipe}: its base leads back to itself.")
        below = base if base in recipe_names() or not base.endswith(".toml") else path.parent / base
        content = merge(_read(below, (*above, path.resolve())), content | {"name": content.get("name", path.stem)})
    return {"name": path.stem} | content


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, tables by their entries; a table that is another choice by name replaces the whole table."""
    merged = dict(base)
    for name, value in top.items():
        below = merged.get(name)
        if isinstance(below, str) and isinstance(value, Mapping):
            below = {"name": below}  # loss = "focal" below, and here its parameters
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            same_choice = "name" not in value or value["name"] == below.get("name")
            value = merge(below, value) if same_choice else value
        merged[name] = value
    return merged


def _explain(error: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """A sentence about one fault that pydantic found, and what the field is in `recipe` or by default."""
    loc = [str(step) for step in error["loc"]]
    if len(loc) > 1 and loc[0] in ("loss", "unlabelled"):
        del loc[1]  # pydantic names the choice here
    where = ".".join(loc)
    if not where:  # two fields that do not go together
        return f"{error['msg'].removeprefix('Value error, ')}."
    fields = {field.path: field for field in recipe_fields()}
    if error["type"] == "extra_forbidden":
        if where in RENAMED_FIELDS:
            return f"{where} is now {RENAMED_FIELDS[where]}."
        return f"{where} is not a field{did_you_mean(where, fields)}"
    if error["type"] == "union_tag_invalid":
        word, known = error["ctx"]["tag"], re.findall(r"'(\w+)'", error["ctx"]["expected_tags"])
        return f"{where}={word!r} is not one of {', '.join(known)}{did_you_mean(word, known)}"
    field = fields.get(where) or fields.get(".".join(loc[:-1]))
    if field is None:
        return f"{where}={reprlib.repr(error['input'])}: {error['msg']}."
    default: Any = recipe
    for step in field.path.split("."):
        default = default.get(step) if isinstance(default, Mapping) else None
    about = f"{field.path}, {field.description}, is {field.default if default is None else default} by default"
    return f"{where}={reprlib.repr(error['input'])}: {error['msg']} ({about})."


def _nested(annotation: object) -> list[type[BaseModel]]:
    """The models of a field that is a table of fields, or one of several such tables."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]


def _tag(model: type[BaseModel]) -> str:
    return str(model.model_fields["name"].default)
