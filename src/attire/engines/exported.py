"""Exported engines of a bundle: their files, their records, and checks that they belong to the bundle.

BUNDLE/engines/NAME/engine.json   its source, its agreement with torch, its speed; written last
                    model.*       the runtime's own files
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from attire.bundle import ModelBundle
from attire.engines.conditions import Conditions
from attire.errors import BundleError
from attire.files import file_sha256
from attire.records import read_as

ENGINES_FOLDER, RECORD = "engines", "engine.json"
Runtime = Literal["onnx", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]


class Parity(BaseModel):
    """Agreement of an engine's answers with those of torch in float32.

    A decision is a photo's category, or the answer for one key that applies according to either engine. answers: share
    of equal decisions if every key is filled. filled: share of equal decisions at the default precision, where
    abstaining is a decision too. iou, torch_iou: attribute IoU of both, None without labels. logits: the largest
    difference, infinite if the engine returns NaN or infinity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: int
    decisions: int
    answers: float
    filled: float
    iou: float | None
    torch_iou: float | None
    logits: float


class Speed(Conditions):
    """Images/s for batches of `batch` decoded photos, measured in turns with torch at its fastest precision."""

    model_config = ConfigDict(allow_inf_nan=False)

    images_per_s: float = Field(gt=0)
    torch_images_per_s: float = Field(gt=0)
    batch: int

    @property
    def ratio(self) -> float:
        return self.images_per_s / self.torch_images_per_s

    @property
    def conditions(self) -> Conditions:
        """The conditions under which it was measured."""
        return Conditions(**self.model_dump(include=set(Conditions.model_fields)))


class EngineRecord(BaseModel):
    """The content of `engine.json`. bundle: digest of its bundle; kept: the layers that INT8 left in float."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    created: str
    runtime: Runtime
    precision: Precision
    kept: str
    titles: bool
    bundle: str
    sha256: dict[str, str] = Field(min_length=1)
    versions: dict[str, str]
    parity: Parity
    speed: Speed


def engine_folder(bundle: Path, name: str) -> Path:
    """The directory of the engine `name`."""
    return bundle / ENGINES_FOLDER / name


def engine_names(bundle: Path) -> list[str]:
    """Names of the engines that were exported into the bundle."""
    return sorted(record.parent.name for record in (bundle / ENGINES_FOLDER).glob(f"*/{RECORD}"))


def read_record(bundle: ModelBundle, name: str) -> EngineRecord:
    """Read `engine.json`; raises `BundleError` if it is missing, damaged or out of date with the bundle."""
    folder, again = engine_folder(bundle.path, name), f"Run '{export_command(bundle.path, name)}'"
    if not (folder / RECORD).is_file():
        names = ", ".join(engine_names(bundle.path)) or "none"
        raise BundleError(f"{bundle.path} has no engine '{name}' (exported: {names}). {again}.")
    try:
        record = read_as(folder / RECORD, EngineRecord)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / RECORD} is damaged: {error}. {again} again.") from None
    if record.bundle != bundle.digest:
        raise BundleError(
            f"{folder} is out of date: it was exported from bundle {record.bundle[:12]}, and this bundle is "
            f"{bundle.digest[:12]}, trained or calibrated again since. {again} again."
        )
    return record


def check_files(bundle: ModelBundle, name: str, record: EngineRecord) -> None:
    """Raise `BundleError` if a file of the engine is missing or has changed since the export."""
    folder = engine_folder(bundle.path, name)
    for file, expected in record.sha256.items():
        if not (folder / file).is_file() or file_sha256(folder / file) != expected:
            raise BundleError(
                f"{folder / file} is missing or has changed since it was exported. "
                f"Run '{export_command(bundle.path, name)}' again."
            )


def export_command(bundle: Path, name: str) -> str:
    """The command that exports the engine `name`."""
    runtime, _, int8 = name.partition("-")
    return f"attire export {bundle} --to {runtime}{' --int8' if int8 else ''} --photos CATALOG"
