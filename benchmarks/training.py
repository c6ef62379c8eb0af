"""Training speed of attire (Lightning, photo cache, augmentation, moving average) compared with a plain loop.

python benchmarks/training.py [--backbone resnext50_32x4d] [--size 224] [--batch 32] [--steps 4] [--rounds 3]

Each round runs `steps` steps of each: the recipe `base` in attire's training loop, from drawn photos in a cache
(attire); the same network, loss and optimiser on tensors in memory (bare); and a plain timm model with cross entropy,
as in timm's train script (timm). `--compile` also measures the bare network with torch.compile.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from support.common import Row, device, report, settle
from support.drawn import draw_shop
from torch import Tensor, nn

import attire
from attire.config import Recipe
from attire.memory import keep_freed_memory
from attire.model.backbone import fastest_precision
from attire.model.input_size import data_config
from attire.model.network import build_network
from attire.pixels.normalise import FromBytes
from attire.pixels.photo_cache import cache_photos
from attire.pixels.preprocess import Preprocess
from attire.training.data import StageData, Subset, cache_px, default_workers
from attire.training.module import StageModule
from attire.training.trainer import create_trainer

import lightning as L  # isort: skip  (after attire, which prepares torchvision)
import timm  # isort: skip

PHOTO_PX = (1000, 750)
CATEGORIES = 26


class Rounds(L.Callback):
    """Times each epoch of attire's loop, including the wait for its first batch, and runs the rivals between epochs."""

    def __init__(self, rivals: dict[str, Callable[[], None]]) -> None:
        self.rivals = rivals
        self.seconds: dict[str, list[float]] = {name: [] for name in ("attire", *rivals)}
        self._since = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        for name, rival in self.rivals.items():
            settle()
            start = time.perf_counter()
            rival()
            settle()
            self.seconds[name].append(time.perf_counter() - start)
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            settle()
            self.seconds["attire"].append(time.perf_counter() - self._since)


class Steps:
    """`steps` training steps of `model` on tensors in memory."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any], Tensor],
        inputs: Tensor,
        steps: int,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.model, self.loss, self.steps, self.optimizer = model.train(), loss, steps, optimizer
        self.inputs = inputs.to(device(), memory_format=torch.channels_last)

    def __call__(self) -> None:
        for _ in range(self.steps):
            with torch.autocast(device().type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed"):
                loss = self.loss(self.model(self.inputs))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


def channels_last(model: nn.Module) -> nn.Module:
    """Move to the device, in the memory format that is fastest for convolutions."""
    return model.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def adamw(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The recipe's optimiser."""
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.05, fused=True)


def main(
    *,
    backbone: str = "resnext50_32x4d",
    size: int = 224,
    batch: int = 32,
    steps: int = 4,
    rounds: int = 3,
    workers: int | None = None,
    compile: bool = False,
    json: Path | None = None,
) -> None:
    """Measure on the GPU if there is one, else on the CPU, in the fastest precision."""
    keep_freed_memory()  # as in the command line; this also helps the rivals
    torch.manual_seed(0)
    overrides = {
        "backbone": backbone,
        "size_px": (size, size),
        "batch_size": batch,
        "attributes": {"epochs": rounds + 1},
    }
    recipe = attire.load_recipe("base", overrides)
    with tempfile.TemporaryDirectory() as folder:
        seconds = _measure(recipe, steps, default_workers() if workers is None else workers, Path(folder), compile)
    rates = {name: steps * batch / statistics.median(times[1:]) for name, times in seconds.items()}
    rows = [Row(name, rate, "images/s", rate / rates["bare"], "bare") for name, rate in rates.items()]
    report(f"Training {backbone} at {size} px, batch {batch}, {fastest_precision()}, on {device()}", rows, json)


def _measure(recipe: Recipe, steps: int, workers: int, folder: Path, compile: bool) -> dict[str, list[float]]:
    batch, size_px = recipe.batch_size, recipe.input_px
    feed = draw_shop(folder, steps * batch, PHOTO_PX, CATEGORIES)
    catalog = attire.ingest(feed, folder / "photos", folder / "catalog")
    network = build_network(recipe, catalog.taxonomy, dropout=recipe.dropout)
    preprocess = Preprocess.for_backbone(data_config(network.backbone), size_px, recipe.fit)
    px = cache_px(catalog, size_px, wanted=True)
    assert px is not None
    photos = cache_photos(catalog, px)
    train = Subset(catalog, catalog.ids, "train").photo_examples(preprocess, recipe.augment, photos)
    val = Subset(catalog, catalog.ids[:2], "val").photo_examples(preprocess, "none", photos)
    data = StageData(train, val, None, recipe, workers)
    module = StageModule(
        FromBytes(network, preprocess), network.heads, catalog.taxonomy, recipe, "attributes", train.targets
    )
    channels_last(module)

    bare = channels_last(build_network(recipe, catalog.taxonomy, dropout=recipe.dropout))
    targets = type(train.targets)(*(column[:batch].to(device()) for column in train.targets))
    inputs = torch.randn(batch, 3, *size_px)
    rivals: dict[str, Callable[[], None]] = {
        "bare": Steps(bare, lambda logits: module.loss(logits, targets), inputs, steps, adamw([*bare.parameters()]))
    }
    plain = channels_last(timm.create_model(recipe.backbone, num_classes=CATEGORIES))
    classes = torch.from_numpy(np.arange(batch) % CATEGORIES).to(device())
    rivals["timm"] = Steps(
        plain, lambda logits: nn.functional.cross_entropy(logits, classes), inputs, steps, adamw([*plain.parameters()])
    )
    if compile:
        compiled = channels_last(build_network(recipe, catalog.taxonomy, dropout=recipe.dropout))
        rivals["bare, compiled"] = Steps(
            torch.compile(compiled),  # type: ignore[arg-type]
            lambda logits: module.loss(logits, targets),
            inputs,
            steps,
            adamw([*compiled.parameters()]),
        )
    timer = Rounds(rivals)
    trainer = create_trainer(recipe, "attire", recipe.attributes.epochs, folder / "run", freeze_batch_norm=False)
    trainer.callbacks.append(timer)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data)
    return timer.seconds


if __name__ == "__main__":
    cyclopts.run(main)
