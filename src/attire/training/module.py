"""One training stage as a Lightning module: losses, optimiser, schedule, and scores on val after each epoch."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from attire.config import Recipe, Stage
from attire.errors import ConfigError
from attire.labels import Targets
from attire.model.losses import balanced_weight, category_loss, create_loss
from attire.model.network import Heads, Logits
from attire.pixels import torchvision_ops  # noqa: F401
from attire.score.decisions import decide
from attire.score.metrics import headline, match
from attire.taxonomy import Taxonomy
from attire.training.data import Batch

import lightning as L  # isort: skip  (after ops)
from lightning.pytorch.utilities.types import OptimizerLRScheduler  # isort: skip
from timm.optim import param_groups_weight_decay  # isort: skip

StageName = Literal["category", "attributes"]
PLATEAU_PATIENCE = 1  # epochs without a better validation loss before the learning rate is halved


class StageModule(L.LightningModule):
    """Trains `model` (inputs of `Batch` -> `Logits`) for one stage of `recipe`.

    In stage `category` the loss is the class-weighted cross entropy of the category. In stage `attributes` it is the
    recipe's attribute loss, plus the category loss if one network answers both.
    """

    def __init__(
        self, model: nn.Module, heads: Heads, taxonomy: Taxonomy, recipe: Recipe, stage: StageName, train: Targets
    ) -> None:
        """`heads` is the submodule of `model` with the category layer and the attribute heads.

        `train`: the labels of the train split, from which losses compute class frequencies.
        """
        super().__init__()
        self.model, self.taxonomy, self.recipe, self.stage = model, taxonomy, recipe, stage
        self.learns_category = stage == "category" or recipe.shared
        self.learns_attributes = stage == "attributes"
        heads.category.requires_grad_(self.learns_category)
        for head in filter(None, (heads.attributes, heads.colour)):
            head.requires_grad_(self.learns_attributes)
        self.figures = ["category_accuracy", "category_f1"] if self.learns_category else []
        self.figures += ["attribute_iou", "macro_iou", "spurious_rate", "map"] if self.learns_attributes else []
        class_weight = balanced_weight(train.category, len(taxonomy.categories), recipe.balance)
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.class_weight: Tensor
        self.attribute_loss = create_loss(recipe, taxonomy, train)
        self._validated: list[tuple[Logits, Targets]] = []

    @property
    def schedule(self) -> Stage:
        """Length and learning rate of this stage."""
        stage: Stage = getattr(self.recipe, self.stage)
        return stage

    def loss(self, logits: Logits, targets: Targets) -> Tensor:
        """The stage's scalar loss."""
        loss = torch.zeros((), device=logits.category.device)
        if self.learns_category:
            loss = loss + category_loss(
                logits.category, targets.category, self.class_weight, self.recipe.label_smoothing
            )
        if self.learns_attributes:
            loss = loss + self.recipe.attribute_weight * self.attribute_loss(logits.attributes, targets)
        return loss

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        inputs, targets, *text = batch
        # Dropout uses the global generator. Seeding it per step makes a resumed run equal an uninterrupted one.
        torch.manual_seed(hash((self.recipe.seed, self.global_step, self.global_rank)))
        mixed = self.recipe.mixup > 0
        loss = self._mixed_loss(inputs, targets) if mixed else self.loss(self.model(inputs, *text), targets)
        self.log("loss", loss.detach())
        return loss

    def _mixed_loss(self, inputs: Tensor, targets: Targets) -> Tensor:
        """The loss of inputs that are each mixed with another one, as are their losses.

        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; on maps of a hidden layer, Verma et al.,
        "Manifold Mixup", ICML 2019.
        """
        alpha = torch.tensor(self.recipe.mixup)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        other = torch.randperm(len(inputs), device=inputs.device)
        logits = self.model(torch.lerp(inputs[other].float(), inputs.float(), share))
        others = Targets(*(column[other] for column in targets))
        return share * self.loss(logits, targets) + (1 - share) * self.loss(logits, others)

    def validation_step(self, batch: Batch, _index: int) -> None:
        inputs, targets, *text = batch
        logits: Logits = self.model(inputs, *text)
        self.log("val_loss", self.loss(logits, targets), batch_size=len(inputs), sync_dist=True)
        self._validated.append((Logits(*(x.float().cpu() for x in logits)), Targets(*(t.cpu() for t in targets))))

    def on_validation_epoch_end(self) -> None:
        logits, targets = (
            [np.concatenate(columns) for columns in zip(*batches, strict=True)]
            for batches in zip(*self._validated, strict=True)
        )
        self._validated.clear()
        if not all(np.isfinite(column).all() for column in logits):
            raise ConfigError(
                f"the training diverged: after epoch {self.current_epoch + 1} of stage '{self.stage}' its logits are "
                "NaN or infinite. Start again with a lower learning rate (--lr) and another --out."
            )
        truth = Targets(*targets)
        decisions = decide(self.taxonomy, self.recipe.decision, *logits)
        figures = headline(match(self.taxonomy, truth, decisions))
        self.log_dict({name: torch.tensor(figures[name], dtype=torch.float32) for name in self.figures}, sync_dist=True)
        if self.recipe.schedule == "plateau":
            scheduler = self.lr_schedulers()
            assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(self.trainer.callback_metrics["val_loss"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        groups = param_groups_weight_decay(self.model, self.recipe.weight_decay)  # norms and biases do not decay
        optimizer = kinds[self.recipe.optimizer](groups, lr=self.schedule.lr, betas=self.recipe.betas, fused=True)
        if self.recipe.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=PLATEAU_PATIENCE)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.recipe.warmup * steps)
        cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, _WarmupCosine(warmup, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, _metric: Any | None) -> None:
        # Lightning steps a plateau scheduler after saving the checkpoint, so a resumed run would miss the step. It is
        # done in `on_validation_epoch_end` instead.
        if self.recipe.schedule == "cosine":
            scheduler.step()


class _WarmupCosine:
    """Factor of the peak learning rate: a linear rise over `warmup` steps, then half a cosine down to zero."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps = warmup, steps

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)))
