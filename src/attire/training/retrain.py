"""Trains the heads of a bundle again, on its backbone as it is, with the labels that its catalog has by now."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ValidationError

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, Stage, load_recipe
from attire.errors import ConfigError
from attire.storage import storing
from attire.training.data import default_workers
from attire.training.folds import earlier_folds
from attire.training.network_training import renew_heads
from attire.training.run import Run, explain_memory

NAME = "learn"  # of the recipe
EPOCHS = 5  # of heads that have learned most labels already: as good as 20 from the start (docs/experiments.md)
LR = 1e-3  # the recipes' peak; at half of it new labels are learned too little
BATCH = 512  # on a CPU a third faster than 256
FOLDS = 3  # if the bundle was calibrated on a part that was set aside, which may have been learned since
logger = logging.getLogger(__name__)


def retrain(
    bundle: ModelBundle, catalog: Catalog, splits: Splits, out: Path, *, workers: int | None = None
) -> ModelBundle:
    """Train the heads of `bundle` on the train split, calibrate, and return the new bundle, which is `out`/bundle.

    The backbone stays as it is, so photos that are embedded in the catalog's cache cost nothing. If the folds of the
    run that made `bundle` lie beside it, they continue as well, each without the labels that it answers: then `EPOCHS`
    suffice, and the calibration is of networks that learned as long as the bundle's. Otherwise the heads of all
    networks begin anew, for as long as in the recipe `frozen`: heads that have seen all labels cannot calibrate, and
    those that learned for a shorter time are sure to another degree.

    Raises `ConfigError` for a bundle whose heads cannot be trained alone, or that does not fit the catalog's taxonomy.
    """
    folds = earlier_folds(bundle) if bundle.taxonomy.has_words_of(catalog.taxonomy) else ()
    if bundle.calibration and not folds:
        logger.warning(
            "the folds of the run that made %s are not beside it, or have other words, so all heads begin anew, which "
            "takes several times as long. The next time they continue.",
            bundle.path,
        )
    recipe = head_recipe(bundle, continued=bool(folds))
    workers = default_workers() if workers is None else workers
    with storing(out), explain_memory(recipe):
        run = Run.prepare(catalog, splits, recipe, None, bundle, workers, cache=False, earlier=folds)
        if not folds and recipe.folds:
            renew_heads(run.network, recipe, catalog.taxonomy)
        return run.train(out, "both", bundle, resume=False)


def head_recipe(bundle: ModelBundle, *, continued: bool) -> Recipe:
    """The recipe of the bundle for its heads alone; short if the folds of its run are `continued`."""
    try:
        recipe = Recipe.model_validate(bundle.provenance.get("recipe", {}))
    except ValidationError:
        raise ConfigError(
            f"{bundle.path} does not record a recipe that this attire knows, so its heads cannot be trained again. "
            "Train a bundle with attire train."
        ) from None
    if recipe.spatial or not bundle.spec.network.shared:
        reason = f'head = "{recipe.head}"' if recipe.spatial else "shared = false (two networks)"
        raise ConfigError(
            f"{bundle.path} was trained with {reason}, so its heads cannot be trained on cached embeddings. Train it "
            "again with attire train."
        )
    anew = load_recipe("frozen")
    short = Stage(epochs=EPOCHS, lr=LR), max(BATCH, recipe.batch_size)
    stage, batch_size = short if continued or not bundle.calibration else (anew.attributes, anew.batch_size)
    changes: dict[str, object] = {
        "name": NAME,
        "trained_stages": 0,
        "augment": "none",
        "views": 0,
        "amp": "off",
        "size_px": bundle.preprocess.size_px,
        "batch_size": batch_size,
        "calibration": 0.0,
        "folds": recipe.folds or (FOLDS if recipe.calibration else 0),
        "category": Stage(),
        "attributes": stage,
    }
    return recipe.model_copy(update=changes)
