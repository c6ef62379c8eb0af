"""Words that change between runs: weights are carried over by name, and new keys leave the others as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bundles import save_bundle

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Architecture, Recipe, load_recipe
from attire.errors import AttireError, ConfigError
from attire.model.colour import COLOURS
from attire.model.layout import extended
from attire.model.network import Heads, Network, build_network
from attire.taxonomy import Key, Taxonomy
from attire.training.carried_weights import carry_over
from attire.training.linear_probe import PENALTY, LinearProbe, Scaling
from attire.training.run import train
from attire.word_places import WordPlaces

SMALL = {"backbone": "test_resnet", "size_px": (32, 24), "amp": "off"}
OLD = Taxonomy(
    categories=("Shirts", "Shoes"),
    keys={
        "color": Key(categories=("Shirts",), values=("navy", "red", "green")),
        "heel": Key(categories=("Shoes",), values=("flat", "high")),
        "fit": Key(categories=("Shirts",), values=("slim", "wide", "regular", "boxy")),
    },
)
NEW = Taxonomy(
    categories=("Hats", "Shoes", "Shirts"),
    key_aliases={"color": "colour"},
    keys={
        "season": Key(categories=("Shirts",), values=("summer", "winter")),
        "heel": Key(categories=("Shoes",), values=("flat", "high")),
        "colour": Key(
            categories=("Shirts",), values=("teal", "Red", "blue"), aliases={"navy": "blue", "green": "blue"}
        ),
    },
)


def network(head: str, taxonomy: Taxonomy, seed: int, colour: int = 6) -> Network:
    torch.manual_seed(seed)
    spatial = head == "csra"
    architecture = Architecture.model_validate(
        {"backbone": "test_resnet", "head": head, "hidden": 8, "colour": 0 if spatial else colour}
    )
    return build_network(architecture, taxonomy)


@dataclasses.dataclass
class Start:
    """As much of a bundle as `carry_over` reads."""

    network: Network


@pytest.mark.parametrize("head", ["linear", "mlp", "csra"])
def test_weights_are_carried_over_by_the_names_of_words(head: str) -> None:
    old, new = network(head, OLD, 0), network(head, NEW, 1)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    carry_over(Start(old), new, WordPlaces.between(OLD, NEW))  # type: ignore[arg-type]
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before, after = old.eval()(pixels), new.eval()(pixels)
    close = torch.testing.assert_close
    close(after.category[:, [1, 2]], before.category[:, [1, 0]])
    close(after.attributes[:, [2, 3]], before.attributes[:, [3, 4]])  # heel
    close(after.attributes[:, 5], before.attributes[:, 1])  # red
    if head != "csra":
        close(after.attributes[:, 6], before.attributes[:, [0, 2]].mean(1))  # navy and green became blue
    assert torch.equal(new.heads.category.weight[0], fresh["heads.category.weight"][0]), "a new word starts new"
    if head == "linear":
        assert torch.equal(new.heads.attributes.rows().of_values[0][:2], fresh["heads.attributes.weight"][:2])


def test_a_bundle_of_the_same_words_gives_its_own_network() -> None:
    old, new = network("mlp", OLD, 0), network("mlp", OLD, 1)
    carry_over(Start(old), new, WordPlaces.between(OLD, OLD))  # type: ignore[arg-type]
    for name, value in old.state_dict().items():
        if name not in ("heads.attributes.weight", "heads.attributes.bias"):  # padding is not carried over
            assert torch.equal(value, new.state_dict()[name]), name
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(old.eval()(pixels).attributes, new.eval()(pixels).attributes)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_logits_of_other_keys_keep_their_last_bits(head: str, batch: int) -> None:
    """However a key is added, and whichever products share the batch; also if it is retrained with another value."""
    grown = Taxonomy(
        categories=OLD.categories,
        keys={
            "season": Key(categories=("Shirts",), values=("summer", "winter")),
            "fit": OLD.keys["fit"],
            "heel": Key(categories=("Shoes",), values=("flat", "block", "high")),
            "color": OLD.keys["color"],
        },
    )
    old = network(head, OLD, 0)
    places = WordPlaces.between(OLD, grown)
    layout = extended((), places)
    assert layout == (("color", 2, "fit"), ("season", "heel"))
    architecture = Architecture.model_validate({"backbone": "test_resnet", "head": head, "hidden": 8, "colour": 6})
    new = build_network(architecture, grown, layout=layout)
    carry_over(Start(old), new, places)  # type: ignore[arg-type]
    pixels = torch.randn(batch, 3, 32, 32)
    with torch.inference_mode():
        before, after = old.eval()(pixels), new.eval()(pixels)
    assert torch.equal(before.category, after.category)
    for key in ("color", "fit"):
        assert torch.equal(before.attributes[:, OLD.columns[key]], after.attributes[:, grown.columns[key]]), key


def test_a_linear_function_fits_into_an_mlp() -> None:
    torch.manual_seed(0)
    architecture = Architecture(head="mlp", hidden=8, colour=6)
    heads = Heads(16, OLD, architecture).eval()
    weight, bias = torch.randn(4, 16), torch.randn(4)
    features = torch.cat([torch.randn(9, 16), torch.zeros(9, COLOURS)], dim=1)
    rows = heads.attributes.rows()
    rows.put_linear(2, OLD.columns["fit"], weight, bias)
    heads.attributes.set_rows(rows)
    torch.testing.assert_close(heads.attributes(features[:, :16])[:, 5:], features[:, :16] @ weight.T + bias)
    with pytest.raises(ConfigError, match="hidden = 8 are too narrow for a key with 5 values"):
        rows.put_linear(2, slice(0, 5), torch.zeros(5, 16), torch.zeros(5))


@pytest.mark.parametrize("one", [True, False])
def test_a_probe_equals_scikit_learn(one: bool) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(120, 6)) * [1, 5, 0.1, 1, 1, 2] + 3).astype(np.float32)
    value = (features[:, 0] + rng.normal(size=120) > 3).astype(int) + (features[:, 4] > 4)
    hot = np.eye(3, dtype=bool)[value]
    scaling = Scaling.of(features)
    probe = LinearProbe.fit(features, hot, scaling, one=one)
    model = linear_model.LogisticRegression(C=1 / PENALTY, max_iter=5000, tol=1e-8)
    inputs = scaling(features)
    if one:
        expected = model.fit(inputs, value).predict_proba(inputs)
        logits = probe(features)
        np.testing.assert_allclose(torch.softmax(torch.from_numpy(logits), 1).numpy(), expected, atol=0.02)
    else:
        for column in range(3):
            expected = model.fit(inputs, hot[:, column]).predict_proba(inputs)[:, 1]
            np.testing.assert_allclose(1 / (1 + np.exp(-probe(features)[:, column])), expected, atol=0.02)


def test_picked_examples_are_corrected_for_how_frequent_values_are() -> None:
    """Learned from as many examples of each value, where one of them is nine times as frequent."""
    rng = np.random.default_rng(0)
    value = rng.choice(3, size=3000, p=[0.9, 0.05, 0.05])
    features = (np.eye(3)[value] * 1.5 + rng.normal(size=(3000, 3))).astype(np.float32)
    picked = np.concatenate([np.flatnonzero(value == v)[:40] for v in range(3)])
    hot = np.eye(3, dtype=bool)[value[picked]]
    probe = LinearProbe.fit(features[picked], hot, Scaling.of(features), one=True)
    others = np.setdiff1d(np.arange(3000), picked)
    corrected = probe.for_frequencies_of(features[others], hot)

    def accuracy(probe: LinearProbe) -> float:
        return float((probe(features[others]).argmax(axis=1) == value[others]).mean())

    assert accuracy(corrected) > accuracy(probe) + 0.05
    nothing = probe.for_frequencies_of(features[:0], hot)
    torch.testing.assert_close(nothing.bias, probe.bias, atol=0.05, rtol=0)


def test_a_new_value_of_a_key_with_many_labels_is_counted_at_once() -> None:
    """Eight labels of it beside a thousand of the others; every tenth product has it. A fourth value has no label."""
    rng = np.random.default_rng(0)
    value = rng.choice(3, size=4000, p=[0.45, 0.45, 0.1])
    features = (np.eye(3)[value] * 3 + rng.normal(size=(4000, 3))).astype(np.float32)
    new = np.flatnonzero(value == 2)
    known = np.concatenate([np.flatnonzero(value < 2)[:1000], new[:8]])
    hot = np.eye(4, dtype=bool)[value[known]]
    probe = LinearProbe.fit(features[known], hot, Scaling.of(features), one=True)
    others = np.setdiff1d(np.arange(4000), known)
    corrected = probe.for_frequencies_of(features[others], hot)

    def found(probe: LinearProbe) -> float:
        return float((probe(features[new[8:]]).argmax(axis=1) == 2).mean())

    assert found(corrected) > found(probe) + 0.2
    assert corrected.bias[3] == probe.bias[3]


def without(catalog: Catalog, key: str) -> Catalog:
    keys = {name: words for name, words in catalog.taxonomy.keys.items() if name != key}
    smaller = Catalog(catalog.path, Taxonomy(categories=catalog.taxonomy.categories, keys=keys), catalog.digest)
    smaller.labels = catalog.labels.filter(catalog.labels["key"] != key)
    return smaller


@pytest.fixture(scope="module")
def start(catalog: Catalog, splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle of the recipe frozen that knows no tags."""
    recipe = load_recipe("frozen", {**SMALL, "trunk": 16, "colour": 8, "folds": 2, "attributes": {"epochs": 2}})
    out = tmp_path_factory.mktemp("start")
    return train(without(catalog, "tags"), splits, recipe=recipe, out=out, weights="none", workers=0)


def test_a_key_is_added_and_the_rest_stays(
    start: ModelBundle, catalog: Catalog, splits: Splits, tmp_path: Path
) -> None:
    bundle = train(catalog, splits, init_from=start, only_keys=["tags"], out=tmp_path, workers=0)
    assert bundle.taxonomy == catalog.taxonomy
    assert bundle.taught.all()
    pixels = torch.rand(9, 3, 32, 24)
    with torch.inference_mode():
        before, after = start.network(pixels), bundle.network(pixels)
    logits = [tuple(x.numpy() for x in out) for out in (before, after)]
    old, new = start.decide(*logits[0]), bundle.decide(*logits[1])
    colour = bundle.taxonomy.columns["colour"]
    assert np.array_equal(old.probability, new.probability[:, colour])
    assert np.array_equal(old.category_probability, new.category_probability)
    assert start.record is not None
    assert bundle.record is not None
    assert start.calibration is not None
    assert bundle.calibration is not None
    number = list(bundle.taxonomy.keys).index("colour")
    assert bundle.calibration.temperature[number] == start.calibration.temperature[0]
    for promise in (0.5, 0.95):
        ours, theirs = start.thresholds(promise), bundle.thresholds(promise)
        assert ours.gate == theirs.gate
        assert ours.minimum[0] == theirs.minimum[number]
        assert np.array_equal(ours.shift[: start.taxonomy.width], theirs.shift[colour])
    assert "tags" in bundle.thresholds(0.95).held_back, "too few labels for a promise"
    checked = (bundle.record.key == 1 - number) & bundle.record.checked
    assert 0 < checked.sum() <= len(splits.train)
    assert not np.isin(bundle.record.ruled_out[bundle.record.key == 1 - number], (0, 1)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only_keys": ["tag"]}, "'tag' is not one of 2 keys; did you mean 'tags'"),
        ({"only_keys": ["colour"]}, r"tags: new in the taxonomy.* Add them to --only-keys"),
        ({"only_keys": ["tags"], "init_from": None}, "name it with --init-from"),
        ({"only_keys": ["tags"], "resume": True}, "leave out --weights, --stage and --resume"),
    ],
)
def test_what_only_keys_cannot_do_is_refused(
    start: ModelBundle, catalog: Catalog, splits: Splits, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    arguments = {"init_from": start, **options}
    with pytest.raises(AttireError, match=message):
        train(catalog, splits, out=tmp_path, workers=0, **arguments)  # type: ignore[arg-type]


def test_another_run_starts_from_a_bundle_with_an_added_key(
    start: ModelBundle, catalog: Catalog, splits: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe.model_validate(start.provenance["recipe"]).model_copy(update={"folds": 0})
    caplog.set_level("INFO")
    bundle = train(catalog, splits, recipe=recipe, init_from=start, out=tmp_path, workers=0)
    assert "carried over; new are the keys tags" in caplog.text
    assert bundle.taught.all()


def test_save_bundle_refuses_a_layout_of_other_keys(tmp_path: Path) -> None:
    bundle = save_bundle(
        tmp_path / "b", network("linear", OLD, 0), Architecture(backbone="test_resnet", head="linear", colour=6), OLD
    )
    with pytest.raises(ValueError, match="layout must have each key once"):
        bundle.spec.model_validate({**bundle.spec.model_dump(), "layout": [["color"]]})
