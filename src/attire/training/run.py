"""A training run as a directory: one stage after the other, resumable at any point, ending in a bundle.

RUN/STAGE/stage.json             what is being trained, on what; checked when the run is resumed
RUN/STAGE/checkpoints/last.ckpt  after each epoch
RUN/STAGE/logs/                  metrics.csv, TensorBoard events
RUN/STAGE/network.safetensors    the stage's result; its presence says that the stage is finished
RUN/bundle/                      the model
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from attire.bundle import SPEC, ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, Stage, load_recipe
from attire.errors import ConfigError
from attire.files import read_json, replace_text, replacing
from attire.model.backbone import data_config, weights_digest
from attire.model.network import Network, build_backbone, build_network
from attire.pixels.normalise import FromBytes
from attire.pixels.photo_cache import fill
from attire.pixels.preprocess import Preprocess
from attire.score.calibration import PRECISION
from attire.storage import storing
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader
from attire.training.calibrate import calibrate, hold_out
from attire.training.data import Examples, Part, StageData, cache_px, default_workers
from attire.training.embeddings import catalog_embeddings
from attire.training.initial_weights import starting_network
from attire.training.module import StageModule, StageName
from attire.training.supervision import STAGES, stages_to_train, taught_by
from attire.training.trainer import CHECKPOINT, create_trainer, first_process

RESULT = "network.safetensors"
logger = logging.getLogger(__name__)


def train(
    catalog: Catalog | str | Path,
    splits: Splits | str | Path | None = None,
    *,
    recipe: str | Path | Recipe = "base",
    out: str | Path,
    stage: Literal["category", "attributes", "both"] = "both",
    weights: str | Path | None = None,
    start: ModelBundle | str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    cache: bool | None = None,
) -> ModelBundle:
    """Train `recipe` on the train split and return the bundle, which stands in `out`/bundle.

    `splits`: None for the one that is saved in the catalog.
    `weights`: None for timm's pretrained ones, "none" for random ones, or a safetensors file. `stage="category"` stops
    after the first stage, with a bundle that knows no keys; `stage="attributes"` goes on from there. `start` is a
    bundle of the same words and architecture to go on from; it knows the categories, so that stage is left out.
    `resume` continues an interrupted run as if it had not been interrupted. `workers` prepare photos, half the cores
    unless given. `cache`: photos come from the catalog's photo cache if there is one large enough (None), from one that
    is made if need be (True), or are decoded every time (False). Raises `ConfigError` where `out` holds another run,
    `CatalogError` where there is nothing to train on.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    workers = default_workers() if workers is None else workers
    catalog = Catalog.of(catalog)
    splits = Splits.of(splits, catalog)
    start = None if start is None else ModelBundle.of(start)
    with storing(Path(out)), _enough_memory(recipe):
        return _train(catalog, splits, recipe, Path(out), stage, weights, start, resume, workers, cache)


def _train(
    catalog: Catalog,
    splits: Splits,
    recipe: Recipe,
    out: Path,
    stage: Literal["category", "attributes", "both"],
    weights: str | Path | None,
    start: ModelBundle | None,
    resume: bool,
    workers: int,
    cache: bool | None,
) -> ModelBundle:
    torch.manual_seed(recipe.seed)
    network, origin = starting_network(recipe, catalog.taxonomy, weights, start)
    if start is not None:
        recipe = recipe.model_copy(update={"category": Stage()})
    photos_px = cache_px(catalog, recipe.size_px, cache) if recipe.train_backbone else None
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "weights": origin,
        "weights_sha256": weights_digest(network.backbone),
        "catalog": catalog.digest,
        "splits": splits.digest,
        "products": len(catalog),
        "photo_cache_px": photos_px,
    }
    if start is not None and (before := start.provenance.get("splits")) != splits.digest:
        logger.warning("%s was trained on another split: it may have learned from products of val", start.path)
        provenance["start_splits"] = before
    preprocess = Preprocess.for_backbone(data_config(network.backbone), recipe.size_px, recipe.fit)
    parts = _parts(catalog, splits, recipe)
    taught = taught_by(parts.train.targets, catalog.taxonomy, start)
    stages = stages_to_train(catalog, recipe, stage, taught, start)
    todo = _open(out, stages, provenance, resume)
    keyless = stage == "category" or not taught.keys.any()
    if not todo and stage != "category" and (out / "bundle" / SPEC).is_file():
        return ModelBundle.load(out / "bundle")
    if stage != "category" and first_process() and (remark := taught.remark(catalog.taxonomy)):
        logger.warning(remark)
    data = _data(catalog, parts, recipe, network, preprocess, workers, photos_px)
    model = FromBytes(network, preprocess) if recipe.train_backbone else network.heads
    scores: dict[str, float] = {}
    for name in STAGES:
        if name in todo:
            _train_stage(name, model, network, data, catalog.taxonomy, recipe, out, started=start is not None)
        if (out / name / RESULT).is_file():
            scores |= _load_result(out / name, network)
    taxonomy = catalog.taxonomy
    if keyless:
        network, taxonomy = _without_keys(network, taxonomy, recipe)
    elif not recipe.shared:
        network.category_backbone = build_backbone(recipe)
        _load_part(out / "category" / RESULT, "backbone.", network.category_backbone)
    if first_process():
        calibration = None
        if data.calibration is not None and taxonomy.keys:
            calibration = calibrate(model, data.calibration, taxonomy, recipe.decision, taught.keys, workers)
        architecture = recipe.architecture.model_copy(update={"shared": network.category_backbone is None})
        ModelBundle.save(
            out / "bundle",
            network,
            architecture,
            taxonomy=taxonomy,
            preprocess=preprocess,
            decision=recipe.decision,
            calibration=calibration,
            untaught=() if keyless else taught.missing(taxonomy),
            provenance=provenance | {"scored_on": _scored_on(splits, recipe)},
            scores=scores,
        )
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # nobody loads a bundle that the first process is still writing
    bundle = ModelBundle.load(out / "bundle")
    if first_process():
        bundle.check_precision(PRECISION)
    return bundle


@contextmanager
def _enough_memory(recipe: Recipe) -> Iterator[None]:
    """Raise `ConfigError` that says what takes less where a GPU or this machine has no more memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not told:
            raise
        height, width = recipe.size_px
        raise ConfigError(
            f"out of memory with batch_size={recipe.batch_size}, size_px=[{height}, {width}] and {recipe.backbone}: "
            "take a smaller --batch-size, --size-px or --backbone."
        ) from error


def _scored_on(splits: Splits, recipe: Recipe) -> str:
    read = "one photo each" if recipe.text == "none" else f"one photo and the {recipe.text} each"
    return f"{len(splits.val):,} products of the val split, {read}"


def _open(out: Path, stages: list[StageName], provenance: Mapping[str, Any], resume: bool) -> list[StageName]:
    """Record what each stage is going to train; returns the stages that are not finished.

    Raises `ConfigError` where `out` already holds the stage and we are not resuming, or holds it of another run.
    """
    if (
        stages == ["attributes"]
        and provenance["recipe"]["category"]["epochs"]
        and not (out / "category" / RESULT).is_file()
    ):
        raise ConfigError(
            f"{out} has no finished stage 'category' to go on from: run --stage category (or both) first."
        )
    for name in stages if first_process() else ():  # the others would find what the first one has just written
        record = out / name / "stage.json"
        if record.is_file() and not resume:
            raise ConfigError(f"{out} already holds a run: --resume continues it, another --out starts a new one.")
        if record.is_file():
            before = _before(record)
            changed = [
                f"  {field}: {before.get(field)} is now {value}"
                for field, value in provenance.items()
                if before.get(field) != value
            ]
            if changed:
                raise ConfigError(
                    f"{out} cannot be resumed, for it was started differently:\n" + "\n".join(changed) + "\n"
                    "  Give the options it was started with, or another --out."
                )
        else:
            try:
                record.parent.mkdir(parents=True, exist_ok=True)
                replace_text(record, json.dumps(provenance, indent=1))
            except OSError as error:
                raise ConfigError(f"cannot write to {out}: {error.strerror}. Choose another --out.") from None
    return [name for name in stages if not (out / name / RESULT).is_file()]


def _before(record: Path) -> dict[str, Any]:
    """What a stage was started with; raises `ConfigError` where that cannot be read."""
    try:
        before = read_json(record)
        if not isinstance(before, dict):
            raise ValueError("expected an object")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{record} cannot be read ({error}), so the run cannot be resumed: choose another --out."
        ) from None
    return before


class _Parts(NamedTuple):
    train: Part
    val: Part
    calibration: Part | None


def _parts(catalog: Catalog, splits: Splits, recipe: Recipe) -> _Parts:
    # By the split's seed, not the recipe's: what one run learns from, a run that starts from it must not calibrate on.
    learn, held = hold_out(catalog, splits.train, recipe.calibration, splits.seed)
    reader = TitleReader.of(recipe)
    return _Parts(
        Part(catalog, learn, "train", reader),
        Part(catalog, splits.val, "val", reader),
        Part(catalog, held, "calibration", reader) if held else None,
    )


def _data(
    catalog: Catalog,
    parts: _Parts,
    recipe: Recipe,
    network: Network,
    preprocess: Preprocess,
    workers: int,
    photos_px: int | None,
) -> StageData:
    cache = fill(catalog, photos_px) if photos_px else None
    embeddings = (
        None if recipe.train_backbone else catalog_embeddings(catalog, network, recipe.backbone, preprocess, workers)
    )

    def examples(part: Part, augment: str) -> Examples:
        if embeddings is not None:
            return part.embedding_examples(embeddings)
        return part.photo_examples(preprocess, augment, cache)

    train, val = examples(parts.train, recipe.augment), examples(parts.val, "none")
    held = None if parts.calibration is None else examples(parts.calibration, "none")
    return StageData(train, val, held, recipe, workers)


def _train_stage(
    name: StageName,
    model: nn.Module,
    network: Network,
    data: StageData,
    taxonomy: Taxonomy,
    recipe: Recipe,
    out: Path,
    *,
    started: bool,
) -> None:
    """Fit `network` in place, from the last checkpoint if there is one, and write the stage's result.

    `model` is what takes the inputs of `data`: the network behind normalisation, or its heads alone.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = StageModule(model, network.heads, taxonomy, recipe, name, data.train.targets)
    trainer = create_trainer(recipe, name, module.schedule.epochs, out / name, started=started)
    checkpoint = _checked(out / name / "checkpoints" / CHECKPOINT)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if first_process():
        scores = {
            figure: float(value) for figure, value in trainer.callback_metrics.items() if figure in module.figures
        }
        state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
        with replacing(out / name / RESULT) as temporary:
            save_file(state, temporary, metadata={"scores": json.dumps(scores)})
    trainer.strategy.barrier()


def _checked(checkpoint: Path) -> Path | None:
    """The checkpoint, None where there is none yet; raises `ConfigError` for a damaged one."""
    if not checkpoint.is_file():
        return None
    try:
        torch.load(checkpoint, weights_only=True, mmap=True)  # mapped: its directory is read, and no weights
    except Exception as error:  # torch has no common base for what a damaged file is
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{checkpoint} is damaged ({reason}): delete it to train its stage from the start.") from None
    return checkpoint


def _load_result(folder: Path, network: Network) -> dict[str, float]:
    """Fill `network` with what the stage in `folder` arrived at; returns its figures on val."""
    _load_part(folder / RESULT, "", network)
    with safe_open(folder / RESULT, framework="pt") as file:
        scores: dict[str, float] = json.loads((file.metadata() or {}).get("scores", "{}"))
    return scores


def _load_part(result: Path, prefix: str, module: nn.Module) -> None:
    try:
        state = {key.removeprefix(prefix): value for key, value in load_file(result).items() if key.startswith(prefix)}
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{result} is damaged ({error}): delete it and --resume to train its stage again.") from None
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"{result} is of another network than this recipe and catalog make: {error}") from None


def _without_keys(network: Network, taxonomy: Taxonomy, recipe: Recipe) -> tuple[Network, Taxonomy]:
    """A network that has learned categories only, and a taxonomy that asks it for nothing else."""
    no_keys = Taxonomy(categories=taxonomy.categories, category_aliases=taxonomy.category_aliases, keys={})
    bare = build_network(recipe, no_keys)
    bare.backbone, bare.heads.trunk, bare.heads.category = network.backbone, network.heads.trunk, network.heads.category
    bare.heads.text = network.heads.text
    return bare, no_keys
