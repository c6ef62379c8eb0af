"""What a person sees of a stage: one bar with images/s and the time left, and a line of figures after each epoch."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from attire.pixels import ops  # noqa: F401

import lightning as L  # isort: skip  (after ops)
from lightning.pytorch.callbacks import ProgressBar  # isort: skip

SHOWN = ("loss", "val_loss", "category_accuracy", "attribute_iou")


class StageProgress(ProgressBar):
    """Shows the stage `title` on stderr. Where that is no terminal, only the lines per epoch."""

    def __init__(self, title: str, batch_size: int) -> None:
        super().__init__()
        self.title, self.batch_size = title, batch_size
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[speed]:.0f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = TaskID(0)
        self._since = 0.0

    def disable(self) -> None:
        self.progress.disable = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        total = trainer.max_epochs * trainer.num_training_batches if trainer.max_epochs else None
        self.task = self.progress.add_task(self.title, total=total, completed=trainer.global_step, speed=0)
        self.progress.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._since = time.perf_counter()
        self.progress.update(self.task, description=f"{self.title} {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        speed = (batch_idx + 1) * self.batch_size / (time.perf_counter() - self._since)
        self.progress.update(self.task, advance=1, speed=speed)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        measured = trainer.callback_metrics
        figures = "  ".join(f"{name} {float(measured[name]):.3f}" for name in SHOWN if name in measured)
        self.progress.console.print(f"{self.title} {trainer.current_epoch + 1}/{trainer.max_epochs}  {figures}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self.progress.stop()
