"""Filling exports of Shopify, and files that Shopify and Google import."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import accepting_bundle
from helpers.fake_engines import Answers
from PIL import Image

from attire.bundle import ModelBundle
from attire.catalog.sources import SourceOptions
from attire.cli import app
from attire.errors import ConfigError, FeedError
from attire.filling.fill import fill
from attire.filling.listings import Listing
from attire.filling.shop_tables import google_table, shopify_table
from attire.filling.summary import FillSummary
from attire.references.mapping import Target
from attire.spreadsheets import read_csv
from attire.taxonomy import Key, Taxonomy

COLOR = "Color (product.metafields.shopify.color-pattern)"
TAGS = "Tags (product.metafields.shopify.tags)"
BOTH = ("T-Shirts", "Belts")
TAXONOMY = Taxonomy(
    categories=BOTH,
    keys={
        "color": Key(categories=BOTH, values=("red", "navy blue"), aliases={"crimson": "red"}),
        "tags": Key(arity="many", categories=("T-Shirts",), values=("logo", "zip")),
        "for": Key(categories=("T-Shirts",), values=("men", "pets")),
    },
)
PHOTOS = {
    "red": ((220, 30, 30), ("T-Shirts", "red", "logo", "zip", "men?", "pets?")),
    "blue": ((30, 30, 220), ("Belts", "navy blue")),
}
EXPORT = f"""\
Handle,Title,"Body (HTML)",Product Category,Image Src,{COLOR},{TAGS}
tee,Tee,"<p>A ""tee"",
soft</p>",Clothes > Tops > T-Shirts,red.png,,
tee,,,,red.png?,,
tee,,,,blue.png,,
cap,Cap,,,red.png,crimson,zip; logo
belt,Belt,,,blue.png,,
"""
SHOPIFY = f"""\
to = "shopify"
[categories]
"T-Shirts" = {{ id = "xx-1", name = "Clothes > Tops > T-Shirts" }}
[keys.color."{COLOR}"]
red = {{ id = "color__red", name = "Bright Red" }}
[keys.tags."{TAGS}"]
logo = "Logo"
zip = "Half zip"
"""
GOOGLE = """\
to = "google"
[categories]
"T-Shirts" = { id = "12", name = "Clothes > Tops" }
Belts = ""
[keys.color.color]
red = "Red"
"navy blue" = "Navy"
[keys.for.gender]
men = "male"
[keys.for.age_group]
men = "adult"
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return accepting_bundle(tmp_path_factory.mktemp("bundle") / "bundle", TAXONOMY, "0.95")


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory, with photos, an export and mappings."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, (colour, _) in PHOTOS.items():
        Image.new("RGB", (24, 32), colour).save(f"photos/{name}.png")
    Path("export.csv").write_text(EXPORT)
    Path("shopify.toml").write_text(SHOPIFY)
    Path("google.toml").write_text(GOOGLE)


def run(bundle: ModelBundle, feed: str, out: str, **options: Any) -> FillSummary:
    return fill(bundle, feed, out, images="photos", engine=Answers(TAXONOMY, dict(PHOTOS.values())), **options)


def cells(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_an_export_is_filled_in_the_first_row_of_each_product(bundle: ModelBundle) -> None:
    Path("export.csv").write_text(EXPORT.replace(",blue.png,,\ncap", ",red.png,,\ncap"))
    summary = run(bundle, "export.csv", "out.csv", source="shopify")
    expected = EXPORT.replace(",blue.png,,\ncap", ",red.png,,\ncap").replace(
        "T-Shirts,red.png,,\n", "T-Shirts,red.png,crimson,logo; zip\n"
    )
    expected = expected.replace("cap,Cap,,,", "cap,Cap,,Clothes > Tops > T-Shirts,")
    assert Path("out.csv").read_text() == expected.replace("belt,Belt,,,blue.png,,", "belt,Belt,,,blue.png,navy blue,")
    counts = {count.key: (count.filled, count.left_open, count.not_applicable) for count in summary.keys}
    assert counts == {"category": (1, 1, 0), "color": (2, 0, 0), "tags": (1, 0, 1)}
    reasons = read_csv(Path("out.fill.csv")).filter(key="category", status="left open")["reason"]
    assert reasons.to_list() == ["the feed has no full path of 'Belts'"]
    assert summary.products == 3


def test_a_file_for_shopify(bundle: ModelBundle) -> None:
    Path("feed.csv").write_text(
        "id,image,category,title,color,tags,for,season\n"
        "Tee 1,red.png,T-Shirts,Tee,,,,summer\n"
        "Tee 2,blue.png,,=Belt,,,,\n"
        "Tee 3,red.png,t shirts,Tee,crimson,zip,pets,\n"
        "Tee 4,missing.png,T-Shirts,Tee,mauve,,,\n"
        "tee-1,red.png,,Tee,,,,\n"
        "Tee 5,red.png,,,,,,\n"
    )
    summary = run(bundle, "feed.csv", "out.csv", shop="shopify", mapping="shopify.toml")
    path = "Clothes > Tops > T-Shirts"
    assert cells("out.csv") == [
        {"Handle": "tee-1", "Title": "Tee", "Product Category": path, COLOR: "bright-red", TAGS: "logo; half-zip"},
        {"Handle": "tee-2", "Title": "=Belt", "Product Category": "", COLOR: "", TAGS: ""},
        {"Handle": "tee-3", "Title": "Tee", "Product Category": path, COLOR: "bright-red", TAGS: "half-zip"},
        {"Handle": "tee-4", "Title": "Tee", "Product Category": path, COLOR: "", TAGS: ""},
    ]
    assert summary.unmapped == {
        "the key for": 1,
        "category 'Belts'": 1,
        "color 'navy blue'": 1,
        "color 'mauve'": 1,
    }
    assert summary.left_out == {
        "products left out: the ids 'Tee 1' and 'tee-1' give the same handle": 1,
        "products left out: Shopify requires a title": 1,
    }
    assert (summary.without_column, sum(summary.unread.values())) == ((), 1)
    report = read_csv(Path("out.fill.csv"))
    assert report.filter(id="Tee 1", key="for")["status"].to_list() == ["left open"]  # and so it is not in the file


def test_a_file_for_google(bundle: ModelBundle) -> None:
    Path("feed.csv").write_text(
        "id,image,title,color,for,size\n"
        "1,red.png,A\u2003long  title,,men,M\n"
        "2,blue.png,,navy blue,,\n"
        f"3,https://cdn/red.png|red.png,{'x' * 151},,,\n"
        f"{'4' * 51},red.png,,,,\n"
    )
    summary = run(bundle, "feed.csv", "out.tsv", shop="google", mapping="google.toml")
    rows = cells("out.tsv", "\t")
    assert [*rows[0]] == [
        "id", "title", "google_product_category", "color", "gender", "age_group", "size", "image_link"
    ]  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        ("1", "A long title", "12", "Red", "male", "adult", "M", ""),
        ("2", "", "", "Navy", "", "", "", ""),
        ("3", "", "12", "Red", "", "", "", "https://cdn/red.png"),
    ]
    assert summary.left_out == {
        "title left blank: it has more than 150 characters": 1,
        "products left out: the id has more than 50 characters": 1,
    }
    assert summary.unmapped == {"the key tags": 3}  # "" leaves Belts out on purpose


def test_the_limits_of_google() -> None:
    colors = [Target(name=name) for name in ("Red", "Blue", "Green", "Black")]
    fields = [
        {"color": colors},
        {"color": [Target(name="x" * 41)]},
        {"color": [Target(name="123")]},
        {"material": [Target(name="y" * 99)] * 3},
        {"gender": [Target(name="male"), Target(name="female")]},
        {"pattern": [Target(name="Dots"), Target(name="Stripes")]},
    ]
    table = google_table([Listing(str(n), "", "", (), None, field) for n, field in enumerate(fields)])
    assert [{**row, "id": ""} for row in table.rows] == [
        {"id": "", **kept} for kept in ({"color": "Red/Blue/Green"}, {}, {}, {}, {}, {"pattern": "Dots"})
    ]
    assert table.left_out == {
        "color: more values than Google takes": 1,
        "color left blank: a color has more than 40 characters": 1,
        "color left blank: a color has no letters": 1,
        "material left blank: it has more than 200 characters": 1,
        "gender: more values than Google takes": 1,
        "pattern: more values than Google takes": 1,
    }


@pytest.mark.parametrize(
    ("id", "handle"),
    [
        ("tee_1", "tee_1"),
        ("赤-シャツ", "赤-シャツ"),
        ("SKU 12/3", "sku-12-3"),
        ("-a-", "a"),
        ("Tee", "tee"),
        ("007", "007"),
    ],
)
def test_ids_as_handles(id: str, handle: str) -> None:
    assert shopify_table([Listing(id, "A", "", ())]).rows[0]["Handle"] == handle


def test_the_limits_of_shopify() -> None:
    listings = [Listing("!", "A", "", ()), Listing("a" * 256, "A", "", ()), Listing("b", "x" * 256, "", ())]
    own = Listing("c", "C", "", (), None, {"Fit (product.metafields.custom.fit)": [Target(name="Slim Fit")]})
    table = shopify_table([*listings, own])
    assert table.rows == [{"Handle": "c", "Title": "C", "Fit (product.metafields.custom.fit)": "Slim Fit"}]
    assert [*table.left_out.values()] == [2, 1]
    assert google_table([Listing("1", "", f"https://{'x' * 2000}", ())]).left_out == {
        "image_link left blank: it has more than 2,000 characters": 1
    }


def test_an_export_becomes_a_file_for_google(bundle: ModelBundle) -> None:
    run(bundle, "export.csv", "out.tsv", source="shopify", shop="google", mapping="google.toml")
    rows = cells("out.tsv", "\t")
    assert [(row["id"], row["color"], row["google_product_category"]) for row in rows] == [
        ("tee", "", "12"),  # its photos disagree
        ("cap", "Red", "12"),
        ("belt", "Navy", ""),
    ]


@pytest.mark.parametrize(
    ("options", "out", "error", "message"),
    [
        ({"shop": "shopify"}, "out.csv", ConfigError, "--as shopify needs --mapping"),
        ({"mapping": "shopify.toml"}, "out.csv", ConfigError, "--mapping is for a file that a shop imports"),
        ({"shop": "google", "mapping": "shopify.toml"}, "out.tsv", ConfigError, "maps to shopify, but --as is google"),
        ({"shop": "google", "mapping": "google.toml"}, "out.csv", ConfigError, r"ends in \.tsv or \.txt"),
        ({"shop": "shopify", "mapping": "no.toml"}, "out.csv", ConfigError, "cannot read no.toml"),
        ({"source": "flipkart"}, "out.csv", ConfigError, "reads the sources table and shopify, not 'flipkart'"),
        ({}, "out.csv", FeedError, "No column 'id'"),
    ],
)
def test_options_that_do_not_fit(
    bundle: ModelBundle, options: dict[str, Any], out: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(bundle, "export.csv", out, **options)
    assert not Path(out).exists()


def test_the_command_names_what_is_left_out(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ModelBundle, "load", lambda _: bundle)
    monkeypatch.setattr("attire.inference.bulk.open_engine", lambda *_: Answers(TAXONOMY, dict(PHOTOS.values())))
    command = "fill bundle export.csv --source shopify --as shopify --mapping shopify.toml --images photos --out o.csv"
    app(command.split(), result_action="return_value")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Not mapped (products): category 'Belts' (1); color 'navy blue' (1)" in printed
    assert cells("o.csv")[1]["Handle"] == "cap"


def test_keys_may_be_chosen_with_a_json_column(bundle: ModelBundle) -> None:
    Path("feed.csv").write_text('id,image,title,all\n1,red.png,Tee,"{""color"": ""crimson""}"\n')
    run(bundle, "feed.csv", "out.csv", shop="shopify", mapping="shopify.toml", options=SourceOptions(attributes="all"))
    assert cells("out.csv")[0][COLOR] == "bright-red"
