"""Training runs: the stages of a recipe, one after the other, resumable after each epoch, ending in a bundle.

RUN/STAGE/stage.json             recipe and data; checked when the run is resumed
RUN/STAGE/checkpoints/last.ckpt  after each epoch
RUN/STAGE/logs/                  metrics.csv, TensorBoard events
RUN/STAGE/network.safetensors    the stage's result; exists once the stage is finished
RUN/bundle/                      the model
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from attire.bundle import SPEC, ModelBundle
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, Stage, load_recipe
from attire.errors import ConfigError
from attire.files import locked
from attire.learned import Learned
from attire.model.backbone import SCRATCH, data_config, weights_digest
from attire.model.last_stages import LastStages
from attire.model.network import Network, build_backbone, build_network
from attire.pixels.normalise import FromBytes
from attire.pixels.preprocess import Preprocess
from attire.score.promise import PRECISION
from attire.storage import storing
from attire.taxonomy import Taxonomy
from attire.training.calibrate import Answers, calibrate, collect_logits
from attire.training.data import Parts, RunData, default_workers
from attire.training.initial_weights import initial_network
from attire.training.module import StageModule, StageName
from attire.training.stage_folder import StageFolder
from attire.training.supervision import STAGES, Taught, stages_to_train, taught_by
from attire.training.trainer import create_trainer, first_process

logger = logging.getLogger(__name__)


def train(
    catalog: Catalog | str | Path,
    splits: Splits | str | Path | None = None,
    *,
    recipe: str | Path | Recipe = "tuned",
    out: str | Path,
    stage: Literal["category", "attributes", "both"] = "both",
    weights: str | Path | None = None,
    init_from: ModelBundle | str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    cache: bool | None = None,
) -> ModelBundle:
    """Train `recipe` on the train split and return the bundle, which is saved to `out`/bundle.

    splits: by default those saved in the catalog. weights: None for timm's pretrained ones, "none" for random ones, or
    a safetensors file. stage: "category" stops after the first stage, with a bundle that answers no keys; "attributes"
    continues from there. init_from: a bundle of the same taxonomy and architecture to start from; it was trained on
    categories, so that stage is skipped. resume: continue an interrupted run; the result equals that of an
    uninterrupted one. workers: processes that prepare photos, by default one for every two cores. cache: use the
    catalog's photo cache if it is large enough (None), create it if needed (True), or decode photos every time (False).

    Raises `ConfigError` if `out` contains another run, and `CatalogError` if there are no labels to train on.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    catalog = Catalog.of(catalog)
    init_from = None if init_from is None else ModelBundle.of(init_from)
    if init_from is not None:
        recipe = recipe.model_copy(update={"category": Stage()})
    with storing(Path(out)), _explain_memory(recipe):
        run = _Run.prepare(
            catalog,
            Splits.of(splits, catalog),
            recipe,
            weights,
            init_from,
            default_workers() if workers is None else workers,
            cache,
        )
        return run.train(Path(out), stage, init_from, resume)


@dataclass(slots=True)
class _Run:
    """A network and its training data. `learned` and `provenance` are recorded in the bundle.

    learned: None if the run starts from a bundle that does not record what it learned from.
    """

    recipe: Recipe
    splits: Splits
    data: RunData
    network: Network
    preprocess: Preprocess
    learned: Learned | None
    provenance: dict[str, Any]

    @classmethod
    def prepare(
        cls,
        catalog: Catalog,
        splits: Splits,
        recipe: Recipe,
        weights: str | Path | None,
        init_from: ModelBundle | None,
        workers: int,
        cache: bool | None,
    ) -> _Run:
        torch.manual_seed(recipe.seed)
        network, origin = initial_network(recipe, catalog.taxonomy, weights, init_from)
        data = RunData.of(catalog, splits, recipe, cache, workers)
        provenance = {
            "recipe": recipe.model_dump(mode="json"),
            "weights": origin,
            "weights_sha256": weights_digest(network.backbone),
            "catalog": catalog.digest,
            "splits": splits.digest,
            "products": len(catalog),
            "photo_cache_px": data.photos_px,
        }
        learned: Learned | None = data.learned
        if init_from is not None:
            if (earlier := init_from.provenance.get("splits")) != splits.digest:
                provenance["start_splits"] = earlier
                _tell_learned(init_from, catalog, splits)
            learned = None if init_from.learned is None else data.learned | init_from.learned
        preprocess = Preprocess.for_backbone(data_config(network.backbone), recipe.size_px, recipe.fit)
        return cls(recipe, splits, data, network, preprocess, learned, provenance)

    def train(
        self,
        out: Path,
        stage: Literal["category", "attributes", "both"],
        init_from: ModelBundle | None,
        resume: bool,
    ) -> ModelBundle:
        """Train the stages that are not finished in `out`, calibrate, and save the bundle."""
        taught = taught_by(self.data.whole.train.targets, self.data.catalog.taxonomy, init_from)
        stages = stages_to_train(self.data.catalog, self.recipe, stage, taught, init_from)
        with _only_run(out):
            return self._train_stages(out, stage, stages, taught, init_from, resume)

    def _train_stages(
        self,
        out: Path,
        stage: Literal["category", "attributes", "both"],
        stages: list[StageName],
        taught: Taught,
        init_from: ModelBundle | None,
        resume: bool,
    ) -> ModelBundle:
        catalog, recipe, network = self.data.catalog, self.recipe, self.network
        todo = _begin(out, stages, self.provenance, resume)
        path = out / "bundle"
        if not todo and stage != "category" and (path / SPEC).is_file():
            return ModelBundle.load(path)
        if stage != "category" and first_process() and (remark := taught.remark(catalog.taxonomy)):
            logger.warning(remark)
        only_category = stage == "category" or not taught.keys.any()
        start = None if only_category or not self.data.folds else _start_of_folds(network, recipe, init_from)
        training = _Training(self, network, self.data.whole, init_from is not None)
        scores = training.run(out, stages)
        answers = [] if only_category else self._answers(training, start, out, stages)
        taxonomy = catalog.taxonomy
        if only_category:
            network, taxonomy = _without_keys(network, taxonomy, recipe)
        elif not recipe.shared:
            network.category_backbone = build_backbone(recipe)
            StageFolder(out, "category").load_result(network.category_backbone, prefix="backbone.")
        if first_process():
            labels = self.data.whole.train.targets
            ModelBundle.save(
                path,
                network,
                recipe.architecture.model_copy(update={"shared": network.category_backbone is None}),
                taxonomy=taxonomy,
                preprocess=self.preprocess,
                decision=recipe.decision,
                fitted=calibrate(answers, labels, taxonomy, recipe.decision, taught.keys) if answers else None,
                untaught=() if only_category else taught.missing(taxonomy),
                learned=self.learned,
                provenance=self.provenance | {"scored_on": self._scored_on()},
                scores=scores,
            )
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # wait until the first process has written the bundle
        bundle = ModelBundle.load(path)
        if first_process():
            bundle.check_promise(PRECISION)
        return bundle

    def _answers(self, whole: _Training, start: Network | None, out: Path, stages: list[StageName]) -> list[Answers]:
        """Answers on products that a network was not trained on; none if the recipe has no calibration.

        start: what the networks of the folds start from.
        """
        if start is None:
            return whole.held_out_answers()
        answers = []
        for number, parts in enumerate(self.data.folds, 1):
            title = f"fold {number} of {len(self.data.folds)}: "
            fold = _Training(self, copy.deepcopy(start), parts, whole.freeze_batch_norm, title)
            folder = out / f"fold-{number}"
            if first_process():
                for name in stages:
                    StageFolder(folder, name).begin(self.provenance, resume=True)
            fold.run(folder, stages)
            answers += fold.held_out_answers()
        return answers

    def _scored_on(self) -> str:
        inputs = "one photo each" if self.recipe.text == "none" else f"one photo and the {self.recipe.text} each"
        return f"{len(self.splits.val):,} products of the val split, {inputs}"


class _Training:
    """Trains a network on some of the products of a run, in place."""

    def __init__(self, run: _Run, network: Network, parts: Parts, freeze_batch_norm: bool, title: str = "") -> None:
        """`title` is the start of the title of each stage's progress."""
        self.recipe, self.taxonomy, self.network, self.title = run.recipe, run.data.catalog.taxonomy, network, title
        self.freeze_batch_norm, self.workers = freeze_batch_norm, run.data.workers
        # It takes the inputs of the examples: it is the network after normalisation, or only its heads.
        self.model = _trained_module(network, run.recipe, run.preprocess)
        self.data = run.data.examples(network, run.preprocess, parts)

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
        return [collect_logits(self.model, self.data.calibration, self.workers)]

    def _train_stage(self, name: StageName, folder: StageFolder) -> None:
        """Train from the last checkpoint if there is one, and save the result."""
        recipe, model = self.recipe, self.model
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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


def _start_of_folds(network: Network, recipe: Recipe, init_from: ModelBundle | None) -> Network:
    """A copy of the untrained network. The heads of another run have seen the labels of all folds, so they start anew;
    if its backbone was trained too, the folds' answers are still a little too good."""
    start = copy.deepcopy(network)
    if init_from is not None:
        new = build_network(
            recipe, init_from.taxonomy, SCRATCH, dropout=recipe.dropout, text_dropout=recipe.text_dropout
        )
        start.heads.load_state_dict(new.heads.state_dict())
        if init_from.provenance.get("recipe", {}).get("trained_stages") != 0 and first_process():
            logger.warning(
                "%s has a trained backbone, which has seen the labels of calibration products too, so promised "
                "precisions are a little too good. attire evaluate on new products shows by how much.",
                init_from.path,
            )
    return start


def _trained_module(network: Network, recipe: Recipe, preprocess: Preprocess) -> nn.Module:
    """What is trained of the network; it takes the inputs of the examples, see `RunData.examples`."""
    if recipe.trained_stages == "all":
        return FromBytes(network, preprocess)
    return LastStages(network, recipe.trained_stages, recipe.size_px) if recipe.trained_stages else network.heads


def _tell_learned(start: ModelBundle, catalog: Catalog, splits: Splits) -> None:
    """Warn if the run starts from a bundle that has, or may have, seen products of val."""
    if start.learned is None:
        logger.warning(
            "%s was trained on another split, perhaps on products of val, so scores on val may be too high", start.path
        )
    elif count := int(in_learned_groups(catalog, start.learned)[catalog.rows_of(splits.val)].sum()):
        logger.warning(
            "%s learned from the groups of %s products of val, so scores on val during training are too high. "
            "attire evaluate leaves these products out.",
            start.path,
            f"{count:,}",
        )


def _begin(out: Path, stages: list[StageName], provenance: dict[str, Any], resume: bool) -> list[StageName]:
    """Record what each stage trains; returns the stages that are not finished.

    Raises `ConfigError` if `out` contains another run, or lacks the preceding stage.
    """
    if (
        stages == ["attributes"]
        and provenance["recipe"]["category"]["epochs"]
        and not StageFolder(out, "category").finished
    ):
        raise ConfigError(f"{out} has no finished stage 'category' to continue from: run --stage category (or both).")
    if first_process():  # others would take its records for those of an earlier run
        for name in stages:
            StageFolder(out, name).begin(provenance, resume)
    return [name for name in stages if not StageFolder(out, name).finished]


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    """Raise `ConfigError` if another run is writing to `out`. Of several processes of one run, the first one checks."""
    if not first_process():
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    busy = f"another attire train is writing to {out}: wait, or choose another --out."
    with locked(out / ".lock", ConfigError(busy)):
        yield


@contextmanager
def _explain_memory(recipe: Recipe) -> Iterator[None]:
    """Turn an out-of-memory error into a `ConfigError` that names the options to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        height, width = recipe.size_px
        raise ConfigError(
            f"out of memory with batch_size={recipe.batch_size}, size_px=[{height}, {width}] and {recipe.backbone}: "
            "use a smaller --batch-size, --size-px or --backbone."
        ) from error


def _without_keys(network: Network, taxonomy: Taxonomy, recipe: Recipe) -> tuple[Network, Taxonomy]:
    """The network and taxonomy of a run that was trained on categories only."""
    no_keys = Taxonomy(categories=taxonomy.categories, category_aliases=taxonomy.category_aliases, keys={})
    bare = build_network(recipe, no_keys)
    bare.backbone, bare.heads.trunk, bare.heads.category = network.backbone, network.heads.trunk, network.heads.category
    bare.heads.text = network.heads.text
    return bare, no_keys
