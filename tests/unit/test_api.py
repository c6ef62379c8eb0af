"""The public surface: what `import attire` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import attire


def test_every_name_is_there() -> None:
    assert attire.__all__ == sorted(attire.__all__)
    assert dir(attire) == attire.__all__
    for name in attire.__all__:
        assert getattr(attire, name).__name__ == name


def test_launchers_can_start_the_package() -> None:
    process = subprocess.run([sys.executable, "-m", "attire", "--help"], capture_output=True, text=True, check=False)
    assert process.returncode == 0
    assert "train" in process.stdout


def test_other_names_are_not() -> None:
    assert not hasattr(attire, "trian")


def test_importing_attire_does_not_import_torch() -> None:
    code = "import sys, attire; attire.Taxonomy, attire.Recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
