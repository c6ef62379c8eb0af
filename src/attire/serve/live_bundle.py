"""The bundle in use, and its replacement while requests run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attire.bundle import ModelBundle
from attire.engines.engine import Engine, open_engine
from attire.errors import AttireError
from attire.serve.compute_threads import once
from attire.serve.metrics import Metrics
from attire.serve.settings import Settings

logger = logging.getLogger(__name__)
Load = Callable[[Settings], "Model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded bundle with its engine. A request uses the same one from start to end."""

    bundle: ModelBundle
    engine: Engine

    @property
    def version(self) -> str:
        """The start of the bundle's digest; equal for bundles that give equal answers."""
        return self.bundle.digest[:12]


def load_model(settings: Settings) -> Model:
    """Load and verify the bundle on disk and warm up its engine; raises `AttireError`."""
    bundle = ModelBundle.of(settings.bundle)
    bundle.check_promise(settings.promise)
    bundle.reference(settings.promise)  # fits thresholds, which takes a moment the first time
    engine = open_engine(bundle, settings.engine)
    height, width = bundle.preprocess.size_px
    engine.logits(np.zeros((1, 3, height, width), dtype=np.uint8))  # warm up: the first call is slow
    return Model(bundle, engine)


class Models:
    """Holds the model for new requests. `model` is None until the first `load`."""

    def __init__(self, settings: Settings, metrics: Metrics, load: Load = load_model) -> None:
        self._settings, self._metrics, self._load = settings, metrics, load
        self._lock = asyncio.Lock()
        self.model: Model | None = None

    async def load(self) -> Model:
        """Load, verify and swap in the bundle on disk. If that raises `AttireError`, the old one stays."""
        async with self._lock:
            model = await self._load_model(self._settings)
            if self.model is not None:
                self._metrics.bundle.labels(self.model.version).set(0)
            self._metrics.bundle.labels(model.version).set(1)
            self.model = model
            self._metrics.reloads.labels("loaded").inc()
            logger.info("bundle %s answers", model.version)
            return model

    async def verify(self, path: Path) -> Model:
        """Load and verify the bundle at `path` without swapping it in; raises `AttireError`."""
        async with self._lock:
            return await self._load_model(self._settings.model_copy(update={"bundle": path}))

    async def _load_model(self, settings: Settings) -> Model:
        try:
            return await asyncio.to_thread(once, self._load, settings)
        except AttireError as error:
            self._metrics.reloads.labels("refused").inc()
            logger.error("bundle refused%s: %s", "" if self.model is None else ", the old one stays", error)
            raise
