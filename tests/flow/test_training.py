"""Training as a user runs it: every recipe, one stage at a time, killed and resumed, and in two processes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers.drawn_feed import draw_feed
from PIL import Image
from safetensors.torch import load_file

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.config import Recipe, load_recipe
from attire.errors import ConfigError
from attire.evaluation.evaluate import evaluate
from attire.inference.bulk import predict
from attire.inference.logits import Inputs
from attire.pixels.photo_cache import caches
from attire.training import run as training
from attire.training.module import StageModule
from attire.training.run import train


def tiny(name: str, **overrides: object) -> Recipe:
    small = {"backbone": "test_resnet", "size_px": (32, 24), "batch_size": 16, "hidden": 8, "amp": "off"}
    stages = {} if name in ("frozen", "tuned") else {"category": {"epochs": 2}}
    return load_recipe(name, {**small, **stages, "attributes": {"epochs": 2}, **overrides})


@pytest.mark.parametrize("name", ["base", "frozen", "original", "tuned"])
def test_every_recipe_makes_a_bundle(catalog: Catalog, splits: Splits, tmp_path: Path, name: str) -> None:
    bundle = train(catalog, splits, recipe=tiny(name), out=tmp_path, weights="none", workers=0)
    assert bundle.path == tmp_path / "bundle"
    assert {"category_accuracy", "attribute_iou"} <= bundle.scores.keys()
    assert bundle.provenance["catalog"] == catalog.digest
    assert bundle.provenance["recipe"]["name"] == name
    assert (bundle.network.category_backbone is not None) == (name == "original"), "original is two networks"
    assert (tmp_path / "attributes" / "logs" / "metrics.csv").is_file()
    assert list((tmp_path / "attributes" / "logs").glob("events.*"))


def test_titles_add_to_photos_that_do_not_show_the_label(tmp_path: Path) -> None:
    rows, random = ["id,category,title,image,material"], np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(120):
        category, material = str(random.choice(["Shirts", "Belts"])), str(random.choice(["wool", "silk"]))
        rows.append(f"{number},{category},Acme {material} {category} {number},{number}.png,{material}")
        noise = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "feed.csv").write_text("\n".join(rows))
    catalog = ingest(tmp_path / "feed.csv", tmp_path / "photos", tmp_path / "catalog")
    fields = {"text": "title", "text_buckets": 512, "trunk": 64, "pooling": "last", "dropout": 0.8, "ema_decay": 0}
    recipe = tiny("frozen", **fields, attributes={"epochs": 20, "lr": 0.01})
    splits = split(catalog, val=0.3, seed=1)
    bundle = train(catalog, splits, recipe=recipe, out=tmp_path / "run", weights="none", workers=0)
    inputs: tuple[Inputs, ...] = ("photo", "title", "both")
    iou = {name: evaluate(bundle, catalog, "val", inputs=name).figures["attribute_iou"].value for name in inputs}
    assert iou["photo"] < 0.7, "the photos are noise"
    assert iou["title"] > 0.9
    assert iou["both"] > iou["photo"] + 0.2
    report = evaluate(bundle, catalog, "val")
    assert (report.provenance.inputs, report.figures["attribute_iou"].value) == ("both", iou["both"])


def test_titles_are_trained_in_both_stages(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    recipe = tiny("base", text="title", text_buckets=512)
    first = train(catalog, splits, recipe=recipe, out=tmp_path, stage="category", weights="none", workers=0)
    learned = first.network.state_dict()["heads.text.embedding.weight"]
    assert learned.any(), "a model with only categories reads titles too"
    both = train(catalog, splits, recipe=recipe, out=tmp_path, stage="attributes", weights="none", workers=0)
    assert not torch.equal(both.network.state_dict()["heads.text.embedding.weight"], learned)


@pytest.mark.parametrize("head", ["csra", "mlp"])
def test_original_keeps_the_category_network_of_its_first_stage(
    catalog: Catalog, splits: Splits, tmp_path: Path, head: str
) -> None:
    recipe = tiny("original", head=head, size_px=(64, 64))  # csra needs a map
    first = train(catalog, splits, recipe=recipe, out=tmp_path, stage="category", weights="none", workers=0)
    assert not first.taxonomy.keys
    pixels = torch.rand(4, 3, 64, 64)
    expected = first.network(pixels).category
    both = train(catalog, splits, recipe=recipe, out=tmp_path, stage="attributes", weights="none", workers=0)
    torch.testing.assert_close(both.network(pixels).category, expected)
    assert both.network(pixels).attributes.shape == (4, catalog.taxonomy.width)


class KilledError(Exception):
    """Simulates a process that is killed."""


LOSS = {"loss": "weighted_bce", "unlabelled": "selective", "label_smoothing": 0.1, "sampling": 0.5}
SPATIAL = {"head": "csra", "pooling": "last", "trunk": 0, "colour": 0, "size_px": (64, 64)}
TITLES = {"text": "title", "text_buckets": 512}


@pytest.mark.parametrize(
    ("name", "fields"), [("base", {}), ("original", {}), ("base", LOSS | SPATIAL), ("frozen", TITLES), ("tuned", {})]
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    catalog: Catalog,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fields: dict[str, object],
) -> None:
    recipe = tiny(name, dropout=0.3, attributes={"epochs": 3}, **fields)
    whole = train(catalog, splits, recipe=recipe, out=tmp_path / "whole", weights="none", workers=0)

    step = StageModule.training_step

    def dying(self: StageModule, batch: object, index: int) -> torch.Tensor:
        if self.stage == "attributes" and self.current_epoch == 1 and index == 2:
            raise KilledError
        return step(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(StageModule, "training_step", dying)
    with pytest.raises(KilledError):
        train(catalog, splits, recipe=recipe, out=tmp_path / "cut", weights="none", workers=0)
    monkeypatch.undo()
    assert not (tmp_path / "cut" / "bundle").exists(), "a killed run never looks finished"
    with pytest.raises(ConfigError, match="--resume"):
        train(catalog, splits, recipe=recipe, out=tmp_path / "cut", weights="none", workers=0)
    with pytest.raises(ConfigError, match=r"(?s)started differently.*recipe"):
        train(catalog, splits, recipe=tiny(name, seed=5), out=tmp_path / "cut", weights="none", resume=True, workers=0)
    torch.rand(7)  # another process would have another random state
    resumed = train(catalog, splits, recipe=recipe, out=tmp_path / "cut", weights="none", resume=True, workers=0)
    before, after = load_file(whole.path / "weights.safetensors"), load_file(resumed.path / "weights.safetensors")
    for parameter, value in before.items():
        torch.testing.assert_close(after[parameter], value, rtol=0, atol=0, msg=parameter)


def test_one_seed_fixes_a_run(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    copy = Catalog.load(shutil.copytree(catalog.path, tmp_path / "catalog"))
    cases = (("a", 1, 0, False), ("b", 1, 1, True), ("c", 2, 0, None))  # photos are smaller than the cache's 37 px
    runs = {
        name: train(
            copy,
            splits,
            recipe=tiny("base", seed=seed),
            out=tmp_path / name,
            weights="none",
            workers=workers,
            cache=cache,
        )
        for name, seed, workers, cache in cases
    }
    assert [run.provenance["photo_cache_px"] for run in runs.values()] == [None, 37, 37], "an existing cache is used"
    a, b, c = (load_file(run.path / "weights.safetensors")["heads.category.weight"] for run in runs.values())
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(a, c)


def test_frozen_embeds_each_photo_once(
    catalog: Catalog, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("frozen", seed=11)
    train(catalog, splits, recipe=recipe, out=tmp_path / "a", weights="none", workers=0)
    monkeypatch.setattr(training, "PhotoDataset", None, raising=False)
    monkeypatch.setattr("attire.embeddings.PhotoDataset", None)
    train(catalog, splits, recipe=recipe, out=tmp_path / "b", weights="none", workers=0)


def test_base_starts_from_a_bundle_of_frozen(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    frozen = train(catalog, splits, recipe=tiny("frozen"), out=tmp_path / "frozen", weights="none", workers=0)
    recipe = tiny("base", attributes={"epochs": 1, "lr": 1e-9})
    base = train(catalog, splits, recipe=recipe, out=tmp_path / "base", init_from=frozen.path, workers=0)
    assert not (tmp_path / "base" / "category").exists(), "the category stage is skipped"
    assert base.provenance["weights"] == f"bundle {frozen.digest}"
    for name, before in frozen.network.backbone.state_dict().items():  # including the statistics of batch norms
        torch.testing.assert_close(base.network.backbone.state_dict()[name], before, atol=1e-6, rtol=1e-4)
    for name, parameter in frozen.network.named_parameters():
        torch.testing.assert_close(base.network.get_parameter(name), parameter, atol=1e-6, rtol=1e-4)
    with pytest.raises(
        ConfigError, match=r"(?s)another architecture than recipe base:.*trunk: 1024 in the bundle, 8 in the recipe"
    ):
        train(catalog, splits, recipe=tiny("base", trunk=8), out=tmp_path / "other", init_from=frozen, workers=0)
    with pytest.raises(ConfigError, match="already has all weights"):
        train(catalog, splits, recipe=recipe, out=tmp_path / "other", init_from=frozen, weights="none", workers=0)
    with pytest.raises(ConfigError, match="was trained on categories already"):
        train(catalog, splits, recipe=recipe, out=tmp_path / "other", init_from=frozen, stage="category", workers=0)
    assert not (tmp_path / "other").exists()


def test_attributes_need_a_finished_category_stage(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished stage 'category'"):
        train(catalog, splits, recipe=tiny("original"), out=tmp_path, stage="attributes", weights="none", workers=0)


def without(catalog: Catalog, folder: Path, *keys: str) -> Catalog:
    """A catalog with the same taxonomy and no labels for `keys`."""
    rows = list(csv.DictReader(draw_feed(folder, products=40).open(encoding="utf-8")))
    with (folder / "feed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | dict.fromkeys(keys, "") for row in rows)
    taxonomy = catalog.path / "taxonomy.toml"
    return ingest(folder / "feed.csv", folder / "photos", folder / "catalog", taxonomy=taxonomy)


def test_a_key_without_labels_is_left_open(catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    untagged = without(catalog, tmp_path, "tags")
    splits = split(untagged, val=0.3)
    bundle = train(untagged, splits, recipe=tiny("frozen"), out=tmp_path / "run", weights="none", workers=0)
    assert "no product of the train split has a label for tags: the bundle will leave them open" in caplog.text
    assert bundle.spec.untaught == ("tags",)
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "Always left open, because no product has a label for them: tags." in card
    assert "At 95% precision for each key, with 90% confidence, it fills 0 of 2 keys." in card
    report = evaluate(bundle, untagged, splits.val)
    assert {row.key: row.predicted > 0 for row in report.keys} == {"colour": True, "tags": False}
    assert any("without labels for tags, so it leaves them open" in note for note in report.notes)
    assert any("At 95% precision all keys are left open" in note for note in report.notes)
    predict(bundle, untagged.path, tmp_path / "all.csv", precision=None)
    assert set(pl.read_csv(tmp_path / "all.csv")["tags"].to_list()) == {None}


@pytest.mark.parametrize("name", ["base", "frozen"])
def test_a_catalog_with_only_categories_trains_the_category(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    unlabelled = without(catalog, tmp_path, "colour", "tags")
    bundle = train(
        unlabelled, split(unlabelled, val=0.3), recipe=tiny(name), out=tmp_path / "run", weights="none", workers=0
    )
    assert "so only the category is trained" in caplog.text
    assert not bundle.taxonomy.keys
    assert bundle.shortfall(0.95) is None
    assert (tmp_path / "run" / "attributes").exists() == (name == "frozen"), "its only stage also trains the category"
    assert not np.isnan(evaluate(bundle, unlabelled).figures["category_accuracy"].value)


TWO_PROCESSES = """
import json, sys
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe
from attire.training.run import train
catalog = Catalog.load(sys.argv[1])
recipe = Recipe.model_validate_json(sys.argv[3])
bundle = train(catalog, Splits.load(catalog), recipe=recipe, out=sys.argv[2], weights="none", workers=0, cache=True)
import torch.distributed as dist
assert dist.get_world_size() == 2 and dist.get_backend() == "gloo"
if dist.get_rank() == 0:  # concurrent output could be mixed
    print(json.dumps(bundle.scores))
"""


def test_torchrun_on_two_processes(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    shutil.copytree(catalog.path, tmp_path / "catalog")
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    arguments = [str(tmp_path / "catalog"), str(tmp_path / "run"), tiny("base").model_dump_json()]
    process = subprocess.run(
        [*command, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert ModelBundle.load(tmp_path / "run" / "bundle").scores == json.loads(process.stdout.splitlines()[-1])
    assert splits.val, "both processes read the split"
    (cache,) = caches(Catalog.load(tmp_path / "catalog"))
    assert len(cache) == catalog.photos["sha256"].n_unique(), "the photos were cached once"
