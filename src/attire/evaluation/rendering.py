"""Renders pages that are single HTML files and need no network."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attire.theme import THEME

OWN = "attire.evaluation"  # has the base template and macros of all pages


def render(template: str, package: str = OWN, **content: Any) -> str:
    """Render a template of `package`; text in `content` is escaped, `Markup` is not."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, OWN))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content | {"theme": Markup(THEME)})  # noqa: S704  (our own file)
