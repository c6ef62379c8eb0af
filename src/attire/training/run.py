"""Training runs: the stages of a recipe, one after the other, resumable after each epoch, ending in a bundle.

RUN/STAGE/stage.json             recipe and data; checked when the run is resumed
RUN/STAGE/checkpoints/last.ckpt  after each epoch
RUN/STAGE/logs/                  metrics.csv, TensorBoard events
RUN/STAGE/network.safetensors    the stage's result; exists once the stage is finished
RUN/fold-N/                      the network that answers the fold N; what it learned is in learned.safetensors
RUN/bundle/                      the model
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from attire.bundle import SPEC, ModelBundle
from attire.catalog.learned_groups import in_learned_groups
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, Stage, load_recipe
from attire.errors import ConfigError
from attire.files import locked
from attire.learned import Learned
from attire.model.backbone import weights_digest
from attire.model.input_size import data_config
from attire.model.network import Network, build_backbone, build_network
from attire.model.presets import terms
from attire.pixels.preprocess import Preprocess
from attire.score.promise import PRECISION
from attire.storage import storing
from attire.taxonomy import Taxonomy
from attire.training.backbone_defaults import with_backbone_defaults
from attire.training.calibrate import calibrate
from attire.training.data import RunData, default_workers
from attire.training.fold_answers import fold_answers
from attire.training.folds import EarlierFold
from attire.training.initial_weights import initial_network, weights_licence
from attire.training.key_training import train_keys
from attire.training.module import StageName
from attire.training.network_training import NetworkTraining, start_of_folds
from attire.training.stage_folder import StageFolder
from attire.training.supervision import Taught, stages_to_train, taught_by
from attire.training.trainer import first_process

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
    only_keys: Sequence[str] = (),
    resume: bool = False,
    workers: int | None = None,
    cache: bool | None = None,
) -> ModelBundle:
    """Train `recipe` on the train split and return the bundle, which is saved to `out`/bundle.

    splits: by default those saved in the catalog. weights: None for timm's pretrained ones, "none" for random ones, or
    a safetensors file. stage: "category" stops after the first stage, with a bundle that answers no keys; "attributes"
    continues from there. init_from: a bundle of the same architecture to start from, whose weights are carried over by
    the names of words; it was trained on categories, so that stage is skipped. only_keys: train only the heads of these
    keys, on the frozen rest of `init_from`, in seconds if its embeddings are cached; the recipe is that of the bundle,
    and its answers on other keys stay as they are. resume: continue an interrupted run; the result equals that of an
    uninterrupted one. workers: processes that prepare photos, by default one for every two cores. cache: use the
    catalog's photo cache if it is large enough (None), create it if needed (True), or decode photos every time (False).

    Raises `ConfigError` if `out` contains another run, and `CatalogError` if there are no labels to train on.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    catalog = Catalog.of(catalog)
    init_from = None if init_from is None else ModelBundle.of(init_from)
    workers = default_workers() if workers is None else workers
    if only_keys:
        if init_from is None or weights is not None or stage != "both" or resume:
            raise ConfigError(
                "--only-keys trains heads on the frozen rest of a bundle: name it with --init-from, and leave out "
                "--weights, --stage and --resume."
            )
        return _train_only(catalog, Splits.of(splits, catalog), init_from, only_keys, Path(out), workers)
    if init_from is not None:
        recipe = recipe.model_copy(update={"category": Stage()})
    recipe = with_backbone_defaults(recipe, init_from)
    with storing(Path(out)), explain_memory(recipe):
        run = Run.prepare(
            catalog,
            Splits.of(splits, catalog),
            recipe,
            weights,
            init_from,
            workers,
            cache,
        )
        return run.train(Path(out), stage, init_from, resume)


def _train_only(
    catalog: Catalog, splits: Splits, start: ModelBundle, keys: Sequence[str], out: Path, workers: int
) -> ModelBundle:
    with storing(out), _only_run(out):
        if (path := out / "bundle").exists():
            raise ConfigError(f"{path} exists already: choose another --out.")
        if start.provenance.get("splits") != splits.digest:
            _tell_learned(start, catalog, splits)
        bundle = train_keys(catalog, splits, start, keys, path, workers)
        bundle.check_promise(PRECISION)
        return bundle


@dataclass(slots=True)
class Run:
    """A network and its training data. `learned`, `licence` and `provenance` are recorded in the bundle.

    learned: None if the run starts from a bundle that does not record what it learned from. licence: that of the
    pretrained weights. earlier: the folds that those of the run continue; none if they begin with new heads.
    """

    recipe: Recipe
    splits: Splits
    data: RunData
    network: Network
    preprocess: Preprocess
    learned: Learned | None
    licence: str
    provenance: dict[str, Any]
    earlier: Sequence[EarlierFold] = ()

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
        earlier: Sequence[EarlierFold] = (),
    ) -> Run:
        torch.manual_seed(recipe.seed)
        network, origin = initial_network(recipe, catalog.taxonomy, weights, init_from)
        data = RunData.of(catalog, splits, recipe, cache, workers, earlier)
        provenance = {
            "recipe": recipe.model_dump(mode="json"),
            "weights": origin,
            "weights_sha256": weights_digest(network.backbone),
            "catalog": catalog.digest,
            "splits": splits.digest,
            "products": len(catalog),
            "variety": _variety(catalog, splits),
            "photo_cache_px": data.photos_px,
        }
        learned: Learned | None = data.learned
        if init_from is not None:
            if (start_splits := init_from.provenance.get("splits")) != splits.digest:
                provenance["start_splits"] = start_splits
                _tell_learned(init_from, catalog, splits)
            learned = None if init_from.learned is None else data.learned | init_from.learned
        preprocess = Preprocess.for_backbone(data_config(network.backbone), recipe.input_px, recipe.fit)
        licence = weights_licence(recipe, weights, init_from)
        if first_process() and (remark := terms(licence)):
            logger.warning("The weights of %s have the licence %s: %s.", recipe.backbone, licence, remark)
        return cls(recipe, splits, data, network, preprocess, learned, licence, provenance, earlier)

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
        start = self._start_of_folds(init_from) if self.data.folds and not only_category else None
        training = NetworkTraining(
            network,
            recipe,
            catalog.taxonomy,
            self.preprocess,
            self.data.examples(network, self.preprocess, self.data.whole),
            freeze_batch_norm=init_from is not None,
        )
        scores = training.run(out, stages)
        answers = (
            training.held_out_answers()
            if start is None
            else fold_answers(
                self.data,
                start,
                self.preprocess,
                self.provenance,
                out,
                earlier=self.earlier,
                freeze_batch_norm=init_from is not None,
            )
        )
        taxonomy = catalog.taxonomy
        if only_category:
            network, taxonomy = _without_keys(network, taxonomy, recipe)
        elif not recipe.shared:
            network.category_backbone = build_backbone(recipe, size_px=recipe.input_px)
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
                fitted=(
                    calibrate(answers, labels, taxonomy, recipe.decision, taught.keys)
                    if answers and taxonomy.keys
                    else None
                ),
                untaught=() if only_category else taught.missing(taxonomy),
                learned=self.learned,
                provenance=self.provenance | {"scored_on": self._scored_on(), "weights_licence": self.licence},
                scores=scores,
            )
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # wait until the first process has written the bundle
        bundle = ModelBundle.load(path)
        if first_process():
            bundle.check_promise(PRECISION)
        return bundle

    def _start_of_folds(self, init_from: ModelBundle | None) -> Network:
        if self.earlier:  # their results replace all weights
            return copy.deepcopy(self.network)
        return start_of_folds(self.network, self.recipe, self.data.catalog.taxonomy, init_from)

    def _scored_on(self) -> str:
        inputs = "one photo each" if self.recipe.text == "none" else f"one photo and the {self.recipe.text} each"
        return f"{len(self.splits.val):,} products of the val split, {inputs}"


def _variety(catalog: Catalog, splits: Splits) -> float:
    """How many independent products each product of train is worth, if products of a group are alike (Kish, 1965)."""
    sizes = catalog.products["group"].gather(catalog.rows_of(splits.train)).value_counts()["count"].to_numpy()
    return round(float(sizes.sum() / (sizes**2).sum()), 4) if len(sizes) else 1.0


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
def explain_memory(recipe: Recipe) -> Iterator[None]:
    """Turn an out-of-memory error into a `ConfigError` that names the options to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory with batch_size={recipe.batch_size}, size_px={list(recipe.input_px)} and "
            f"{recipe.backbone}: use a smaller --batch-size, --size-px or --backbone."
        ) from error


def _without_keys(network: Network, taxonomy: Taxonomy, recipe: Recipe) -> tuple[Network, Taxonomy]:
    """The network and taxonomy of a run that was trained on categories only."""
    no_keys = Taxonomy(categories=taxonomy.categories, category_aliases=taxonomy.category_aliases, keys={})
    bare = build_network(recipe, no_keys, size_px=recipe.input_px)
    bare.backbone, bare.heads.trunk, bare.heads.category = network.backbone, network.heads.trunk, network.heads.category
    bare.heads.text = network.heads.text
    return bare, no_keys
