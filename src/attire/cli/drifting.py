"""The verb for drift."""

from __future__ import annotations

from pathlib import Path

from attire.cli.app import app, console


@app.command
def drift(a: Path, b: Path, /, *, out: Path | None = None) -> None:
    """Compare what a model answered with its calibration, and say for which keys its promise can still be believed.

    Parameters
    ----------
    a
        The bundle that made B, to compare with its calibration; or an earlier output of the same bundle.
    b
        An output of attire predict or attire fill. What the model answered is recorded next to it, in B.json.
    out
        HTML file with charts of each key; the figures are written next to it, as .json. The terminal shows only the
        keys whose answers changed beyond chance.
    """
    from attire.evaluation.drift import drift as run
    from attire.evaluation.drift_tables import drift_sentences, terminal_sheet

    found = run(a, b, out=out)
    console.print(f"before: {a}, {found.before.products:,} products\nnow: {b}, {found.now.products:,} products")
    if found.alarms:
        console.print(terminal_sheet(found).table())
    for sentence in drift_sentences(found):
        console.print(sentence)
    if out is not None:
        console.print(f"{out}")
