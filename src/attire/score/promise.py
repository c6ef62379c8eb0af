"""What is promised about filled fields: how many of them are right, for which keys, and how surely."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from attire.errors import ConfigError, did_you_mean
from attire.records import checked, read_toml
from attire.taxonomy import CATEGORY, Taxonomy, key_label

PRECISION = 0.95  # the default
CONFIDENCE = 0.9  # the default
Precision = Annotated[float, Field(ge=0.5, le=0.999)]
Scope = Literal["key", "average"]


class Promise(BaseModel):
    """The wanted precision: at least this share of the filled fields is right.

    scope: "key" promises it for each key (and the category) by itself, "average" for all keys together, so that easy
    keys make up for hard ones. keys: another precision for some keys, or for "category". confidence: the probability
    that the promise about a key holds, over what the calibration products might have been.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = PRECISION
    keys: dict[str, Precision] = Field(default_factory=dict)
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = CONFIDENCE
    scope: Scope = "key"

    @classmethod
    def of(cls, promise: Promise | float) -> Promise:
        """The promise itself, or that of one precision for every key; raises `ConfigError` for an impossible one."""
        return promise if isinstance(promise, Promise) else _promise({"precision": promise}, "precision")

    @classmethod
    def parse(cls, texts: Iterable[str], confidence: float | None = None, scope: Scope | None = None) -> Promise:
        """From `--precision` options, of which later ones win: 0.95, KEY=0.9, or a .toml file with the fields above.

        Raises `ConfigError` naming the option that is not one of these.
        """
        fields: dict[str, object] = {}
        keys: dict[str, object] = {}
        for text in texts:
            name, equals, number = text.rpartition("=")
            if text.endswith(".toml"):
                content = _read(Path(text))
                keys |= dict(content.pop("keys", {}))  # type: ignore[call-overload]
                fields |= content
            elif equals:
                keys[name.strip()] = _number(text, number)
            else:
                fields["precision"] = _number(text, text)
        stated = {"confidence": confidence, "scope": scope}
        fields |= {name: value for name, value in stated.items() if value is not None}
        return _promise({**fields, "keys": keys}, "--precision")

    def of_key(self, key: str) -> float:
        """The precision that is wanted of a key, or of `CATEGORY`."""
        return self.keys.get(key_label(key), self.precision)

    def check(self, taxonomy: Taxonomy) -> Self:
        """Raise `ConfigError` for a key that the taxonomy lacks, or one that an average cannot have."""
        known = [*taxonomy.keys, key_label(CATEGORY)]
        for key in self.keys:
            if key not in known:
                raise ConfigError(f"a precision is wanted of '{key}', which is not a key{did_you_mean(key, known)}")
        if self.keys and self.scope == "average":
            raise ConfigError(
                "a precision for single keys cannot be promised on average. Use the scope 'key', or one precision."
            )
        return self

    def __str__(self) -> str:
        others = "".join(f", {key} {percent(precision)}" for key, precision in self.keys.items())
        return f"{percent(self.precision)}{others}{' on average' if self.scope == 'average' else ''}"


def percent(share: float) -> str:
    """The share in percent, with a decimal only if it is needed.

    >>> percent(0.95), percent(0.995)
    ('95%', '99.5%')
    """
    return f"{share:.1%}".replace(".0%", "%")


def _promise(fields: dict[str, object], where: str) -> Promise:
    try:
        return checked(fields, Promise)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}. Expected shares from 0.5 to 0.999, such as 0.95 or colour=0.9.") from None


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise ConfigError(
            f"--precision {text}: expected a share such as 0.95, one for a key such as colour=0.9, or a .toml file."
        ) from None


def _read(file: Path) -> dict[str, object]:
    try:
        content = read_toml(file)
    except OSError as error:
        raise ConfigError(f"--precision {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"--precision {file} is not valid TOML: {error}.") from None
    if not isinstance(content.get("keys", {}), dict):
        raise ConfigError(f"--precision {file}: keys must be a table, as in [keys] and colour = 0.9.")
    return content
