"""Verb for backbones: which pretrained networks there are to choose from."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from attire.cli.app import app, console


@app.command
def backbones(*names: str, measure: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List backbones that are worth trying, for `attire train --backbone`. Downloads nothing.

    Published figures are those of the authors or of the source that is named; they were not measured with attire.

    Parameters
    ----------
    names
        Backbones to show: of this list, or any of timm's. By default the whole list.
    measure
        Measure how many photos this machine embeds a second, with random weights: some seconds for each backbone.
    """
    from attire.model.backbone_table import backbones as run
    from attire.model.presets import CONTEST

    rows = run(names, measure=measure)
    cost = ["photos/s"] if measure else []
    facts = Table("backbone", "px", "million", "width", *cost, "licence")
    for column in facts.columns[1 : 4 + len(cost)]:
        column.justify = "right"
    for row in rows:
        facts.add_row(
            row.name,
            f"{row.size_px[0]} x {row.size_px[1]}",
            f"{row.parameters / 1e6:.1f}",
            f"{row.width:,}",
            *([f"{row.photos_per_s:,.1f}"] if row.photos_per_s is not None else []),
            row.licence,
        )
    sources = Table("backbone", "timm's name, where its weights come from, and what was published")
    for row in rows:
        sources.add_row(row.name, "\n".join(filter(None, [f"{row.timm_name}  ({row.weights})", row.published])))
    console.print(facts)
    console.print(sources)
    if any("Meesho" in row.published for row in rows):
        console.print(f"{CONTEST}.", highlight=False)
    for licence, terms in sorted({(row.licence, row.terms) for row in rows if row.terms}):
        console.print(f"{licence}: {terms}.", highlight=False)
