"""A run's directory: damaged files are named, and files are written atomically."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.full_disk import little_room

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.config import Recipe, load_recipe
from attire.errors import ConfigError
from attire.files import locked
from attire.labels import Targets
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
            run._explain_memory(recipe),
        ):
            raise error
    with pytest.raises(RuntimeError, match="shape"), run._explain_memory(recipe):
        raise RuntimeError("shapes do not match")
