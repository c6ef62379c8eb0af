"""Lightning's Trainer as attire uses it: where it runs, what it logs, what it shows, what it keeps."""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attire.config import Recipe
from attire.files import replacing
from attire.model.backbone import fastest_precision
from attire.pixels import torchvision_ops  # noqa: F401
from attire.training.stage_progress import StageProgress

import lightning as L  # isort: skip  (after ops)
from lightning.pytorch.callbacks import (  # isort: skip
    Callback,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.plugins.io import TorchCheckpointIO  # isort: skip
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # isort: skip
from lightning.pytorch.utilities import rank_zero_only  # isort: skip

CHECKPOINT = "last.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint takes the place of the one before when it is on the disk.

    Lightning writes it elsewhere and copies it over the one before, of which a kill or a full disk then leaves nothing.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        assert storage_options is None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class FreezeBatchNorm(Callback):
    """Batch norms of the backbone keep their statistics, as in torchvision's FrozenBatchNorm2d; their weights train.

    Heads that were fitted to a backbone's features in prediction do not fit those it computes in training: on myntra26
    their loss was ten times as high (docs/experiments.md).
    """

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def create_trainer(recipe: Recipe, title: str, epochs: int, folder: Path, *, freeze_batch_norm: bool) -> L.Trainer:
    """A Trainer for one stage that logs and checkpoints below `folder`, on whatever this machine has.

    `freeze_batch_norm`: for a network that comes from another run, with heads that fit their backbone.

    Started by `torchrun` (or SLURM, or by Lightning itself on several GPUs) it joins the other processes.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=noise)
    # Every epoch replaces the one checkpoint, after validation and before the next epoch: where a resumed run goes on.
    callbacks: list[Callback] = [
        ModelCheckpoint(folder / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False),
        StageProgress(title, recipe.batch_size),
    ]
    if freeze_batch_norm:
        callbacks.append(FreezeBatchNorm())
    if recipe.ema_decay:
        # Batch-norm statistics are averages already, and averaging would truncate whole-numbered buffers.
        callbacks.append(WeightAveraging(use_buffers=False, multi_avg_fn=partial(_average, recipe.ema_decay)))
    return L.Trainer(
        max_epochs=epochs,
        precision=_precision(recipe),
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=[CSVLogger(folder, "logs", version=""), TensorBoardLogger(folder, "logs", version="")],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # DrawSampler shares out the work itself
        enable_model_summary=False,
        **_processes(),
    )


def first_process() -> bool:
    """Whether this is the only process or the one that writes files."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _precision(recipe: Recipe) -> Literal["bf16-mixed", "32-true"]:
    """Lightning's name for the recipe's mixed precision."""
    if recipe.amp == "auto":
        return fastest_precision()
    return "bf16-mixed" if recipe.amp == "bf16" else "32-true"


def _average(decay: float, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    """Update exponential moving averages; the first updates have a smaller decay.

    Otherwise the average of a short run would mostly be its random start. The rule, min(decay, (1 + n) / (10 + n))
    after n updates, is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`. All parameters move in one
    operation, by a weight that stays on their device: fetching it would stall a GPU in each step.
    """
    weight = 1 - ((1 + count) / (10 + count)).clamp(max=decay)
    torch._foreach_lerp_(averages, current, [weight.to(averages[0].dtype)] * len(averages))


def _processes() -> dict[str, Any]:
    """Where torchrun says how many processes there are, Lightning must be told so; elsewhere it finds out."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return {}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"strategy": "ddp", "devices": local, "num_nodes": int(os.environ["WORLD_SIZE"]) // local}
