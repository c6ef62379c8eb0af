"""What `fill` refuses before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from attire.bundle import ModelBundle
from attire.errors import ConfigError, did_you_mean, shown
from attire.filling.shop_file import check_suffix
from attire.references.mapping import Mapping
from attire.references.mapping_check import load_complete_mapping
from attire.references.reference import Shop
from attire.score.promise import Promise
from attire.taxonomy import Taxonomy


def mapping_for(shop: Shop | None, path: str | Path | None) -> Mapping | None:
    """The mapping for a file that a shop imports; raises `ConfigError` if only one of the two is given."""
    if shop is not None and path is not None:
        return load_complete_mapping(Path(path), shop)
    if shop is not None:
        raise ConfigError(
            f"--as {shop} needs --mapping. Draft one: attire taxonomy map CATALOG --to {shop} --reference ..."
        )
    if path is not None:
        raise ConfigError("--mapping is for a file that a shop imports. Add --as shopify or --as google.")
    return None


def check_paths(
    feed: Path, outputs: Sequence[Path], images: Sequence[str | Path], shop: Shop | None, formats: Collection[str]
) -> None:
    """Raise `ConfigError` if the filled feed and its other files (`outputs`) could not be written."""
    if feed.suffix.lower() not in formats:
        raise ConfigError(
            f"{feed}: '{feed.suffix}' is not a feed format that can be filled{did_you_mean(feed.suffix, formats)} "
            f"Expected one of {', '.join(formats)}."
        )
    if shop is not None:
        check_suffix(outputs[0], shop)
    elif outputs[0].suffix.lower() != feed.suffix.lower():
        raise ConfigError(
            f"{outputs[0]}: a filled feed has the format of the feed. Expected a name that ends in {feed.suffix}."
        )
    inputs = [source for source in (feed, *images) if Path(source).exists()]
    for path in outputs:
        if path.is_dir():
            raise ConfigError(f"{path} is a directory. Expected a file to write.")
        if path.exists() and any(path.samefile(source) for source in inputs):
            raise ConfigError(f"{path} is also an input, which is never changed: choose another --out.")


def check_existing(out: Path, others: Sequence[Path], folder: Path) -> None:
    """Raise `ConfigError` if an output exists; `folder` shows that an interrupted run may have left the others."""
    for path in (out, *others):
        if path.exists() and (path == out or not folder.exists()):
            raise ConfigError(f"{path} exists. Replace it with --overwrite, or choose another --out.")


def check_promise(bundle: ModelBundle, promise: Promise) -> None:
    """Raise `ConfigError` for a bundle that cannot tell sure answers from others."""
    if not bundle.taxonomy.keys:
        raise ConfigError(f"{bundle.path} answers no attribute keys, so there is nothing to fill.")
    if bundle.calibration is None:
        raise ConfigError(
            f"{bundle.path} was not calibrated, so it cannot promise a precision, and no answer is sure enough to be "
            "filled. Train with a recipe that calibrates (folds = 2)."
        )
    bundle.thresholds(promise)  # raises an error for a promise that does not fit


def check_language(taxonomy: Taxonomy, language: str) -> None:
    """Raise `ConfigError` if there is no title in `language`; "" is no language."""
    if language and language not in taxonomy.languages:
        known = f"titles are in {', '.join(taxonomy.languages)}" if taxonomy.languages else "it has no titles"
        raise ConfigError(
            f"the taxonomy has no titles in the language '{shown(language)}': {known}. Add them to taxonomy.toml "
            f"([keys.NAME.titles.{shown(language)}]), and name it with --taxonomy, because a bundle keeps its own."
        )
