"""The public API: the names in `attire`, and that importing it is cheap."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints
from unittest.mock import Mock

import pytest

import attire
from attire.training import run

# The type of parameters with these names, in all public functions.
OBJECTS = {
    "bundle": attire.ModelBundle,
    "catalog": attire.Catalog,
    "splits": attire.Splits,
    "init_from": attire.ModelBundle,
}


def test_every_public_name_exists() -> None:
    assert attire.__all__ == sorted(attire.__all__)
    assert dir(attire) == attire.__all__
    for name in attire.__all__:
        assert getattr(attire, name).__name__ == name


def test_the_package_is_executable() -> None:
    process = subprocess.run([sys.executable, "-m", "attire", "--help"], capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert "train" in process.stdout


def test_other_names_do_not_exist() -> None:
    assert not hasattr(attire, "trian")


def test_importing_attire_does_not_import_torch() -> None:
    code = "import sys, attire; attire.Taxonomy, attire.Recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_function_takes_objects_and_paths() -> None:
    checked = set()
    for name in attire.__all__:
        public = getattr(attire, name)
        if not inspect.isfunction(public) and public is not attire.Predictor:
            continue
        hints = get_type_hints(public if inspect.isfunction(public) else public.__init__)
        for parameter, kind in OBJECTS.items():
            if parameter in hints:
                assert {kind, str, Path} <= set(get_args(hints[parameter])), f"{name}({parameter})"
                checked.add((name, parameter))
    assert {(name, parameter) for name, parameter in checked if parameter == "catalog"} == {
        ("apply_reviews", "catalog"),
        ("audit", "catalog"),
        ("blend", "catalog"),
        ("cache_photos", "catalog"),
        ("curve", "catalog"),
        ("diff_taxonomy", "catalog"),
        ("duplicates", "catalog"),
        ("evaluate", "catalog"),
        ("explain", "catalog"),
        ("learn", "catalog"),
        ("promote", "catalog"),
        ("remove", "catalog"),
        ("split", "catalog"),
        ("suggest", "catalog"),
        ("train", "catalog"),
    }
    expected = {("Predictor", "bundle"), ("evaluate", "bundle"), ("explain", "bundle"), ("train", "init_from")}
    assert expected | {("promote", "bundle"), ("push", "bundle")} <= checked


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_give_the_same_results_as_objects(
    catalog: attire.Catalog, splits: attire.Splits, untrained: attire.ModelBundle, kind: type[str] | type[Path]
) -> None:
    bundle, folder = kind(untrained.path), kind(catalog.path)
    by_path = attire.evaluate(bundle, folder, "val")
    assert by_path.model_dump_json() == attire.evaluate(untrained, catalog, splits.val).model_dump_json()
    photo = catalog.photo_paths()[0][0]
    assert attire.Predictor(bundle)(kind(photo)) == attire.Predictor(untrained)(photo)
    assert attire.explain(bundle, kind(photo)).ranked == attire.explain(untrained, photo).ranked
    assert attire.Splits.load(folder) == attire.Splits.of(folder, catalog) == attire.Splits.of(None, catalog) == splits
    assert attire.split(folder, val=0.3, seed=1) == splits


@pytest.mark.parametrize("kind", [str, Path])
def test_training_takes_paths(
    catalog: attire.Catalog,
    splits: attire.Splits,
    untrained: attire.ModelBundle,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[str] | type[Path],
) -> None:
    calls: list[tuple[Any, ...]] = []

    def prepare(*arguments: Any) -> Mock:
        calls.append(arguments)
        return Mock()

    monkeypatch.setattr(run.Run, "prepare", prepare)
    folder = kind(catalog.path)
    attire.train(catalog, splits, out="run", init_from=untrained)
    attire.train(folder, folder, out="run", init_from=kind(untrained.path))
    attire.train(folder, out="run")
    assert [call[0].digest for call in calls] == [catalog.digest] * 3
    assert [call[1] for call in calls] == [splits] * 3
    assert [call[4] and call[4].digest for call in calls] == [untrained.digest, untrained.digest, None]
