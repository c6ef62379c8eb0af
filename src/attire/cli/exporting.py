"""Engines beside torch, and what a bundle is and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from attire.cli.app import app, console, facts

if TYPE_CHECKING:
    from attire.engines.exported import Parity
    from attire.exporting.export import Attempt


@app.command
def export(
    bundle: Path,
    /,
    *,
    to: Literal["onnx", "openvino"],
    photos: Path,
    int8: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a faster engine into a bundle, if its answers are those of torch on your photos.

    Parameters
    ----------
    to
        The runtime: ONNX (onnxruntime) or OpenVINO.
    photos
        Catalog (300 products of its train split), or folder of photos, to calibrate INT8 and to compare answers on.
    int8
        Compute in 8-bit integers.
    """
    from attire.exporting.export import export as run

    shown = Table(to, "in float", "photos", "decisions", "equal", "equal filled", "IoU", "torch's")
    for column in shown.columns[2:]:
        column.justify = "right"

    def show(attempt: Attempt, found: Parity) -> None:
        shown.add_row(attempt.precision, _kept(attempt.precision, attempt.kept), *_parity_cells(found))

    try:
        made = run(bundle, to, photos, int8=int8, show=show)
    finally:
        if shown.row_count:
            console.print(shown)
    speed = made.record.speed
    console.print(
        f"{speed.images_per_s:,.1f} images/s, torch {speed.torch_images_per_s:,.1f} ({speed.ratio:.2f} times as fast, "
        f"{speed.threads} threads, {speed.cpu})",
        highlight=False,
    )
    console.print(f"{made.folder}  (attire predict {bundle} PHOTOS --engine {made.folder.name})")


@app.command
def inspect(bundle: Path, /, *, speed: bool = True) -> None:
    """What a bundle is, how good, and what it costs: size, multiplications, images/s of each engine on this machine.

    Parameters
    ----------
    speed
        Measure the engines; takes some seconds each.
    """
    from attire.exporting.inspect import inspect as run

    found = run(bundle, speed=speed)
    console.print(facts(found.facts), highlight=False)
    shown = Table(
        "engine",
        "precision",
        "images/s",
        "/ torch",
        "MB",
        "in float",
        "photos",
        "decisions",
        "equal",
        "equal filled",
        "IoU",
        "torch's",
    )
    for column in (*shown.columns[2:5], *shown.columns[6:]):
        column.justify = "right"
    for engine in found.engines:
        rate = "–" if engine.images_per_s is None else f"{engine.images_per_s:,.1f}"
        ratio = "–" if engine.ratio is None else f"{engine.ratio:.2f}"
        if engine.record is None:
            shown.add_row(engine.name, engine.precision, rate, ratio, f"{engine.megabytes:,.1f}")
        else:
            kept = _kept(engine.record.precision, engine.record.kept)
            cells = _parity_cells(engine.record.parity)
            shown.add_row(engine.name, engine.precision, rate, ratio, f"{engine.megabytes:,.1f}", kept, *cells)
    console.print(shown)
    for fault in found.faults:
        console.print(fault, style="bold red", highlight=False)


def _kept(precision: str, kept: str) -> str:
    """What is not INT8."""
    return ", ".join(filter(None, ("heads", kept))) if precision == "int8" else "all"


def _parity_cells(found: Parity) -> tuple[str, ...]:
    iou = ("–" if value is None else f"{value:.4f}" for value in (found.iou, found.torch_iou))
    return f"{found.photos:,}", f"{found.decisions:,}", f"{found.answers:.2%}", f"{found.filled:.2%}", *iou
