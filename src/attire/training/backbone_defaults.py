"""What a recipe leaves to the backbone: the size of photos, and which features are pooled."""

from __future__ import annotations

import logging

from attire.bundle import ModelBundle
from attire.config import Recipe
from attire.model.backbone import check_name
from attire.model.input_size import blueprint, nearest_size, own_size, patch_size
from attire.model.multiscale import default_pooling
from attire.model.presets import timm_name
from attire.training.trainer import first_process

logger = logging.getLogger(__name__)


def with_backbone_defaults(recipe: Recipe, init_from: ModelBundle | None = None) -> Recipe:
    """`recipe` with timm's name of its backbone, a size in whole patches, and a pooling that is not "auto".

    The size "auto" is that of the bundle `init_from`, or of the photos that the backbone was trained on. A size that is
    not made of whole patches is rounded, with a warning. Raises `ConfigError` for an unknown backbone.
    """
    name = timm_name(recipe.backbone)
    check_name(name)
    backbone = blueprint(name)
    if recipe.size_px != "auto":
        wanted = recipe.size_px
    else:
        wanted = own_size(backbone) if init_from is None else init_from.preprocess.size_px
    size_px = nearest_size(backbone, wanted)
    if size_px != wanted and first_process():
        height, width = patch_size(backbone)
        logger.warning(
            "%s divides photos into patches of %s x %s px, so size_px=%s is rounded to %s.",
            recipe.backbone,
            height,
            width,
            list(wanted),
            list(size_px),
        )
    pooling = default_pooling(backbone) if recipe.pooling == "auto" else recipe.pooling
    return recipe.model_copy(update={"backbone": name, "size_px": size_px, "pooling": pooling})
