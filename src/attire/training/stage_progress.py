"""Progress of a stage on the terminal: images/s, time left, and a line of scores after each epoch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from attire.pixels import torchvision_ops  # noqa: F401
from attire.progress import Tracker, tracking

import lightning as L  # isort: skip  (after ops)
from lightning.pytorch.callbacks import ProgressBar  # isort: skip

SHOWN = ("loss", "val_loss", "category_accuracy", "attribute_iou")


class StageProgress(ProgressBar):
    """Progress bar of the stage `title`; Lightning disables it in all processes but the first."""

    def __init__(self, title: str, batch_size: int) -> None:
        super().__init__()
        self.title, self.batch_size = title, batch_size
        self._exit_stack = ExitStack()
        self._enabled = True
        self._tracker: Tracker | None = None

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self._enabled:
            steps = trainer.max_epochs * trainer.num_training_batches if trainer.max_epochs else None
            total = None if steps is None else int(steps) * self.batch_size
            done = trainer.global_step * self.batch_size
            self._tracker = self._exit_stack.enter_context(tracking(self.title, total, "images", done=done))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        if self._tracker is not None:
            self._tracker.describe(self._epoch(trainer))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._tracker is not None:
            self._tracker.advance(self.batch_size)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._tracker is not None:
            metrics = trainer.callback_metrics
            scores = "  ".join(f"{name} {float(metrics[name]):.3f}" for name in SHOWN if name in metrics)
            self._tracker.say(f"{self._epoch(trainer)}  {scores}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._exit_stack.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._exit_stack.__exit__(type(exception), exception, exception.__traceback__)

    def _epoch(self, trainer: L.Trainer) -> str:
        return f"{self.title} {trainer.current_epoch + 1}/{trainer.max_epochs}"
