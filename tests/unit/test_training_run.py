"""A run's directory: damaged files are named, and files are written atomically."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers.drawn_feed import draw_feed
from helpers.full_disk import little_room
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.ingest import ingest
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.config import Recipe, load_recipe
from attire.errors import ConfigError
from attire.files import locked
from attire.labels import Targets
from attire.learned import Learned
from attire.model.network import Logits, build_network
from attire.training import run
from attire.training.initial_weights import initial_network
from attire.training.module import StageModule
from attire.training.run import train
from attire.training.stage_folder import RESULT, StageFolder
from attire.training.trainer import CHECKPOINT, WholeCheckpoints

SMALL = {"backbone": "test_resnet", "size_px": (32, 24), "amp": "off"}


def begin(catalog: Catalog, splits: Splits, out: Path, **options: object) -> ModelBundle:
    return train(catalog, splits, recipe=load_recipe("base", SMALL), out=out, weights="none", workers=0, **options)  # type: ignore[arg-type]


def test_two_runs_never_write_one_folder(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(ConfigError, match="another attire train is writing"):
        begin(catalog, splits, tmp_path)


@pytest.mark.parametrize("content", [b"[" * 5000, b"{", b"[]", b"\xff", b""])
def test_a_damaged_record_is_named(catalog: Catalog, splits: Splits, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "category").mkdir()
    (tmp_path / "category" / "stage.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"category/stage\.json cannot be read .*choose another --out"):
        begin(catalog, splits, tmp_path, resume=True)


def test_a_damaged_checkpoint_is_named(catalog: Catalog, splits: Splits, tmp_path: Path) -> None:
    valid = tmp_path / "valid.ckpt"
    torch.save({"state_dict": {"weight": torch.rand(1000)}}, valid)
    checkpoint = tmp_path / "category" / "checkpoints" / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    for content in (valid.read_bytes()[:3000], b""):
        checkpoint.write_bytes(content)
        with pytest.raises(ConfigError, match=r"last\.ckpt is damaged .*delete it to train its stage from the start"):
            begin(catalog, splits, tmp_path, resume=(tmp_path / "category" / "stage.json").is_file())


def test_a_damaged_result_is_named(catalog: Catalog, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "category")
    folder.path.mkdir()
    (folder.path / RESULT).write_bytes(b"\x00" * 20)
    network = build_network(load_recipe("base", SMALL), catalog.taxonomy)
    with pytest.raises(ConfigError, match=r"network\.safetensors is damaged .*delete it and use --resume"):
        folder.load_result(network)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / CHECKPOINT
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), little_room(len(before)):
        WholeCheckpoints().save_checkpoint({"weight": torch.rand(100_000)}, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_training_ends(catalog: Catalog, value: float) -> None:
    recipe, taxonomy = load_recipe("base", SMALL), catalog.taxonomy
    network = build_network(recipe, taxonomy)
    targets = Targets(*(torch.from_numpy(column[:2]) for column in catalog.targets()))
    module = StageModule(network, network.heads, taxonomy, recipe, "attributes", targets)
    logits = Logits(torch.zeros(2, len(taxonomy.categories)), torch.full((2, taxonomy.width), value))
    module._validated = [(logits, targets)]
    with pytest.raises(ConfigError, match=r"diverged: after epoch 1 of stage 'attributes'.*lower learning rate"):
        module.on_validation_epoch_end()


@pytest.mark.parametrize(("backbone", "size_px"), [("vit_tiny_patch16_224", (32, 24)), ("inception_v3", (8, 8))])
def test_a_size_that_the_backbone_does_not_accept(catalog: Catalog, backbone: str, size_px: tuple[int, int]) -> None:
    recipe = load_recipe("frozen", {"backbone": backbone, "size_px": size_px, "pooling": "last", "trunk": 0})
    with pytest.raises(
        ConfigError, match=rf"size_px=\[{size_px[0]}, {size_px[1]}\]: {backbone} does not accept photos of"
    ):
        initial_network(recipe, catalog.taxonomy, "none", None)


def test_out_of_memory_names_the_options_to_change() -> None:
    recipe: Recipe = load_recipe("base", SMALL)
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError()):
        with (
            pytest.raises(ConfigError, match=r"with batch_size=64, .*smaller --batch-size"),
            run.explain_memory(recipe),
        ):
            raise error
    with pytest.raises(RuntimeError, match="shape"), run.explain_memory(recipe):
        raise RuntimeError("shapes do not match")


def test_a_bundle_records_what_it_learned_from_and_a_run_that_starts_from_it_too(
    catalog: Catalog, splits: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def photos(ids: Iterable[str]) -> list[str]:
        digests = catalog.photo_digests()
        return sorted({digest for row in catalog.rows_of(list(ids)) for digest in digests[row]})

    def frozen(out: Path, splits: Splits, start: ModelBundle | None = None) -> Learned:
        recipe = load_recipe("frozen", {**SMALL, "attributes": {"epochs": 1}})
        weights = None if start else "none"
        learned = train(catalog, splits, recipe=recipe, out=out, weights=weights, init_from=start, workers=0).learned
        assert learned is not None
        return learned

    learned = frozen(tmp_path / "a", splits)
    assert learned.has(photos(splits.train)).all(), "train, with the calibration set"
    assert not learned.has(photos(splits.val)).any()
    half = len(splits.val) // 2
    other = dataclasses.replace(
        splits, train=splits.val[:half], val=(*splits.val[half:], *splits.train), digest="other"
    )
    start = ModelBundle.load(tmp_path / "a" / "bundle")
    later = frozen(tmp_path / "b", other, start)
    assert later.has(photos((*splits.train, *splits.val[:half]))).all()
    assert not later.has(photos(splits.val[half:])).any()
    assert f"learned from the groups of {len(splits.train)} products of val" in caplog.text


@pytest.mark.parametrize("name", ["frozen", "original"])  # original chooses its learning rate on val
def test_nothing_is_trained_calibrated_or_chosen_on_test(name: str, tmp_path: Path) -> None:
    """With other photos and labels of the test products, the model is the same."""
    feed, photos = draw_feed(tmp_path), tmp_path / "photos"
    taxonomy = tmp_path / "taxonomy.toml"
    taxonomy.write_text(ingest(feed, photos, tmp_path / "catalog").taxonomy.to_toml())
    stage = {"epochs": 2}
    stages = {"attributes": stage} if name == "frozen" else {"attributes": stage, "category": stage}
    recipe = load_recipe(name, {**SMALL, **stages})
    states: list[tuple[str, str, ModelBundle]] = []
    for change in (False, True):
        if change:
            catalog = Catalog.load(tmp_path / "catalog")
            rows = pl.read_csv(feed, infer_schema=False)
            test = pl.col("id").is_in(split(catalog).test)
            for images in rows.filter(test)["image"]:
                for image in images.split("|"):
                    noise = np.random.default_rng(len(states)).integers(0, 255, (48, 36, 3), dtype=np.uint8)
                    Image.fromarray(noise).save(photos / image)
            blue = pl.when(test).then(pl.lit("blue")).otherwise("colour").alias("colour")
            belts = pl.when(test).then(pl.lit("Belts")).otherwise("category").alias("category")
            rows.with_columns(blue, belts, tags=pl.when(~test).then("tags")).write_csv(feed)
        catalog = ingest(feed, photos, tmp_path / "catalog", taxonomy=taxonomy, replace=change)
        splits = split(catalog, val=0.25, test=0.2)
        bundle = train(catalog, splits, recipe=recipe, out=tmp_path / f"{change}", weights="none", workers=0)
        states.append((catalog.digest, splits.digest, bundle))
    (before, dealt, first), (after, dealt_again, second) = states
    assert before != after
    assert dealt == dealt_again
    assert len(splits.test) > 10
    assert first.scores == pytest.approx(second.scores, nan_ok=True)
    assert first.calibration == second.calibration
    for (key, weights), other in zip(
        first.network.state_dict().items(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(weights, other), key
