"""Trains one network: that of the bundle, or that of a fold."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from torch import nn

from attire.bundle import ModelBundle
from attire.config import Recipe
from attire.model.backbone import SCRATCH
from attire.model.last_stages import LastStages
from attire.model.multiscale import timm_model, training_format
from attire.model.network import Network, build_network
from attire.pixels.normalise import FromBytes
from attire.pixels.preprocess import Preprocess
from attire.taxonomy import Taxonomy
from attire.training.calibrate import Answers, collect_logits
from attire.training.data import StageData
from attire.training.module import StageModule, StageName
from attire.training.stage_folder import StageFolder
from attire.training.supervision import STAGES
from attire.training.trainer import create_trainer, first_process

logger = logging.getLogger(__name__)


class NetworkTraining:
    """Trains a network in place, stage by stage."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        taxonomy: Taxonomy,
        preprocess: Preprocess,
        data: StageData,
        *,
        freeze_batch_norm: bool,
        title: str = "",
    ) -> None:
        """`title` is the start of the title of each stage's progress."""
        self.network, self.recipe, self.taxonomy, self.data = network, recipe, taxonomy, data
        self.freeze_batch_norm, self.title = freeze_batch_norm, title
        # It takes the inputs of the examples: it is the network after normalisation, or only its heads.
        self.model = _trained_module(network, recipe, preprocess)

    def run(self, out: Path, stages: list[StageName]) -> dict[str, float]:
        """Train the stages that are not finished in `out`, load all results into the network, and return the scores."""
        scores: dict[str, float] = {}
        for name in STAGES:
            folder = StageFolder(out, name)
            if name in stages and not folder.finished:
                self._train_stage(name, folder)
            if folder.finished:
                scores |= folder.load_result(self.network)
        return scores

    def held_out_answers(self) -> list[Answers]:
        """Answers on the calibration products, in the first process."""
        if self.data.calibration is None or not first_process():
            return []
        return [collect_logits(self.model, self.data.calibration, self.data.workers)]

    def _train_stage(self, name: StageName, folder: StageFolder) -> None:
        """Train from the last checkpoint if there is one, and save the result."""
        recipe, model = self.recipe, self.model
        model.to(memory_format=training_format(timm_model(self.network.backbone)))  # type: ignore[call-overload]
        model.train()
        module = StageModule(model, self.network.heads, self.taxonomy, recipe, name, self.data.train.targets)
        trainer = create_trainer(
            recipe,
            f"{self.title}{name}",
            module.schedule.epochs,
            folder.path,
            freeze_batch_norm=self.freeze_batch_norm,
        )
        trainer.fit(module, datamodule=self.data, ckpt_path=folder.checkpoint(), weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        if first_process():
            metrics = trainer.callback_metrics
            folder.save_result(self.network, {name: float(metrics[name]) for name in metrics if name in module.figures})
        trainer.strategy.barrier()


def start_of_folds(network: Network, recipe: Recipe, taxonomy: Taxonomy, init_from: ModelBundle | None) -> Network:
    """A copy of the untrained network, for the networks of the folds to start from.

    The heads of another run have seen the labels of all folds, so they start anew. If its backbone was trained too, the
    answers of the folds are still a little too good, which is logged.
    """
    start = copy.deepcopy(network)
    if init_from is not None:
        renew_heads(start, recipe, taxonomy)
        if init_from.provenance.get("recipe", {}).get("trained_stages") != 0 and first_process():
            logger.warning(
                "%s has a trained backbone, which has seen the labels of calibration products too, so promised "
                "precisions are a little too good. attire evaluate on new products shows by how much.",
                init_from.path,
            )
    return start


def renew_heads(network: Network, recipe: Recipe, taxonomy: Taxonomy) -> None:
    """Give the network random heads."""
    new = build_network(
        recipe,
        taxonomy,
        SCRATCH,
        dropout=recipe.dropout,
        text_dropout=recipe.text_dropout,
        size_px=recipe.input_px,
    )
    network.heads.load_state_dict(new.heads.state_dict())


def _trained_module(network: Network, recipe: Recipe, preprocess: Preprocess) -> nn.Module:
    """What is trained of the network; it takes the inputs of the examples, see `RunData.examples`."""
    if recipe.trained_stages == "all":
        return FromBytes(network, preprocess, training_format(timm_model(network.backbone)))
    return LastStages(network, recipe.trained_stages, recipe.input_px) if recipe.trained_stages else network.heads
