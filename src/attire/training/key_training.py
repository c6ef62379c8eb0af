"""Trains the heads of a few keys on the frozen rest of a bundle, whose other answers keep their last bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import DecisionRule
from attire.embeddings import catalog_embeddings
from attire.errors import ConfigError, first_few
from attire.labels import Targets
from attire.model.layout import extended
from attire.model.network import Heads, build_network
from attire.progress import track
from attire.score.added_keys import AddedKey, with_added_keys
from attire.score.calibration import Calibration, Fitted, fit_temperatures
from attire.score.calibration_record import CalibrationRecord, frequencies
from attire.score.decisions import decide
from attire.score.metrics import headline, match
from attire.taxonomy import Taxonomy
from attire.titles import TitleReader
from attire.training.calibrate import collect_logits
from attire.training.carried_weights import carry_over
from attire.training.data import Subset, without_audited
from attire.training.key_data import Inputs, KeyLabels
from attire.training.linear_probe import LinearProbe, Scaling
from attire.word_places import WordPlaces

logger = logging.getLogger(__name__)


def train_keys(
    catalog: Catalog, splits: Splits, start: ModelBundle, keys: Sequence[str], path: Path, workers: int
) -> ModelBundle:
    """Train the heads of `keys` on the train split, calibrate them, and save the bundle to `path`.

    Everything else is that of `start`: all weights, and the temperatures, answers and thresholds of the other keys.
    Raises `ConfigError` if other words have changed since, and `CatalogError` if a key has no label.
    """
    taxonomy = catalog.taxonomy
    places = WordPlaces.between(start.taxonomy, taxonomy)
    _check(start, places, keys)
    if known := [key for key in keys if _taught(start, places, key)]:
        logger.warning(
            "%s has learned from labels of %s before, also from those that now check its answers, so their promised "
            "precision is a little too good. attire evaluate on new products shows by how much.",
            start.path,
            ", ".join(known),
        )
    architecture, preprocess = start.spec.network, start.preprocess
    layout = extended(start.spec.layout, places)
    network = build_network(architecture, taxonomy, size_px=preprocess.size_px, layout=layout).eval()
    carry_over(start, network, places)
    reader = TitleReader.of(architecture)
    train = Subset(catalog, without_audited(catalog, splits.train), "train", reader)
    val = Subset(catalog, splits.val, "val", reader)
    labels = {key: KeyLabels.of(catalog, train, key) for key in keys}
    embeddings = catalog_embeddings(catalog, network, architecture.backbone, preprocess, workers)
    network.cpu()
    inputs = Inputs.read(network.heads, train.embedding_examples(embeddings))
    scaling = Scaling.of(inputs.features)
    before = None if start.calibration is None or start.record is None else Fitted(start.calibration, start.record)
    probes, added = {}, []
    for key in track(keys, "training", "keys", len(keys)):
        of_key = labels[key]
        probes[key] = _fit(of_key, inputs, scaling, np.arange(len(of_key.rows)))
        if before is not None:
            calibrated = _calibrated(catalog, of_key, inputs, scaling, before.calibration, start.decision, splits.seed)
            added.append(AddedKey(calibrated, WordPlaces.between(of_key.taxonomy, taxonomy)))
    _put(network.heads, taxonomy, probes)
    answers = collect_logits(network.heads, val.embedding_examples(embeddings))
    decisions = decide(taxonomy, start.decision, answers.category, answers.attributes)
    scores = headline(match(taxonomy, answers.truth, decisions))
    learned = None if start.learned is None else train.learned | start.learned
    kept = {name: fact for name, fact in start.provenance.items() if name not in ("learned", "versions")}
    return ModelBundle.save(
        path,
        network,
        architecture,
        taxonomy=taxonomy,
        preprocess=preprocess,
        decision=start.decision,
        fitted=None if before is None else with_added_keys(before, places, added),
        untaught=[key for key in taxonomy.keys if key not in keys and not _taught(start, places, key)],
        layout=layout,
        learned=learned,
        provenance=kept
        | {
            "weights": f"bundle {start.digest}",
            "only_keys": list(keys),
            "catalog": catalog.digest,
            "splits": splits.digest,
            "products": len(catalog),
            "scored_on": f"{len(splits.val):,} products of the val split, one photo each",
        },
        scores={name: value for name, value in scores.items() if name in start.scores},
    )


def _check(start: ModelBundle, places: WordPlaces, keys: Sequence[str]) -> None:
    """Raise `ConfigError` if only `keys` cannot be trained from the bundle `start`."""
    for key in keys:
        places.new.key(key)
    if start.spec.network.spatial or not start.spec.network.shared:
        raise ConfigError(
            f"{start.path} has heads that read maps (csra), or two networks, so single keys cannot be added to it: "
            "train without --only-keys."
        )
    if start.calibration is not None and start.record is None:
        raise ConfigError(
            f"{start.path} was calibrated by an earlier attire, which kept no answers: train again without --only-keys."
        )
    if not np.array_equal(places.categories, np.arange(len(places.new.categories))):
        raise ConfigError(
            f"the taxonomy has other categories than {start.path}, or another order of them, and --only-keys trains no "
            "category: train without it, with --init-from."
        )
    if changed := [key for key in places.new.keys if key not in keys and not places.unchanged(key)]:
        raise ConfigError(
            f"{first_few(changed)}: new in the taxonomy, or with other values, arity or parents than in {start.path}. "
            "Add them to --only-keys, or train without it."
        )


def _fit(labels: KeyLabels, inputs: Inputs, scaling: Scaling, chosen: NDArray[np.int64]) -> LinearProbe:
    """Fit on the chosen ones of the products with a label."""
    one = bool(labels.taxonomy.one[0])
    hot = labels.targets.hot[chosen]
    probe = LinearProbe.fit(inputs.features[labels.rows[chosen]], hot, scaling, one=one)
    return probe.for_frequencies_of(inputs.features[labels.unlabelled], hot) if one else probe


def _put(heads: Heads, taxonomy: Taxonomy, probes: dict[str, LinearProbe]) -> None:
    """Make the logits of keys those of their probes."""
    width = heads.category.in_features
    layers = [(heads.attributes, slice(0, width))]
    if heads.colour is not None:
        layers.append((heads.colour.values, slice(width, None)))
    for layer, part in layers:
        rows = layer.rows()
        for key, probe in probes.items():
            bias = torch.zeros_like(probe.bias) if part.start else probe.bias
            rows.put_linear(list(taxonomy.keys).index(key), taxonomy.columns[key], probe.weight[:, part], bias)
        layer.set_rows(rows)


def _calibrated(
    catalog: Catalog,
    labels: KeyLabels,
    inputs: Inputs,
    scaling: Scaling,
    before: Calibration,
    rule: DecisionRule,
    seed: int,
) -> Fitted:
    """The calibration of a key alone, from the answers of heads that learned other products."""
    taxonomy = labels.taxonomy
    held_out = list(labels.folds(catalog, seed))
    order = np.concatenate(held_out) if held_out else np.zeros(0, dtype=np.int64)
    logits = np.zeros((len(order), taxonomy.width), dtype=np.float32)
    done = 0
    for fold in held_out:
        others = np.setdiff1d(np.arange(len(labels.rows)), fold)
        probe = _fit(labels, inputs, scaling, others)
        logits[done : done + len(fold)] = probe(inputs.features[labels.rows[fold]])
        done += len(fold)
    truth = Targets(*(column[order] for column in labels.targets))
    category = inputs.category[labels.rows[order]]
    _, temperature = fit_temperatures(taxonomy, truth, category, logits)
    calibration = Calibration(category_temperature=before.category_temperature, temperature=temperature)
    decisions = decide(taxonomy, rule, *calibration.scale(taxonomy, category, logits))
    frequency = frequencies(taxonomy, labels.targets)
    return Fitted(calibration, CalibrationRecord.of(taxonomy, truth, decisions, frequency))


def _taught(start: ModelBundle, places: WordPlaces, key: str) -> bool:
    """Whether the bundle had labels for a key of the new taxonomy."""
    return bool(start.taught[places.keys == list(places.new.keys).index(key)].any())
