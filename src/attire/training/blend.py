"""`attire blend`: one bundle that answers with the mean of several, whose answers to the folds calibrate it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.errors import ConfigError
from attire.labels import Targets
from attire.model.backbone import weights_digest
from attire.model.blend import blend_networks, blended_architecture
from attire.model.network import Network
from attire.model.presets import UNKNOWN
from attire.score.decisions import decide
from attire.score.metrics import headline, match
from attire.score.promise import PRECISION
from attire.storage import storing
from attire.training.calibrate import Answers, calibrate, collect_logits
from attire.training.data import Parts, RunData, default_workers
from attire.training.folds import earlier_folds
from attire.training.network_training import NetworkTraining

NAME = "blend"  # of the recipe
SHARED = ("catalog", "splits", "products", "variety", "scored_on")  # of what the bundles record


def blend(
    bundles: Sequence[ModelBundle | str | Path],
    catalog: Catalog | str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
) -> ModelBundle:
    """Blend bundles that were trained on the same split of `catalog`, and return the result, which is `out`/bundle.

    Its logits are the mean of theirs, so it takes as long as all of them together, but decodes each photo once. They
    are calibrated on the mean of what the networks of the folds answered to products that they did not learn, so the
    folds of each run (RUN/fold-N) must lie beside its bundle. Photos and embeddings in the catalog's cache are used.

    Raises `ConfigError` for fewer than two bundles, if `out` has a bundle, and for bundles that cannot be blended: of
    other catalogs or splits, without folds, with another size or framing of photos, or another kind of heads.
    """
    parts = [ModelBundle.of(bundle) for bundle in bundles]
    catalog, out = Catalog.of(catalog), Path(out)
    if len(parts) < 2:
        raise ConfigError("a blend needs two bundles or more.")
    if (path := out / "bundle").exists():
        raise ConfigError(f"{path} exists already: choose another --out.")
    splits = Splits.load(catalog)
    for part in parts:
        _check(part, parts[0], {"catalog": catalog.digest, "splits": splits.digest})
    architecture = blended_architecture([part.spec.network for part in parts])
    first, taxonomy, preprocess = parts[0], catalog.taxonomy, parts[0].preprocess
    workers = default_workers() if workers is None else workers
    with storing(out):
        network = blend_networks([part.network for part in parts], architecture, taxonomy, preprocess.size_px)
        members = [_Member.of(part, catalog, splits, workers) for part in parts]
        learned, untaught = first.learned, set(first.spec.untaught)
        for part in parts[1:]:
            learned = None if learned is None or part.learned is None else learned | part.learned
            untaught |= set(part.spec.untaught)
        fitted = calibrate(
            [_mean([member.folds for member in members])],
            members[0].labels,
            taxonomy,
            first.decision,
            np.array([key not in untaught for key in taxonomy.keys]),
        )
        recipes = [_recipe(part) for part in parts]
        trained = next((recipe for recipe in recipes if recipe.trained_stages != 0), recipes[0])
        bundle = ModelBundle.save(
            path,
            network,
            architecture,
            taxonomy=taxonomy,
            preprocess=preprocess,
            decision=first.decision,
            fitted=fitted,
            untaught=tuple(key for key in taxonomy.keys if key in untaught),
            learned=learned,
            provenance={name: first.provenance[name] for name in SHARED if name in first.provenance}
            | {
                "recipe": trained.model_copy(update=dict(architecture) | {"name": NAME}).model_dump(mode="json"),
                "weights": " and ".join(f"bundle {part.digest}" for part in parts),
                "weights_sha256": weights_digest(network.backbone),
                "weights_licence": " and ".join(
                    dict.fromkeys(part.provenance.get("weights_licence", UNKNOWN) for part in parts)
                ),
                "blend": [part.provenance for part in parts],
            },
            scores=_scores(first, _mean([member.val for member in members])),
        )
    bundle.check_promise(PRECISION)
    return bundle


def _check(part: ModelBundle, first: ModelBundle, expected: dict[str, str]) -> None:
    """Raise `ConfigError` if `part` cannot be blended with the bundle `first` for the `expected` catalog and splits."""
    for name, digest in expected.items():
        if part.provenance.get(name) != digest:
            raise ConfigError(
                f"{part.path} was trained on another state of the {name} than the catalog has now. Train all bundles "
                "of a blend on the same one."
            )
    ours, theirs = (
        bundle.preprocess.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}) for bundle in (part, first)
    )
    if ours != theirs:
        raise ConfigError(
            f"{part.path} takes photos of {_photos(part)}, but {first.path} those of {_photos(first)}. Train all "
            "bundles of a blend with the same --size-px and fit, on backbones with the same interpolation."
        )
    if part.spec.layout:
        raise ConfigError(f"{part.path} has keys that were added with --only-keys: blend first, and add them then.")
    if part.decision != first.decision:
        raise ConfigError(f"{part.path} has another decision rule than {first.path}.")
    if not earlier_folds(part):
        raise ConfigError(
            f"the folds of the run that made {part.path} are not beside it (fold-1, fold-2, …), so the blend could not "
            "be calibrated. Give the bundle in its run's folder, trained with --set folds=2 or more."
        )


def _photos(bundle: ModelBundle) -> str:
    height, width = bundle.preprocess.size_px
    return f"{height} x {width} px ({bundle.preprocess.fit}, {bundle.preprocess.interpolation})"


def _recipe(bundle: ModelBundle) -> Recipe:
    try:
        return Recipe.model_validate(bundle.provenance.get("recipe", {}))
    except ValidationError:
        raise ConfigError(f"{bundle.path} does not record a recipe that this attire knows: train it again.") from None


class _Numbered(NamedTuple):
    """Answers, and the products that they are about."""

    ids: list[str]
    answers: Answers


class _Member(NamedTuple):
    """What a bundle of the blend answers.

    labels: those that it learned; val: its answers to val; folds: answers to the products of train, each of the network
    of the fold that has not learned its group.
    """

    labels: Targets
    val: _Numbered
    folds: _Numbered

    @classmethod
    def of(cls, bundle: ModelBundle, catalog: Catalog, splits: Splits, workers: int) -> _Member:
        recipe, folds = _recipe(bundle), earlier_folds(bundle)
        data = RunData.of(catalog, splits, recipe, None, workers, folds)
        assert data.val is not None

        def training_of(network: Network, parts: Parts) -> NetworkTraining:
            examples = data.examples(network, bundle.preprocess, parts)
            return NetworkTraining(
                network, recipe, catalog.taxonomy, bundle.preprocess, examples, freeze_batch_norm=False
            )

        whole = training_of(copy.deepcopy(bundle.network), data.whole)
        val = _Numbered(data.val.ids, collect_logits(whole.model, whole.data.val, workers))
        ids: list[str] = []
        answers: list[Answers] = []
        for fold, parts in zip(folds, data.folds, strict=True):
            network = copy.deepcopy(bundle.network)
            fold.folder.load_result(network)
            assert parts.calibration is not None
            ids += parts.calibration.ids
            answers += training_of(network, parts).held_out_answers()
        truth = Targets(*map(np.concatenate, zip(*(part.truth for part in answers), strict=True)))
        logits = (np.concatenate(columns) for columns in zip(*(part[1:] for part in answers), strict=True))
        return cls(data.whole.train.targets, val, _Numbered(ids, Answers(truth, *logits)))


def _mean(parts: Sequence[_Numbered]) -> Answers:
    """The mean logits of the products that all parts have."""
    common = sorted(set.intersection(*(set(part.ids) for part in parts)))
    aligned = []
    for ids, (truth, *logits) in parts:
        row_of = {id: row for row, id in enumerate(ids)}
        rows = np.array([row_of[id] for id in common])
        aligned.append((Targets(*(column[rows] for column in truth)), *(column[rows] for column in logits)))
    truths, *both = zip(*aligned, strict=True)
    return Answers(truths[0], *(np.mean(logits, axis=0) for logits in both))


def _scores(first: ModelBundle, val: Answers) -> dict[str, float]:
    """The scores on val that the bundles have too."""
    decisions = decide(first.taxonomy, first.decision, val.category, val.attributes)
    figures = headline(match(first.taxonomy, val.truth, decisions))
    return {name: figures[name] for name in first.scores}
