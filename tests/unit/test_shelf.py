from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bundles import save_bundle
from helpers.command_line import attire as run_attire
from helpers.killing import KilledError, killed_at

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits
from attire.catalog.store import Catalog
from attire.errors import BundleError, ShelfError
from attire.files import locked
from attire.model.network import build_network
from attire.promotion.comparison import Compared, compared
from attire.promotion.evaluations import evaluated
from attire.promotion.promote import PROMOTING, promote, rollback
from attire.promotion.versions import WRITING
from attire.shelf import Shelf, ShelfEntry, present_bundle, require_shelf, version_folder

Make = Callable[[str], ModelBundle]


@pytest.fixture
def other(untrained: ModelBundle, tmp_path: Path) -> Make:
    """The same network under another digest, as good as the first."""

    def make(name: str) -> ModelBundle:
        folder = Path(shutil.copytree(untrained.path, tmp_path / name))
        spec = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps({**spec, "created": f"2031-01-01, {name}"}))
        return ModelBundle.load(folder)

    return make


@pytest.fixture(scope="session")
def split_catalog(catalog: Catalog, splits: Splits) -> Catalog:
    assert not splits.test
    return catalog


@pytest.fixture
def shelf(untrained: ModelBundle, split_catalog: Catalog, tmp_path: Path) -> Path:
    """A shelf whose version 1 is the untrained bundle."""
    first = promote(untrained, tmp_path / "shelf", split_catalog, why="a start", who="Ann")
    assert (first.version, first.judgement, first.verdict) == (1, None, "The first version.")
    return tmp_path / "shelf"


def entry(version: int, action: str = "promote") -> ShelfEntry:
    return ShelfEntry.model_validate({"action": action, "version": version, "digest": "d", "who": "a", "when": "t"})


@pytest.mark.parametrize(
    ("history", "previous"),
    [
        ([1], None),
        ([1, 2, 3], 2),
        ([1, 2, 3, -2], 1),
        ([1, 2, 3, -2, -1], None),
        ([1, 2, 3, -2, 4], 2),
        ([1, 2, 3, -1, -3], 1),
    ],
)
def test_rollbacks_are_undone_step_by_step(history: list[int], previous: int | None) -> None:
    entries = [entry(n) if n > 0 else entry(-n, "rollback") for n in history]
    assert Shelf(history=tuple(entries)).previous == previous


def test_an_equal_bundle_is_promoted_and_rolled_back(
    shelf: Path, untrained: ModelBundle, other: Make, split_catalog: Catalog
) -> None:
    second = other("second")
    promotion = promote(second, shelf, split_catalog, why="new photos", who="Bob")
    assert (promotion.version, promotion.forced, promotion.split) == (2, False, "val")
    assert promotion.judgement is not None
    assert not promotion.judgement.losses
    assert promotion.verdict.startswith("Not worse beyond chance in any of")
    assert any("has no test split" in note for note in promotion.notes)
    present = require_shelf(shelf).present
    assert (present.who, present.why, present.catalog) == ("Bob", "new photos", split_catalog.digest)
    assert present.figures["category_accuracy"].before == present.figures["category_accuracy"].after
    assert ModelBundle.of(shelf).digest == second.digest
    assert ModelBundle.of(shelf).path == version_folder(shelf, 2)
    with pytest.raises(ShelfError, match=r"is the present version of .* already \(2\)"):
        promote(second, shelf, split_catalog)
    assert rollback(shelf, why="complaints").present.version == 1
    assert ModelBundle.of(shelf).digest == untrained.digest
    with pytest.raises(ShelfError, match="no version before version 1"):
        rollback(shelf)
    with pytest.raises(ShelfError, match="no version 3; it has versions 1 to 2"):
        rollback(shelf, to=3)
    with pytest.raises(ShelfError, match=r"version 1 of .* is the present one already"):
        rollback(shelf, to=1)
    assert rollback(shelf, to=2).present.version == 2


def test_a_worse_bundle_is_refused_unless_it_is_forced(
    tmp_path: Path, untrained: ModelBundle, split_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = (always(category, untrained, tmp_path / category) for category in ("Shirts", "Belts"))
    shelf = tmp_path / "shelf"
    promote(good, shelf, split_catalog, split="all")
    refused = promote(bad, shelf, split_catalog, split="all")
    assert (refused.promoted, refused.forced) == (False, False)
    assert "figures: category accuracy 0." in refused.verdict
    assert require_shelf(shelf).present.version == 1
    assert not (shelf / "versions" / "0002").exists()

    evaluations: list[object] = []
    monkeypatch.setattr("attire.promotion.evaluations.evaluate", lambda *args, **_: evaluations.append(args))
    forced = promote(bad, shelf, split_catalog, split="all", force=True)
    assert evaluations == [], "both reports are still there"
    assert (forced.version, forced.forced) == (2, True)
    assert require_shelf(shelf).present.verdict == refused.verdict


def always(category: str, bundle: ModelBundle, folder: Path) -> ModelBundle:
    """The bundle with another bias, so that it answers every photo with this category."""
    network = deepcopy(bundle.network)
    with torch.no_grad():
        network.heads.category.bias[bundle.taxonomy.category_index[category]] += 100
    return save_bundle(folder, network, bundle.spec.network, bundle.taxonomy)


def test_a_bundle_that_lacks_words_of_the_present_one_is_refused(
    shelf: Path, untrained: ModelBundle, split_catalog: Catalog, tmp_path: Path
) -> None:
    taxonomy = untrained.taxonomy
    keys = {"colour": taxonomy.keys["colour"].model_copy(update={"values": taxonomy.keys["colour"].values[1:]})}
    fewer = type(taxonomy)(categories=taxonomy.categories, keys=keys)
    torch.manual_seed(0)
    network = build_network(untrained.spec.network, fewer)
    promotion = promote(save_bundle(tmp_path / "fewer", network, untrained.spec.network, fewer), shelf, split_catalog)
    assert not promotion.promoted
    assert promotion.judgement is not None
    assert f"colour: {taxonomy.keys['colour'].values[0]}" in promotion.judgement.gone
    assert "tags" in promotion.judgement.gone
    assert promotion.judgement.keys.keys() <= {"colour"}
    assert "It cannot answer with words that the present version knows: colour: " in promotion.verdict


def test_a_kill_at_any_moment_leaves_the_old_version_or_the_new_one(
    shelf: Path, other: Make, split_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = other("second")
    with killed_at(3, monkeypatch), pytest.raises(KilledError):  # in the middle of the report
        promote(second, shelf, split_catalog)
    (shelf / PROMOTING).unlink()
    evaluated(shelf / "evaluations", second, split_catalog, "val")  # to be faster
    moment = 0
    while True:
        try:
            with killed_at(moment, monkeypatch):
                promote(second, shelf, split_catalog)
            break
        except KilledError:
            assert ModelBundle.of(shelf).path == version_folder(shelf, 1)
            for lock in shelf.glob(".*lock"):
                lock.unlink()
        moment += 1
    assert moment == 2, "the copy and the history are moved"
    assert ModelBundle.of(shelf).digest == second.digest
    assert sorted(path.name for path in (shelf / "versions").iterdir()) == ["0001", "0002"]
    assert len(list((shelf / "evaluations").iterdir())) == 2


def test_one_promotion_at_a_time_and_rollbacks_meanwhile(
    shelf: Path, other: Make, split_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, third = other("second"), other("third")
    promote(second, shelf, split_catalog)
    with locked(shelf / PROMOTING):
        with pytest.raises(ShelfError, match=r"another promotion to .* is running"):
            promote(third, shelf, split_catalog)
        rollback(shelf)
    with locked(shelf / WRITING), pytest.raises(ShelfError, match="another attire command is writing"):
        rollback(shelf, to=2)

    def slowly(*args: Any) -> Compared:
        rollback(shelf, to=2)
        return compared(*args)

    monkeypatch.setattr("attire.promotion.promote.compared", slowly)
    with pytest.raises(ShelfError, match=r"version 2 of .* became the present one while"):
        promote(third, shelf, split_catalog)
    assert require_shelf(shelf).present.version == 2


def test_a_damaged_version_is_not_gone_back_to_and_a_damaged_bundle_not_promoted(
    shelf: Path, other: Make, split_catalog: Catalog
) -> None:
    promote(other("second"), shelf, split_catalog)
    (version_folder(shelf, 1) / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"0001/weights.safetensors is not the file that was saved"):
        rollback(shelf)
    third = other("third")
    (third.path / "weights.safetensors").write_bytes(b"damaged after it was loaded")
    with pytest.raises(BundleError, match="is not the file that was saved"):
        promote(third, shelf, split_catalog)
    assert require_shelf(shelf).present.version == 2


def test_if_the_present_version_cannot_be_loaded_only_force_replaces_it(
    shelf: Path, other: Make, split_catalog: Catalog
) -> None:
    (version_folder(shelf, 1) / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"cannot be compared with version 1: .* is missing.*\(--force\)"):
        promote(other("second"), shelf, split_catalog)
    forced = promote(other("third"), shelf, split_catalog, force=True)
    assert (forced.version, forced.forced) == (2, True)
    assert forced.verdict.startswith("It was not compared: ")


def test_paths_that_are_no_shelf(untrained: ModelBundle, split_catalog: Catalog, shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(ShelfError, match=r"is not a shelf: it has no shelf.json, and holds"):
        promote(untrained, split_catalog.path, split_catalog)
    with pytest.raises(ShelfError, match="is not a shelf"):
        rollback(tmp_path)
    assert present_bundle(untrained.path) == untrained.path
    with pytest.raises(BundleError, match=r"It is a shelf, whose present bundle is .*0001"):
        ModelBundle.load(shelf)
    (shelf / "shelf.json").write_text("{")
    with pytest.raises(ShelfError, match="is damaged"):
        ModelBundle.of(shelf)


def test_the_commands(shelf: Path, other: Make, split_catalog: Catalog, tmp_path: Path) -> None:
    second = other("second")
    done = run_attire("promote", second.path, "--shelf", shelf, "--catalog", split_catalog.path, "--who", "Eve")
    assert (done.status, done.out.splitlines()[-1]) == (0, f"version 2 of {shelf} is the present one now")
    assert run_attire("promote", "--shelf", shelf, "--rollback", "--why", "too slow").status == 0
    listed = run_attire("shelf", shelf).out
    assert "1 (present)" in listed
    assert "Eve" in listed
    assert "went back to version 1 (too slow)" in listed
    for wrong in (["--rollback", "--force"], [], [second.path], [second.path, "--rollback"]):
        assert run_attire("promote", *wrong, "--shelf", shelf).status == 2
    assert run_attire("shelf", tmp_path).status == 2
