"""Recipes: all settings of a training run, in one frozen, validated object.

Defaults, a TOML file and command-line options are merged in that order. The merged recipe is recorded in the bundle.
"""

from __future__ import annotations

import operator
import re
import reprlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from attire.errors import ConfigError, did_you_mean
from attire.records import read_toml

# Upper bounds are far above useful values: they catch typing errors that would use up all memory.
Side = Annotated[int, Field(ge=1, le=4096)]  # px
Width = Annotated[int, Field(ge=1, le=65_536)]  # of a layer
Exponent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[  # told apart by type, so that a fault names the wrong side and not both alternatives
    Annotated[tuple[Side, Side], Tag("sides")] | Annotated[Literal["auto"], Tag("word")],
    Discriminator(lambda size: "word" if isinstance(size, str) else "sides"),
]
FullShare = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DecisionRule(_Frozen):
    """How probabilities become answers.

    `typed`: a key is answered if the categories that it applies to have more than `gate` of the category probability.
    The answer is the likeliest value: by softmax for arity `one`; by sigmoid for arity `many`, plus every other value
    above `threshold`. A higher gate answers fewer keys that do not apply, but also fewer that do.
    `threshold`: every value whose sigmoid exceeds `threshold`, for any category (the original method).
    """

    rule: Literal["typed", "threshold"] = Field(
        "typed", description="typed: one answer per key that applies; threshold: every value above the threshold"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="sigmoid above which a value of arity many is answered")
    gate: Share = Field(0.5, description="category probability that a key needs to be answered (rule typed)")


class Stage(_Frozen):
    """Length and peak learning rate of one training stage; a stage with 0 epochs is skipped."""

    epochs: int = Field(0, ge=0, le=100_000, description="epochs of the stage; 0 skips it")
    lr: float = Field(1e-3, gt=0, le=100, description="peak learning rate of the stage")


class Csra(_Frozen):
    """Parameters of the head `csra`."""

    share: float = Field(
        0.1, ge=0, le=100, description="weight of attention added to the plain average (the paper's lambda)"
    )
    temperature: float = Field(1.0, gt=0, le=10_000, description="higher values attend to fewer positions")


class Softmax(_Frozen):
    """Softmax within each key of arity one, sigmoid within each key of arity many."""

    name: Literal["softmax"] = "softmax"


class Bce(_Frozen):
    """Binary cross entropy of every value."""

    name: Literal["bce"] = "bce"


class WeightedBce(_Frozen):
    """Binary cross entropy that weighs rare values more."""

    name: Literal["weighted_bce"] = "weighted_bce"
    power: FullShare = Field(1.0, description="a positive label has the weight frequency ** -power")


class Focal(_Frozen):
    """Focal loss. Defaults are the paper's best parameters."""

    name: Literal["focal"] = "focal"
    gamma: Exponent = Field(2.0, description="exponent of 1 - p(truth)")
    alpha: float | None = Field(None, gt=0, lt=1, description="weight of positive labels; the paper's best is 0.25")


class Asl(_Frozen):
    """Asymmetric loss. Defaults are the paper's best parameters."""

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
    """Like `negative`, but likely values carry no loss. Defaults are the paper's parameters."""

    name: Literal["selective"] = "selective"
    prior: FullShare = Field(0.05, description="unlabelled values more frequent than this carry no loss")
    likely: int = Field(
        5, ge=0, le=1_000_000, description="number of likeliest unlabelled values per product that carry no loss"
    )


Loss = Softmax | Bce | WeightedBce | Focal | Asl
UnlabelledPolicy = Ignore | Negative | Selective


class Architecture(_Frozen):
    """The fields that are needed to build a network."""

    backbone: str = Field(
        "resnext50_32x4d",
        min_length=1,
        max_length=200,
        description="a name that attire backbones lists, or any timm model",
    )
    pooling: Literal["auto", "last", "multiscale", "both"] = Field(
        "last",
        description="last: the backbone's own pooling; multiscale: mean and maximum of its last three stages; "
        "both: these and its own pooling; auto: both for transformers, else multiscale",
    )
    flip: bool = Field(False, description="test-time flip: features are the mean over the photo and its mirror image")
    trunk: int = Field(0, ge=0, le=65_536, description="width of a layer shared by all heads; 0: none")
    # Not written if 0, as in older bundles.
    colour: int = Field(
        0,
        ge=0,
        le=65_536,
        description="width of the colour branch, which only attributes see; 0: none",
        exclude_if=operator.not_,
    )
    head: Literal["csra", "linear", "mlp"] = Field("mlp", description="architecture of the attribute heads")
    csra: Csra = Csra()
    hidden: Width = Field(256, description="hidden width of each key's mlp head")
    shared: bool = Field(True, description="one backbone for category and attributes; false: two backbones")
    text: Literal["none", "title"] = Field("none", description="title: read titles as well as photos")
    text_buckets: int = Field(32768, ge=2, le=2**24, description="size of the table of n-gram embeddings")
    text_width: Width = Field(64, description="width of n-gram embeddings")

    @model_validator(mode="after")
    def _check_shared(self) -> Self:
        if self.trunk and not self.shared:
            raise ValueError("a trunk is shared by all heads, so it needs shared = true")
        if self.text != "none" and not self.shared:
            raise ValueError("a title is encoded once for all heads, so text needs shared = true")
        return self

    @model_validator(mode="after")
    def _check_spatial(self) -> Self:
        if self.spatial and (self.pooling != "last" or self.trunk or self.colour or self.text != "none"):
            raise ValueError(
                'head = "csra" uses positions: it needs pooling = "last", trunk = 0, colour = 0 and text = "none", '
                'or head = "mlp"'
            )
        return self

    @property
    def spatial(self) -> bool:
        """Whether the heads use the backbone's last feature map instead of pooled features."""
        return self.head == "csra"


class Recipe(Architecture):
    """All settings of a training run; the recipes in `attire/training/recipes` comment on each choice."""

    name: str = Field(description="name of the recipe in reports")
    size_px: Size = Field(
        "auto",
        description="height and width of the network's input; auto: those of the bundle that the run starts from, or "
        "that the backbone was trained with",
    )
    fit: Literal["pad", "squash", "crop"] = Field("pad", description="how photos are resized to size_px")
    augment: Literal["none", "light"] = Field("none", description="light: crops, flips and brightness, never hue")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="products per training step")
    trained_stages: Annotated[int, Field(ge=0, le=3)] | Literal["all"] = Field(
        "all",
        description="how many of the backbone's last stages are trained, on cached outputs of the others; "
        "0: only the heads",
    )
    views: int = Field(
        0, ge=0, le=100, description="augmented views of each photo that are cached, if 1 to 3 stages are trained"
    )
    mixup: float = Field(
        0.0, ge=0, le=100, description="alpha of mixup: pairs of inputs and their losses are mixed; 0: none"
    )
    dropout: Share = Field(0.0, description="share of features dropped in training")
    text_dropout: Share = Field(
        0.5, description="share of titles dropped in training, so that photos without a title work too"
    )
    balance: FullShare = Field(1.0, description="class weights of the category loss are frequency ** -balance")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimizer")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="betas of the optimizer")
    weight_decay: float = Field(0.0, ge=0, le=100, description="weight decay, except for norms and biases")
    schedule: Literal["plateau", "cosine"] = Field(
        "cosine", description="plateau: halve the learning rate when the validation loss stalls; cosine: decay to 0"
    )
    warmup: Share = Field(0.0, description="share of a stage's steps with a rising learning rate (cosine)")
    ema_decay: Share = Field(0.0, description="decay of the exponential moving average of weights; 0: none")
    loss: Loss = Field(Softmax(), discriminator="name", description="loss of the attributes")
    attribute_weight: float = Field(
        1.0, gt=0, le=1e6, description="weight of the attribute loss relative to the category loss"
    )
    unlabelled: UnlabelledPolicy = Field(
        Ignore(), discriminator="name", description="how a binary loss treats keys without a label"
    )
    label_smoothing: Share = Field(
        0.0, description="label smoothing of the category, and of keys with the loss softmax"
    )
    sampling: FullShare = Field(
        0.0, description="draw products with weight category frequency ** -sampling; 0: each once per epoch"
    )
    amp: Literal["auto", "bf16", "off"] = Field(
        "auto", description="mixed precision; auto: bf16 if the hardware supports it natively"
    )
    calibration: Share = Field(0.0, description="share of train that is set aside for calibration, not trained on")
    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="parts of train for calibration: for each part a network is trained on the others; 0: none",
    )
    decision: DecisionRule = DecisionRule()
    category: Stage = Stage()
    attributes: Stage = Stage()
    seed: int = Field(0, ge=0, lt=2**32, description="seed of all random numbers in a run")

    @field_validator("loss", "unlabelled", mode="before")
    @classmethod
    def _by_name(cls, choice: object) -> object:
        return {"name": choice} if isinstance(choice, str) else choice

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss.name == "softmax" and self.unlabelled.name != "ignore":
            raise ValueError(
                f'unlabelled = "{self.unlabelled.name}" needs a binary loss (asl, bce, focal, weighted_bce): '
                'loss = "softmax" ignores keys without a label. Use unlabelled = "ignore", or a binary loss'
            )
        if self.decision.rule == "threshold" and (self.calibration or self.folds):
            raise ValueError(
                'decision.rule = "threshold" uses a fixed threshold on uncalibrated probabilities: '
                'use calibration = 0 and folds = 0, or rule = "typed"'
            )
        if self.folds == 1 or (self.folds and self.calibration):
            raise ValueError(
                "calibration uses either folds (2 or more) or a part of train that is set aside: "
                f"use folds = {max(2, self.folds)} and calibration = 0, or folds = 0"
            )
        if self.views and self.augment == "none":
            raise ValueError('views are augmented photos, so they need augment = "light". Use it, or views = 0')
        if self.mixup and self.text != "none":
            raise ValueError('mixup mixes photos but not titles: use mixup = 0 (--set mixup=0) or text = "none"')
        if self.spatial and self.trained_stages != "all":
            raise ValueError(
                'head = "csra" uses positions, which cached embeddings do not have: '
                'use trained_stages = "all", or head = "linear" or "mlp"'
            )
        return self

    @property
    def input_px(self) -> tuple[int, int]:
        """`size_px`, which `attire.training.backbone_defaults` has filled in if it was "auto"."""
        assert self.size_px != "auto"
        return self.size_px

    @property
    def architecture(self) -> Architecture:
        """The fields that a bundle needs to rebuild the network."""
        return Architecture.model_validate(self.model_dump(include=set(Architecture.model_fields)))


class RecipeField(NamedTuple):
    """One field of a recipe: its dotted path, what it does, and its default."""

    path: str
    description: str
    default: object


RENAMED_RECIPES = {"seed": "original"}
RENAMED_FIELDS = {
    "train_backbone": 'trained_stages ("all", or 0 for false)',
    "precision": 'amp ("auto", "bf16" or "off")',
    **{loss: f'[loss] with name = "{loss}"' for loss in ("asl", "focal", "weighted_bce")},
    "selective": '[unlabelled] with name = "selective"',
}


def recipe_names() -> list[str]:
    """Names of the recipes that come with attire."""
    return sorted(
        f.name.removesuffix(".toml")
        for f in resources.files("attire.training").joinpath("recipes").iterdir()
        if f.name.endswith(".toml")
    )


def recipe_fields(model: type[BaseModel] = Recipe) -> Iterator[RecipeField]:
    """Every field of a recipe. The description of a parameter of a loss or policy names that loss or policy."""
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
            for inner in recipe_fields(choice):
                prefix = f"for {_tag(choice)}: " if len(nested) > 1 else ""
                yield inner._replace(path=f"{name}.{inner.path}", description=prefix + inner.description)


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe by name or from a TOML file, and apply `overrides` (nested fields as nested mappings).

    A file may start from another recipe, as in `base = "frozen"`, and set only the fields that differ.

    Raises `ConfigError` naming each invalid field and what was expected.
    """
    content = _read(recipe, ())
    try:
        return Recipe.model_validate(merge(content, overrides or {}))
    except ValidationError as error:
        faults = [_explain(fault, content if overrides else {}) for fault in error.errors()]
        raise ConfigError("\n  ".join([f"recipe {recipe}:", *faults])) from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse texts such as `attributes.lr=3e-4` into overrides for `load_recipe`; values are TOML, or else strings.

    Raises `ConfigError` for text that is not FIELD=VALUE.
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(f"--set {assignment}: expected FIELD=VALUE, for example attributes.lr=3e-4.")
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            value = text.strip()
        for name in reversed(path.strip().split(".")):
            value = {name: value}
        fields = merge(fields, value)
    return fields


def _read(recipe: str | Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a recipe, merged over that of its `base`; `children` are the files that have it as a base."""
    if str(recipe) in recipe_names():
        file = resources.files("attire.training").joinpath("recipes", f"{recipe}.toml")
        return {"name": str(recipe)} | tomllib.loads(file.read_text(encoding="utf-8"))
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
        if path.resolve() in children:
            raise ConfigError(f"recipe {recipe}: it is its own base, directly or through other files.")
        parent = base if base in recipe_names() or not base.endswith(".toml") else path.parent / base
        content = merge(_read(parent, (*children, path.resolve())), content | {"name": content.get("name", path.stem)})
    return {"name": path.stem} | content


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `top` over `base`, recursively; a table with another `name` (another loss, say) replaces the whole one."""
    merged = dict(base)
    for name, value in top.items():
        earlier = merged.get(name)
        if isinstance(earlier, str) and isinstance(value, Mapping):
            earlier = {"name": earlier}  # loss = "focal" in base, its parameters in top
        if isinstance(earlier, Mapping) and isinstance(value, Mapping):
            same_choice = "name" not in value or value["name"] == earlier.get("name")
            value = merge(earlier, value) if same_choice else value
        merged[name] = value
    return merged


def _explain(error: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """A message about a validation error, with the field's meaning and its value in `recipe` or by default."""
    loc = [str(step) for step in error["loc"]]
    if len(loc) > 1 and loc[0] in ("loss", "size_px", "unlabelled"):
        del loc[1]  # the name of the loss or policy, or the type of the size
    path = ".".join(loc)
    if not path:  # two fields contradict each other
        return f"{error['msg'].removeprefix('Value error, ')}."
    fields = {field.path: field for field in recipe_fields()}
    if error["type"] == "extra_forbidden":
        if path in RENAMED_FIELDS:
            return f"{path} is now {RENAMED_FIELDS[path]}."
        return f"{path} is not a field{did_you_mean(path, fields)}"
    if error["type"] == "union_tag_invalid":
        word, known = error["ctx"]["tag"], re.findall(r"'(\w+)'", error["ctx"]["expected_tags"])
        return f"{path}={word!r} is not one of {', '.join(known)}{did_you_mean(word, known)}"
    field = fields.get(path) or fields.get(".".join(loc[:-1]))
    if field is None:
        return f"{path}={reprlib.repr(error['input'])}: {error['msg']}."
    default: Any = recipe
    for step in field.path.split("."):
        default = default.get(step) if isinstance(default, Mapping) else None
    default = field.default if default is None else default
    return (
        f"{path}={reprlib.repr(error['input'])}: {error['msg']} ({field.path}: {field.description}; default {default})."
    )


def _nested(annotation: object) -> list[type[BaseModel]]:
    """The models that a nested field can have."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]


def _tag(model: type[BaseModel]) -> str:
    return str(model.model_fields["name"].default)
