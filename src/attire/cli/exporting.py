"""Verbs for engines: export and inspect."""

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
    """Write a faster engine into a bundle, if it gives the same answers as torch on your photos.

    Parameters
    ----------
    to
        The runtime: ONNX (onnxruntime) or OpenVINO.
    photos
        Catalog (300 products of its train split are used) or folder of photos, to compare answers and calibrate INT8.
    int8
        Use 8-bit integers.
    """
    from attire.exporting.export import export as run

    attempts = Table(to, "in float", "photos", "decisions", "equal", "equal filled", "IoU", "torch's")
    for column in attempts.columns[2:]:
        column.justify = "right"

    def show(attempt: Attempt, parity: Parity) -> None:
        attempts.add_row(attempt.precision, _float_layers(attempt.precision, attempt.kept), *_parity_cells(parity))

    try:
        exported = run(bundle, to, photos, int8=int8, show=show)
    finally:
        if attempts.row_count:
            console.print(attempts)
    speed = exported.record.speed
    console.print(
        f"{speed.images_per_s:,.1f} images/s, torch {speed.torch_images_per_s:,.1f} ({speed.ratio:.2f} times as fast; "
        f"{speed.conditions})",
        highlight=False,
    )
    console.print(f"{exported.folder}  (attire predict {bundle} PHOTOS --engine {exported.folder.name})")


@app.command
def inspect(bundle: Path, /, *, speed: bool = True) -> None:
    """Show a bundle: its scores, size, MACs, and the images/s of each engine: now, and where it was measured before.

    Parameters
    ----------
    speed
        Measure the speed of the engines, which takes some seconds each.
    """
    from attire.exporting.inspect import inspect as run

    inspection = run(bundle, speed=speed)
    console.print(facts(inspection.facts), highlight=False)
    engines = Table(
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
    for column in (*engines.columns[2:5], *engines.columns[6:]):
        column.justify = "right"
    for engine in inspection.engines:
        rate = "–" if engine.images_per_s is None else f"{engine.images_per_s:,.1f}"
        ratio = "–" if engine.ratio is None else f"{engine.ratio:.2f}"
        if engine.record is None:
            engines.add_row(engine.name, engine.precision, rate, ratio, f"{engine.megabytes:,.1f}")
        else:
            layers = _float_layers(engine.record.precision, engine.record.kept)
            cells = _parity_cells(engine.record.parity)
            engines.add_row(engine.name, engine.precision, rate, ratio, f"{engine.megabytes:,.1f}", layers, *cells)
    console.print(engines)
    if inspection.speeds:
        speeds = Table("engine", "images/s", "/ torch", "measured")
        for known in inspection.speeds:
            speeds.add_row(known.engine, f"{known.images_per_s:,.1f}", f"{known.ratio:.2f}", known.measured)
        for column in speeds.columns[1:3]:
            column.justify = "right"
        console.print(speeds)
    for fault in inspection.faults:
        console.print(fault, style="bold red", highlight=False)


def _float_layers(precision: str, kept: str) -> str:
    """The layers that are not INT8."""
    return ", ".join(filter(None, ("heads", kept))) if precision == "int8" else "all"


def _parity_cells(parity: Parity) -> tuple[str, ...]:
    iou = ("–" if value is None else f"{value:.4f}" for value in (parity.iou, parity.torch_iou))
    return f"{parity.photos:,}", f"{parity.decisions:,}", f"{parity.answers:.2%}", f"{parity.filled:.2%}", *iou
