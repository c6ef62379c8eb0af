"""Creates Lightning's Trainer: devices, logs, progress, checkpoints."""

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
    """Replaces the previous checkpoint atomically.

    Lightning copies the new file over the old one, so a kill or a full disk would leave neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        assert storage_options is None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class FreezeBatchNorm(Callback):
    """Keeps the statistics of batch norms fixed, as in torchvision's FrozenBatchNorm2d, but trains their weights.

    Heads that were fitted to features in evaluation mode do not fit those in training mode: on myntra26 their loss was
    ten times as high (docs/experiments.md).
    """

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def create_trainer(recipe: Recipe, title: str, epochs: int, folder: Path, *, freeze_batch_norm: bool) -> L.Trainer:
    """A Trainer for one stage that logs and checkpoints in `folder`, on all GPUs or the CPU.

    `freeze_batch_norm`: for a network of another run, whose heads fit the backbone already. In processes started by
    `torchrun`, SLURM or Lightning, it joins the others.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for noise in (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message=noise)
    # One checkpoint, replaced after each epoch's validation; a resumed run continues with the next epoch.
    callbacks: list[Callback] = [
        ModelCheckpoint(folder / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False),
        StageProgress(title, recipe.batch_size),
    ]
    if freeze_batch_norm:
        callbacks.append(FreezeBatchNorm())
    if recipe.ema_decay:
        # Batch-norm statistics are averages already, and averaging would truncate integer buffers.
        callbacks.append(WeightAveraging(use_buffers=False, multi_avg_fn=partial(_average, recipe.ema_decay)))
    return L.Trainer(
        max_epochs=epochs,
        precision=_precision(recipe),
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=[CSVLogger(folder, "logs", version=""), TensorBoardLogger(folder, "logs", version="")],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # DrawSampler does it
        enable_model_summary=False,
        **_processes(),
    )


def first_process() -> bool:
    """Whether this is the only process, or the one of several that writes files."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _precision(recipe: Recipe) -> Literal["bf16-mixed", "32-true"]:
    """Lightning's name for the recipe's mixed precision."""
    if recipe.amp == "auto":
        return fastest_precision()
    return "bf16-mixed" if recipe.amp == "bf16" else "32-true"


def _average(decay: float, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    """Update exponential moving averages, with a smaller decay in the first updates.

    Otherwise the average of a short run would be dominated by the random initialisation. The decay after n updates,
    min(decay, (1 + n) / (10 + n)), is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`. All
    parameters are updated in one operation, with a weight that stays on the GPU: copying it would stall each step.
    """
    weight = 1 - ((1 + count) / (10 + count)).clamp(max=decay)
    torch._foreach_lerp_(averages, current, [weight.to(averages[0].dtype)] * len(averages))


def _processes() -> dict[str, Any]:
    """The number of processes under torchrun, which Lightning does not detect; elsewhere it does."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return {}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"strategy": "ddp", "devices": local, "num_nodes": int(os.environ["WORLD_SIZE"]) // local}
