"""What a changed taxonomy does: as it is said before, so it is done by the next update."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers.bundles import save_bundle
from helpers.taxonomies import blues
from PIL import Image

from attire.catalog.ingest import ingest
from attire.catalog.row_words import KEY
from attire.catalog.store import TAXONOMY, Catalog
from attire.cli import app
from attire.config import Architecture
from attire.errors import CatalogError, TaxonomyError
from attire.files import read_parquet
from attire.model.network import build_network
from attire.review.store.events import STORE, Store, Verdict
from attire.taxonomy import CATEGORY, Key, Taxonomy
from attire.taxonomy_diff.diff import TaxonomyDiff, diff_taxonomy
from attire.taxonomy_diff.effects import BundleEffect, DecisionEffect, on_bundle, on_decisions
from attire.taxonomy_diff.words import Change, changes

OLD = Taxonomy(
    categories=("Shirts", "Boots", "Gifts"),
    keys={
        "colour": Key(categories=("Shirts", "Boots"), values=("red", "navy", "blue", "unknown")),
        "type": Key(arity="many", categories=("Boots",), values=("Boots", "Clogs")),
        "color": Key(categories=("Shirts",), values=("red",)),
        "mood": Key(categories=("Shirts",), values=("calm",)),
    },
)
NEW = Taxonomy(
    categories=("Tops", "Boots", "Hats"),
    category_aliases={"Shirts": "Tops"},
    retired_categories=("Gifts",),
    retired_keys=("mood",),
    key_aliases={"color": "colour"},
    keys={
        "colour": Key(categories=("Tops",), values=("Red", "blue"), aliases={"navy": "blue"}, retired=("unknown",)),
        "type": Key(categories=("Boots", "Hats"), values=("Ankle Boots", "Knee Boots", "Flats")),
        "fit": Key(categories=("Tops",), values=("slim",)),
    },
)
FEED = """\
id,category,image,colour,type,color,mood
a,Shirts,0.png,red,,,calm
b,Shirts,1.png,navy,,red,
c,Boots,2.png,unknown,Boots|Clogs,,
d,Boots,3.png,blue,Clogs,,
e,Gifts,4.png,,,,
"""


def test_every_kind_of_change_is_named() -> None:
    assert changes(OLD, NEW) == [
        Change("renamed", CATEGORY, ("Shirts",), ("Tops",)),
        Change("retired", CATEGORY, ("Gifts",), ()),
        Change("added", CATEGORY, (), ("Hats",)),
        Change("merged", KEY, ("colour", "color"), ("colour",)),
        Change("retired", KEY, ("mood",), ()),
        Change("added", KEY, (), ("fit",)),
        Change("renamed", "colour", ("red",), ("Red",), ("colour", "color")),
        Change("merged", "colour", ("navy", "blue"), ("blue",), ("colour", "color")),
        Change("retired", "colour", ("unknown",), (), ("colour", "color")),
        Change("applies no more", "colour", (), ("Boots",)),
        Change("split", "type", ("Boots",), ("Ankle Boots", "Knee Boots"), ("type",)),
        Change("removed", "type", ("Clogs",), (), ("type",)),
        Change("added", "type", (), ("Flats",), ("type",)),
        Change("arity", "type", ("many",), ("one",), ("type",)),
        Change("applies", "type", (), ("Hats",)),
    ]
    assert changes(OLD, OLD) == changes(NEW, NEW) == []


def test_a_bundle_keeps_the_columns_whose_words_stay() -> None:
    # red and navy are renamed and merged, unknown, Boots, Clogs and calm are gone, color: red is a second Red.
    assert on_bundle(OLD, NEW) == BundleEffect(8, 0, 0, 4, 4, 4, (CATEGORY, "colour", "type", "fit"))
    assert on_bundle(OLD, OLD) == BundleEffect(8, 8, 0, 0, 0, 0, ())
    respelled = Taxonomy.model_validate(OLD.model_dump() | {"key_titles": {"de": {"mood": "Stimmung"}}})
    assert on_bundle(OLD, respelled).train == (), "titles cost nothing"


def test_decisions_keep_their_value_if_the_new_taxonomy_has_all_of_it() -> None:
    decided = [
        ("colour", ("blue",)), ("colour", ("red",)), ("colour", ("unknown",)), ("colour", ()), ("mood", ()),
        ("type", ("Boots", "Clogs")), (CATEGORY, ("Boots",)), (CATEGORY, ("Shirts",)), (CATEGORY, ("Gifts",)),
    ]  # fmt: skip
    assert on_decisions(decided, NEW) == DecisionEffect(9, 3, 2, 4)
    assert on_decisions(decided, OLD) == DecisionEffect(9, 9, 0, 0)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """The products of `FEED` in the words of `OLD`."""
    (tmp_path / "photos").mkdir()
    for number in range(5):
        image = Image.effect_noise((40, 40), 20).convert("RGB")
        image.paste((50 * number, 255 - 50 * number, 128), (0, 0, 40, 8 * number + 1))
        image.save(tmp_path / f"photos/{number}.png")
    (tmp_path / "feed.csv").write_text(FEED)
    (tmp_path / "old.toml").write_text(OLD.to_toml())
    return ingest(tmp_path / "feed.csv", tmp_path / "photos", tmp_path / "catalog", taxonomy=tmp_path / "old.toml")


def apply(catalog: Catalog, taxonomy: Taxonomy) -> Catalog:
    """The catalog after an edit and an update by a feed that changes nothing."""
    (catalog.path / TAXONOMY).write_text(taxonomy.to_toml())
    week = catalog.path.parent / "week.csv"
    week.write_text("id,category,image\na,,\n")
    return ingest(week, catalog.path.parent / "photos", catalog.path, update=True)


def test_the_effect_on_labels_is_that_of_the_next_update(catalog: Catalog) -> None:
    before = set(catalog.labels.iter_rows())
    (catalog.path / TAXONOMY).write_text(NEW.to_toml())
    result = diff_taxonomy(catalog.path)
    assert set(read_parquet(catalog.path / "labels.parquet").iter_rows()) == before, "nothing was changed"
    labels = result.labels
    assert labels is not None
    after = set(apply(catalog, NEW).labels.iter_rows())
    # a: red -> Red. b: navy -> blue and color: red -> Red contradict each other. c: only retired or split words.
    # d: blue stays, Clogs was removed.
    assert after == {("a", "colour", "Red"), ("d", "colour", "blue")}
    assert (labels.kept, labels.renamed, labels.lost, labels.gained) == (1, 1, 7, 0)
    assert labels.lost_values["type", "Clogs"] == 2
    assert (labels.products, labels.rows_refused, labels.category_lost) == (5, 3, 1)
    assert (labels.not_applicable, labels.not_applicable_before) == (1, 0)
    affected = {(change.kind, change.key): result.affected(change) for change in result.changes}
    assert affected["split", "type"] == 1
    assert affected["merged", KEY] == 5
    assert affected["retired", CATEGORY] == 1
    assert affected["added", KEY] is None
    back = diff_taxonomy(catalog.path, catalog.path.parent / "old.toml").labels
    assert back is not None
    assert (back.kept, back.gained) == (1, 7 - 2), "the words were kept, and count again; b has two colours"


@pytest.mark.parametrize("seed", range(8))
def test_what_is_said_is_done_for_any_edit(catalog: Catalog, seed: int) -> None:
    draw = random.Random(seed)
    words = ["red", "navy", "blue", "unknown", "Boots", "Clogs", "calm", "new"]
    keys = {}
    for name in draw.sample(["colour", "type", "color", "mood", "fit"], draw.randint(1, 4)):
        values = tuple(draw.sample(words, draw.randint(1, 5)))
        others = [word for word in words if word not in values]
        aliases = {word: draw.choice(values) for word in draw.sample(others, draw.randint(0, 2))}
        retired = tuple(word for word in others if word not in aliases and draw.random() < 0.3)
        arity = draw.choice(["one", "many"])
        keys[name] = Key(arity=arity, categories=("Shirts",), values=values, aliases=aliases, retired=retired)
    gone = [name for name in OLD.keys if name not in keys]
    aliases = {name: draw.choice([*keys]) for name in gone if draw.random() < 0.5}
    new = Taxonomy(categories=("Shirts", "Boots", "Gifts"), keys=keys, key_aliases=aliases)
    before = set(catalog.labels.iter_rows())
    labels = diff_taxonomy(catalog.path, write(catalog, new)).labels
    assert labels is not None
    after = set(apply(catalog, new).labels.iter_rows())
    assert labels.kept == len(after & before)
    assert labels.kept + labels.renamed + labels.lost == len(before)
    targets = {(id, *found) for id, key, value in before if (found := new.label_named(key, value))}
    assert after <= targets, "nothing appears that no word stands for"
    renamed = [
        (id, *found) in after
        for id, key, value in before
        if (found := new.label_named(key, value)) is not None and found != (key, value)
    ]
    assert labels.renamed == sum(renamed)


def write(catalog: Catalog, taxonomy: Taxonomy) -> Path:
    file = catalog.path.parent / "new.toml"
    file.write_text(taxonomy.to_toml())
    return file


def test_decisions_and_bundles_are_found(catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(catalog.path / STORE)
    store.decide("Ann", [Verdict("a", "colour", "set", ("blue",), 0), Verdict("b", "colour", "set", ("unknown",), 0)])
    store.close()
    architecture = Architecture(backbone="resnet10t", hidden=8, shared=True)
    save_bundle(tmp_path / "bundle", build_network(architecture, OLD), architecture, OLD)
    (catalog.path / TAXONOMY).write_text(NEW.to_toml())
    result: TaxonomyDiff = diff_taxonomy(catalog.path, bundle=tmp_path / "bundle")
    assert result.decisions == DecisionEffect(2, 1, 0, 1)
    assert result.bundle == on_bundle(OLD, NEW)
    alone = diff_taxonomy(tmp_path / "bundle", catalog.path / TAXONOMY)
    assert (alone.labels, alone.decisions, alone.bundle) == (None, None, on_bundle(OLD, NEW))
    app(["taxonomy", "diff", str(catalog.path), "--bundle", str(tmp_path / "bundle")], result_action="return_value")
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 label becomes unknown: nothing says which of Ankle Boots, Knee Boots was 'Boots'" in printed
    assert "1 kept, 1 renamed, 7 lost, 0 gained" in printed
    assert "0 of 8 columns keep their name, 0 renamed, 4 merged, 4 gone; 4 values have no column" in printed
    assert "1 of 2 decisions keep their value, 0 renamed, 1 lost" in printed


def test_check_reads_an_edited_taxonomy(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    (catalog.path / TAXONOMY).write_text(NEW.to_toml())
    app(["taxonomy", "check", str(catalog.path)], result_action="return_value")
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 categories, 3 keys, 6 values: valid" in printed
    assert "category 'Hats'" in printed
    assert "It was edited since the last ingest" in printed
    app(["taxonomy", "check", str(catalog.path.parent / "old.toml")], result_action="return_value")
    assert "colour 'unknown'" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"nothing to compare .*old.toml with"):
        diff_taxonomy(tmp_path / "old.toml")
    with pytest.raises(CatalogError, match="photos holds no finished catalog"):
        diff_taxonomy(tmp_path / "photos", tmp_path / "old.toml")
    (catalog.path / TAXONOMY).write_text(NEW.to_toml())
    for copy in (catalog.path / "versions").glob("taxonomy-*"):
        copy.unlink()
    with pytest.raises(CatalogError, match="written by an earlier attire, which kept no copy of it"):
        diff_taxonomy(catalog.path)
    assert diff_taxonomy(tmp_path / "old.toml", catalog=catalog.path).labels is not None, "OLD is what it had"


def test_parents_are_changes_that_cost_nothing() -> None:
    old, new = blues(), blues({"Navy Blue": "Blue", "Teal": "Red", "Red": "Blue"})
    assert changes(old, new) == [
        Change("parent", "colour", ("Teal",), ("Red",), ("colour",)),
        Change("parent", "colour", ("Red",), ("Blue",), ("colour",)),
        Change("parent no more", "colour", ("Light Navy",), ("Navy Blue",), ("colour",)),
        Change("parent no more", "colour", ("Teal",), ("Blue",), ("colour",)),
    ]
    assert changes(old, old) == []
    assert on_bundle(old, new) == BundleEffect(7, 7, 0, 0, 0, 0, ())
    content = old.model_dump()
    content["keys"]["colour"] |= {
        "values": ("Red", "Blue", "Navy"),
        "parents": {"Navy": "Blue"},
        "aliases": {"Navy Blue": "Navy", "Light Navy": "Navy", "Teal": "Blue"},
    }
    renamed = Taxonomy.model_validate(content)
    assert {change.kind for change in changes(old, renamed)} == {"merged"}, "the parents are the same as before"


def test_a_new_parent_costs_no_label(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    edited = OLD.to_toml().replace('"unknown",\n]', '"unknown",\n]\nparents = { navy = "blue" }')
    (catalog.path / TAXONOMY).write_text(edited)
    for verb in ("check", "diff"):
        app(["taxonomy", verb, str(catalog.path)], result_action="return_value")
    printed = " ".join(capsys.readouterr().out.split())
    assert "8 values, 1 of them with a parent: valid" in printed
    assert "parent │ colour │ navy → blue │ – │" in printed
    assert "9 kept, 0 renamed, 0 lost, 0 gained" in printed
    before = set(catalog.labels.iter_rows())
    after = apply(catalog, Taxonomy.load(catalog.path / TAXONOMY))
    assert set(after.labels.iter_rows()) == before
    assert after.taxonomy.parents("colour") == {"navy": "blue"}
