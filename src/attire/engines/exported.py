"""Engines that were exported into a bundle: where they lie, what is recorded of them, whether they still are of it.

BUNDLE/engines/NAME/engine.json   what it was made from, how its answers agree, how fast it was; written last
                    model.*       the runtime's own files
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from attire.bundle import ModelBundle
from attire.errors import BundleError
from attire.files import file_sha256
from attire.records import read_as

ENGINES_FOLDER, RECORD = "engines", "engine.json"
Runtime = Literal["onnx", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]


class Parity(BaseModel):
    """How the answers of an engine agree with those of torch in float32.

    A decision is a photo's category, or what is said of one key that either engine holds applicable. answers: share of
    decisions that are equal when every key is filled; filled: when keys are filled at the default precision, so that
    abstaining is a decision too. iou, torch_iou: attribute IoU of both, None without labels. logits: the largest
    difference, infinite where one of them is no number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: int
    decisions: int
    answers: float
    filled: float
    iou: float | None
    torch_iou: float | None
    logits: float


class Speed(BaseModel):
    """Images/s of batches of `batch` ready tensors, beside torch (at its fastest precision) in turns."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images_per_s: float = Field(gt=0)
    torch_images_per_s: float = Field(gt=0)
    batch: int
    threads: int
    cpu: str

    @property
    def ratio(self) -> float:
        return self.images_per_s / self.torch_images_per_s


class EngineRecord(BaseModel):
    """The content of `engine.json`. bundle: digest of the bundle it computes; kept: what INT8 left in float."""

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
    """Where the engine `name` lies."""
    return bundle / ENGINES_FOLDER / name


def engine_names(bundle: Path) -> list[str]:
    """The engines that were exported into the bundle."""
    return sorted(record.parent.name for record in (bundle / ENGINES_FOLDER).glob(f"*/{RECORD}"))


def read_record(bundle: ModelBundle, name: str) -> EngineRecord:
    """What is recorded of the engine; raises `BundleError` if that is missing, damaged or of another bundle."""
    folder, again = engine_folder(bundle.path, name), f"Run '{export_command(bundle.path, name)}'"
    if not (folder / RECORD).is_file():
        have = ", ".join(engine_names(bundle.path)) or "none"
        raise BundleError(f"{bundle.path} has no engine '{name}' (exported: {have}). {again}.")
    try:
        record = read_as(folder / RECORD, EngineRecord)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / RECORD} is damaged: {error}. {again} again.") from None
    if record.bundle != bundle.digest:
        raise BundleError(
            f"{folder} was exported from another bundle ({record.bundle[:12]}) than this one ({bundle.digest[:12]}): "
            f"it has been trained or calibrated anew since. {again} again."
        )
    return record


def check_files(bundle: ModelBundle, name: str, record: EngineRecord) -> None:
    """Raise `BundleError` where a file of the engine is not the one that was exported."""
    folder = engine_folder(bundle.path, name)
    for file, expected in record.sha256.items():
        if not (folder / file).is_file() or file_sha256(folder / file) != expected:
            raise BundleError(
                f"{folder / file} is missing or not the file that was exported. "
                f"Run '{export_command(bundle.path, name)}' again."
            )


def export_command(bundle: Path, name: str) -> str:
    """What exports the engine `name`."""
    runtime, _, int8 = name.partition("-")
    return f"attire export {bundle} --to {runtime}{' --int8' if int8 else ''} --photos CATALOG"


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
