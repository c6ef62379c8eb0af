"""What an earlier attire wrote is opened and means what it meant. `formats` has one archive per format ever written."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from attire.bundle import SPEC, ModelBundle
from attire.catalog.splits import Splits, split
from attire.catalog.store import MANIFEST, Catalog
from attire.errors import AttireError, BundleError, CatalogError
from attire.evaluation.compare import compare
from attire.evaluation.report import Report
from attire.inference.predictor import Predictor
from attire.review.store.events import Store

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.fixture(params=sorted(FORMATS.glob("*.tar.xz")), ids=lambda archive: archive.name.partition(".")[0])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A catalog, a bundle, a report and a review store that attire wrote on that day."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_an_earlier_catalog_and_its_splits_open(earlier: Path) -> None:
    catalog = Catalog.load(earlier / "catalog")
    assert (len(catalog), len(catalog.labels), list(catalog.taxonomy.keys)) == (12, 16, ["colour", "tags"])
    splits = Splits.load(catalog)
    assert sorted((*splits.train, *splits.val)) == catalog.ids
    manifest = json.loads((catalog.path / "splits.json").read_text())
    assert split(catalog) == splits, "products keep their split"
    assert json.loads((catalog.path / "splits.json").read_text()) == manifest, "an earlier attire reads it, too"


def test_an_earlier_bundle_opens_and_answers(earlier: Path) -> None:
    bundle = ModelBundle.load(earlier / "bundle")
    answer = Predictor(bundle, "torch", precision=None)(Image.new("RGB", (30, 40), "red"))
    assert answer.category in bundle.taxonomy.categories
    assert bundle.provenance["recipe"]["precision"] == "32-true", "what it was made from stays as it was recorded"
    assert bundle.learned is None, "it does not record the photos that it learned from"


def test_an_earlier_report_can_be_compared(earlier: Path) -> None:
    assert Report.load(earlier / "report").counts.products == 4
    comparison = compare(earlier / "report", earlier / "report")
    assert not any(difference.beyond_chance for difference in comparison.figures.values())


def test_earlier_decisions_are_kept(earlier: Path) -> None:
    (decision,) = Store(str(earlier / "review.sqlite")).held(["p001"]).values()
    assert (decision.key, decision.values, decision.reviewer) == ("colour", ("red",), "Ann")


@pytest.mark.parametrize(
    ("file", "load"), [(f"bundle/{SPEC}", ModelBundle.load), (f"catalog/{MANIFEST}", Catalog.load)]
)
def test_a_later_format_is_refused_with_what_to_do(earlier: Path, file: str, load: type) -> None:
    content = json.loads((earlier / file).read_text())
    (earlier / file).write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(AttireError, match=r"format 99.*[Uu]pdate attire") as refused:
        load((earlier / file).parent)
    assert isinstance(refused.value, BundleError | CatalogError)
