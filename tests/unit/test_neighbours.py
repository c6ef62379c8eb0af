"""Similar labelled photos: the search finds the nearest ones, and only those that may be shown."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.bundles import save_bundle

from attire.bundle import ModelBundle
from attire.catalog.splits import Splits, kept_for_test, split
from attire.catalog.store import Catalog
from attire.config import Architecture
from attire.embeddings import cached_embeddings
from attire.errors import CatalogError, ConfigError, MissingExtraError, TaxonomyError
from attire.explanation.explain import explain
from attire.files import file_sha256
from attire.model.colour import COLOURS
from attire.model.multiscale import feature_width
from attire.model.network import build_network
from attire.neighbours import search as searching
from attire.neighbours.labelled_photos import LabelledPhotos, cached_photos
from attire.neighbours.search import ExactSearch, GraphSearch, make_search
from attire.neighbours.vectors import photo_vectors
from attire.pixels.content_cache import FOLDER
from attire.taxonomy import CATEGORY

Floats = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def unit_vectors(count: int, width: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def oracle(vectors: Floats, queries: Floats, count: int, allowed: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    """The rows of the nearest vectors, by sorting all of them."""
    similarity = np.where(allowed, queries @ vectors.T, -np.inf)
    rows = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(np.take_along_axis(similarity, rows, axis=1)), rows, -1)


@pytest.mark.parametrize("allowed", [1.0, 0.4, 0.05, 0.0])
@pytest.mark.parametrize("count", [1, 6, 70])
def test_the_exact_search_equals_sorting(allowed: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "ROWS", 13)  # many blocks, the last one not full
    monkeypatch.setattr(searching, "QUERIES", 4)
    vectors, queries = unit_vectors(60, 8), unit_vectors(9, 8, seed=1)
    marks = np.random.default_rng(2).random(60) < allowed
    found = ExactSearch(vectors).nearest(queries, count, marks)
    expected = oracle(vectors, queries, count, marks)
    assert (found.rows[:, : expected.shape[1]] == expected).all()
    assert (found.rows[:, expected.shape[1] :] == -1).all()
    assert (found.similarity[:, 1:] <= found.similarity[:, :-1]).all()
    assert (np.isneginf(found.similarity) == (found.rows < 0)).all()
    if allowed == 1:
        assert (ExactSearch(vectors).nearest(queries, count).rows == found.rows).all()


def test_equal_vectors_are_in_the_order_of_their_rows() -> None:
    vectors = np.repeat(unit_vectors(1, 4), 5, axis=0)
    assert ExactSearch(vectors).nearest(vectors[:1], 5).rows.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("allowed", [None, 0.5, 0.02])
def test_the_graph_finds_nearly_all_of_the_nearest(allowed: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(searching, "EXACT", 1000)
    vectors, queries = unit_vectors(4000, 32), unit_vectors(100, 32, seed=1)
    marks = np.random.default_rng(2).random(4000) < (1 if allowed is None else allowed)
    search = make_search(vectors)
    assert isinstance(search, GraphSearch)
    found = search.nearest(queries, 10, None if allowed is None else marks)
    assert marks[found.rows].all()
    expected = oracle(vectors, queries, 10, marks)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.rows.tolist(), expected.tolist(), strict=True)])
    assert recall >= 0.95
    one = search.nearest(queries[:1], 10, None if allowed is None else marks)
    assert {*one.rows[0]} == {*found.rows[0]}
    assert found.similarity == pytest.approx(np.einsum("qd,qkd->qk", queries, vectors[found.rows]), abs=2e-3)


def test_many_photos_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "EXACT", 10)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert isinstance(make_search(unit_vectors(10, 4)), ExactSearch)
    with pytest.raises(MissingExtraError, match=r"among 11 photos needs the extra 'neighbours'"):
        make_search(unit_vectors(11, 4))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings are cached outside the catalog, which other tests share."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))


@pytest.fixture
def photos(cache: None, untrained: ModelBundle, catalog: Catalog, splits: Splits) -> LabelledPhotos:  # noqa: ARG001
    return LabelledPhotos(untrained, catalog, compute=True)


def test_neighbours_are_labelled_and_of_other_groups(
    photos: LabelledPhotos, untrained: ModelBundle, catalog: Catalog
) -> None:
    group = dict(zip(catalog.ids, catalog.products["group"], strict=True))
    network, name = untrained.placed_network, untrained.spec.network.backbone
    embeddings = cached_embeddings(catalog, network, name, untrained.preprocess)
    assert embeddings is not None
    digests = dict(zip(catalog.ids, catalog.photo_digests(), strict=True))
    vector = {id: photo_vectors(untrained, embeddings[views]) for id, views in digests.items()}
    for id in catalog.ids[:12]:
        best = {
            other: float((vector[id][0] @ vector[other].T).max())
            for other in catalog.ids
            if group[other] != group[id] and "colour" in catalog[other].labels
        }
        assert len({group[other] for other in best}) == len(best), "all groups have one product here"
        found = photos.nearest_of(id, 0, "colour", 7)
        assert [other.similarity for other in found] == pytest.approx(sorted(best.values(), reverse=True)[:7], abs=1e-5)
        for other in found:
            assert other.similarity == pytest.approx(best[other.id], abs=1e-5)
            assert other.values == catalog[other.id].labels["colour"]
            assert file_sha256(other.path) == digests[other.id][other.photo]
    assert photos.nearest_of("p000", 0, CATEGORY, 1)[0].stated in catalog.taxonomy.categories
    assert len(photos.nearest_of("p000", 0, "colour", 1000)) == len(best), "as many as there are"
    with pytest.raises(TaxonomyError, match="did you mean 'colour'"):
        photos.nearest_of("p000", 0, "color")
    with pytest.raises(CatalogError, match="no product 'p9'"):
        photos.nearest_of("p9", 0, "colour")
    assert photos.nearest_of("p000", 5, "colour") == []


def test_the_test_split_and_the_random_sample_are_never_shown(
    cache: None,  # noqa: ARG001
    untrained: ModelBundle,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    for name in ("photos", "products", "labels", "quarantine"):
        (tmp_path / f"{name}.parquet").write_bytes((catalog.path / f"{name}.parquet").read_bytes())
    for name in ("taxonomy.toml", "manifest.json"):
        (tmp_path / name).write_bytes((catalog.path / name).read_bytes())
    (tmp_path / "photos").symlink_to(catalog.path / "photos")
    table = pl.read_parquet(tmp_path / "photos.parquet")
    absolute = [str(catalog.path / path) for path in table["path"]]
    table.with_columns(path=pl.Series(absolute)).write_parquet(tmp_path / "photos.parquet")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["tables"]["photos"] = file_sha256(tmp_path / "photos.parquet")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    copy = Catalog.load(tmp_path)
    copy.audited = frozenset({"p003"})  # a cached property
    chosen = split(copy, val=0.2, test=0.3, seed=3)
    assert kept_for_test(copy) == frozenset(chosen.test)
    found = LabelledPhotos(untrained, copy, compute=True).nearest_of("p000", 0, CATEGORY, 1000)
    assert {other.id for other in found} == {*chosen.train, *chosen.val} - {"p000", "p003"}
    copy.digest = "changed"  # no longer the catalog that was split
    assert len(LabelledPhotos(untrained, copy).nearest_of("p000", 0, CATEGORY, 1000)) == len(found)


def test_nothing_is_computed_unless_wanted(
    cache: None,  # noqa: ARG001
    untrained: ModelBundle,
    catalog: Catalog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos = LabelledPhotos(untrained, catalog)
    assert (len(photos), photos.nearest_of("p000", 0, "colour"), photos.embedded("p000", 0)) == (0, [], False)
    with caplog.at_level("INFO"):
        assert cached_photos(untrained, catalog) is None
    assert f"--catalog {catalog.path}" in caplog.text
    LabelledPhotos(untrained, catalog, compute=True)
    again = cached_photos(untrained, catalog)
    assert again is not None
    assert again.embedded("p000", 0)


def test_positions_are_no_vector(untrained: ModelBundle, catalog: Catalog) -> None:
    spec = untrained.spec.model_copy(update={"network": Architecture(backbone="test_resnet", head="csra")})
    bundle = replace(untrained, spec=spec)
    with pytest.raises(ConfigError, match="csra heads"):
        LabelledPhotos(bundle, catalog)
    assert cached_photos(bundle, catalog) is None


def test_colours_count_half(catalog: Catalog, tmp_path: Path) -> None:
    architecture = Architecture(backbone="test_resnet", head="linear", trunk=16, colour=8, pooling="multiscale")
    network = build_network(architecture, catalog.taxonomy)
    bundle = save_bundle(tmp_path / "colour", network, architecture, catalog.taxonomy)
    width = feature_width(bundle.network.backbone) + COLOURS
    features = np.random.default_rng(0).random((5, width), np.float32)
    vectors = photo_vectors(bundle, features)
    assert vectors.shape == (5, 24)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    shares = (vectors[:, 16:] ** 2).sum(axis=1)
    assert shares == pytest.approx(0.25 / 1.25)


def test_an_explanation_has_similar_photos(photos: LabelledPhotos, untrained: ModelBundle, catalog: Catalog) -> None:
    pytest.importorskip("torchcam")
    photo = catalog.photo_paths()[0][0]
    alone = explain(untrained, photo, "colour")
    assert (alone.seen, alone.opinion) == ((), "")
    explanation = explain(untrained, photo, "colour", catalog=catalog)
    expected = photos.nearest_of(catalog.ids[0], 0, "colour")
    assert [other.id for other in explanation.seen] == [other.id for other in expected], "its own group is left out"
    assert "of the 5 most similar photos state" in explanation.opinion
    plain, more = alone.picture(), explanation.picture()
    assert more.height > plain.height
    strip = np.asarray(more.convert("L"))[plain.height :]
    assert strip.min() < 200, "the photos are drawn below"
