"""`mapping.toml`: which category, column and value of a shop each own word is. It is drafted, and people edit it::

to = "shopify"

[categories]
"Tshirts" = { id = "aa-1-13-8", name = "Apparel & Accessories > Clothing > Clothing Tops > T-Shirts" }
"Gifts" = ""                       # left out on purpose

[keys.colour."Color (product.metafields.shopify.color-pattern)"]
"Navy Blue" = { id = "color__navy", name = "Navy" }
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from attire.errors import ConfigError, shown
from attire.records import checked, read_toml
from attire.references.matching import canonical
from attire.references.reference import Shop
from attire.spellings import fold


class Target(BaseModel):
    """What an own word is in the shop. Both texts are empty if it is left out on purpose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    name: str = ""


def _target(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def forms(word: str) -> tuple[str, str]:
    """What a word is looked up by: its exact spelling, without case and punctuation, and then also without plural."""
    return fold(word), canonical(word)


def _by_form(targets: MappingOf[str, Target]) -> dict[str, Target]:
    found = {fold(word): target for word, target in targets.items()}
    for word, target in targets.items():
        found.setdefault(canonical(word), target)
    return found


Targets = dict[str, Annotated[Target, BeforeValidator(_target)]]


class Mapping(BaseModel):
    """A parsed mapping.toml. `keys` has, for each own key, the targets of its values by column of the shop's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Shop
    categories: Targets = Field(default_factory=dict)
    keys: dict[str, dict[str, Targets]] = Field(default_factory=dict)

    @cached_property
    def category_of(self) -> MappingOf[str, Target]:
        """The target of each category, by all `forms` of the own word."""
        return _by_form(self.categories)

    @cached_property
    def values_of(self) -> MappingOf[str, MappingOf[str, MappingOf[str, Target]]]:
        """The targets by own key, column, and all `forms` of the own value."""
        return {
            key: {column: _by_form(targets) for column, targets in columns.items()}
            for key, columns in self.keys.items()
        }

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a file; raises `ConfigError` that says what is wrong with it."""
        try:
            return checked(read_toml(path), cls)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}. Draft it with attire taxonomy map.") from None
        except ValueError as error:
            raise ConfigError(f"{path} is not a valid mapping: {shown(str(error))}. Fix it.") from None
