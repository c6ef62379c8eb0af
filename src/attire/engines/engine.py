"""What computes logits from pixels: a small protocol, so that a faster engine (or a fake) can take torch's place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.engines.exported import EngineRecord, engine_names, read_record
from attire.engines.runtimes import ExportedEngine
from attire.errors import BundleError, ConfigError, MissingExtraError, did_you_mean
from attire.model.backbone import fastest_precision
from attire.pixels.normalise import Normalise

logger = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ids = NDArray[np.int32]
AUTO = "auto"


class Engine(Protocol):
    """Computes a bundle's logits. Called by one thread at a time. `name`: as results are recorded with it."""

    name: str

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        """Category float32[B, C] and attributes float32[B, K], from pixels uint8[B, 3, H, W] (`Preprocess.resize`)."""


@runtime_checkable
class TitleEngine(Engine, Protocol):
    """Computes the logits of a bundle that reads titles, too."""

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        """As `logits`, from titles too: int32[B, T] by the bundle's `title_reader`; without pixels from them alone."""


class TorchEngine:
    """The bundle's network, on the GPU where there is one.

    `precision`: the convolutions and products of bfloat16 autocast where the hardware multiplies it natively, unless
    float32 is asked for. docs/experiments.md says how rarely a decision differs.
    """

    name = "torch"

    def __init__(self, bundle: ModelBundle, precision: Literal["fastest", "float32"] = "fastest") -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.half = precision == "fastest" and fastest_precision() == "bf16-mixed"
        self.network = bundle.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalise = Normalise(bundle.preprocess).to(self.device)

    def logits(self, pixels: Bytes) -> tuple[Floats, Floats]:
        return self._logits(pixels, None)

    def titled_logits(self, pixels: Bytes | None, text: Ids) -> tuple[Floats, Floats]:
        return self._logits(pixels, text)

    def _logits(self, pixels: Bytes | None, text: Ids | None) -> tuple[Floats, Floats]:
        batch = None
        if pixels is not None:
            photos = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            batch = self.normalise(photos)
        titles = None if text is None else torch.from_numpy(text).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            found = self.network(batch, titles)
        return found.category.float().cpu().numpy(), found.attributes.float().cpu().numpy()


ENGINES: dict[str, Callable[[ModelBundle], Engine]] = {
    "torch": TorchEngine,
    "onnx": partial(ExportedEngine.open, name="onnx"),
    "onnx-int8": partial(ExportedEngine.open, name="onnx-int8"),
    "openvino": partial(ExportedEngine.open, name="openvino"),
    "openvino-int8": partial(ExportedEngine.open, name="openvino-int8"),
}


def open_engine(bundle: ModelBundle, name: str = AUTO) -> Engine:
    """The engine `name` of `ENGINES` for the bundle; "auto" is the fastest that works here, and is logged.

    Raises `ConfigError` for another name, `BundleError` for an engine that the bundle does not have, that is damaged or
    that was exported from another state of it, and `MissingExtraError` where its runtime is not installed.
    """
    if name == AUTO:
        return _fastest(bundle)
    if name not in ENGINES:
        known = (AUTO, *ENGINES)
        raise ConfigError(f"'{name}' is not an engine{did_you_mean(name, known)} Expected one of {', '.join(known)}.")
    return ENGINES[name](bundle)


def _fastest(bundle: ModelBundle) -> Engine:
    """By the images/s measured at export; an engine that cannot be opened is passed over, with the reason."""
    if torch.cuda.is_available():
        return TorchEngine(bundle)
    records: dict[str, EngineRecord] = {}
    for name in engine_names(bundle.path):
        try:
            records[name] = read_record(bundle, name)
        except BundleError as error:
            logger.warning("not using the engine '%s': %s", name, error)
    for name, record in sorted(records.items(), key=lambda item: -item[1].speed.ratio):
        if record.speed.ratio <= 1:
            break
        try:
            engine = open_engine(bundle, name)
        except (BundleError, ConfigError, MissingExtraError) as error:
            logger.warning("not using the engine '%s': %s", name, error)
            continue
        logger.info(
            "engine %s: %.1f times as fast as torch when exported on %s", name, record.speed.ratio, record.speed.cpu
        )
        return engine
    logger.info("engine torch")
    return TorchEngine(bundle)
