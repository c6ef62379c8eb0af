"""Fuzz feeds and taxonomies: each is read, or refused with a clear message; nothing crashes or hangs.

python benchmarks/fuzz_feeds.py [--minutes 5] [--seed 0] [--kinds csv jsonl ...] [--keep DIR] [--json FILE]

Damages bytes of small feeds of every source and format, and inserts hostile words. Readable feeds go through all steps:
rows, a drafted taxonomy, reading its file, checking the rows against it and another taxonomy, and writing tables. Any
exception other than attire's own is a failure, and so is a control character in printed text. Cases run in separate
processes with limited memory, so that crashes and hangs are detected too.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import resource
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from support.mutation import mutated

from attire.catalog.check import check, summarise
from attire.catalog.feed_row import Row
from attire.catalog.sources import SOURCES, SourceOptions
from attire.catalog.store import TABLES
from attire.catalog.taxonomy_draft import draft_taxonomy
from attire.errors import AttireError, FeedError, TaxonomyError
from attire.taxonomy import Key, Taxonomy
from attire.terminal import CONTROL, Console

LIMIT_S, MEMORY = 20, 4 * 2**30
WORDS = [
    *("", " ", "|", "a|b", "no", "NA", "null", "nan", "1e999", "-0", "=1+1", "..", "../../x", "/etc/passwd", "a\\b"),
    *("\0", "\x1b[31m", "\x1b]0;t\x07", "\x9b1m", "\u202egnp", "\u2028", "\u200b", "\ufeff", "[/bold]", ":smile:"),
    *("é", "e\u0301", "ǆ", "İ", "ß", "😀", "\U000e0041", "\ud800", "\udce9", "x" * 3000, "9" * 5000, "0x" + "f" * 5000),
    *('"', "'", ",", "\t", "\r", "\n", "\\", "{", "}", "[", "]", "[" * 3000, '{"a":' * 1500, "#", "'''", '"""'),
    *(
        '"\\ud800"',
        "\\ud800",
        "\\u0000",
        "true",
        "1_000",
        "0x10",
        "2024-13-45",
        "{'a': [1]}",
        "{'a': b'x'}",
        "lambda: 0",
    ),
]
OPTIONS: list[dict[str, Any]] = [
    *({"keys": ("neck", "fit")} for _ in range(6)),
    {},
    {"attributes": "json"},
    {"encoding": "utf-16"},
    {"encoding": "cp1252"},
    {"encoding": "utf-7"},
    {"encoding": "idna"},
    {"encoding": "unicode_escape"},
    {"delimiter": ";"},
    {"delimiter": "\0"},
    {"separator": ","},
    {"category": "neck", "title": "neck", "group": "id"},
    {"keys": ("neck",), "ignore": ("fit",)},
    {"empty": ()},
]
KNOWN = Taxonomy(
    categories=("Shirts", "Jeans"),
    keys={
        "neck": Key(categories=("Shirts",), values=("Polo", "Round Neck"), aliases={"crew": "Round Neck"}),
        "fit": Key(arity="many", categories=("Shirts", "Jeans"), values=("slim", "loose")),
    },
)
PRODUCTS = [
    {"id": "s1", "category": "Shirts", "image": "a.jpg|b.jpg", "title": "A shirt", "group": "g1", "neck": "Polo"},
    {"id": "s2", "category": "shirts", "image": "c.jpg", "title": 'Two "good", cheap', "group": "", "neck": "crew"},
    {"id": "s2", "category": "Shirts", "image": "d.jpg", "title": "", "group": "", "neck": ""},
    {"id": "é3", "category": "Jeans", "image": "https://x/é.jpg", "title": "Ein\nZwei", "group": "g1", "neck": "NA"},
]
WIDE: list[dict[str, Any]] = [
    {**product, "fit": "slim|loose", "json": json.dumps({"neck": "Polo", "fit": ["slim"]})} for product in PRODUCTS
]


@dataclass(slots=True)
class Case:
    """The files of one case, and how to read the first one."""

    source: str
    files: dict[str, bytes]
    options: dict[str, Any] = field(default_factory=dict)


def table(delimiter: str) -> bytes:
    return pl.DataFrame(WIDE).write_csv(separator=delimiter).encode()


def json_lines() -> bytes:
    nested = {**WIDE[0], "id": "n", "image": ["a.jpg"], "neck": ["Polo"], "fit": None, "size": 3.0, "json": {"neck": 1}}
    return "\n".join(json.dumps(row, ensure_ascii=row["id"] == "s1") for row in (*WIDE, nested)).encode()


def parquet(compression: Any) -> bytes:
    typed: dict[str, list[Any]] = {
        "sizes": [["S"], [], None, ["M", "L"]],
        "weight": [1.0, 2.5, None, float("nan")],
        "sold": [1, 2, 3, None],
    }
    content = io.BytesIO()
    frame = pl.DataFrame(WIDE).with_columns(**{name: pl.Series(cells, strict=False) for name, cells in typed.items()})
    frame.with_columns(kind=pl.col("category").cast(pl.Categorical)).write_parquet(content, compression=compression)
    return content.getvalue()


def flipkart() -> bytes:
    rows = ["{'neck': ['Polo', 'Round Neck'], 'vertical': ['shirt'], 'fit': []}", "{'neck': ['crew']}", "{}"]
    return "\n".join(
        [",category,id,filename,attributes", *(f'{n},shirt,{n},{n}.jpg,"{row}"' for n, row in enumerate(rows))]
    ).encode()


STYLES = b"id,gender,articleType,baseColour,usage,productDisplayName\n7,Men,Shirts,Navy Blue,NA,A shirt, blue\n8,,,,,\n"
STYLE = json.dumps({"data": {"articleAttributes": {"Neck Type": "Round", "Fit": None, "usage": "NA"}}}).encode()
TOML = KNOWN.to_toml("Drafted.", {("", "Shirts"): 12, ("neck", "Polo"): 3}).encode()

KINDS: dict[str, Callable[[], Case]] = {
    "csv": lambda: Case("table", {"feed.csv": table(",")}),
    "tsv": lambda: Case("table", {"feed.tsv": table("\t")}),
    "jsonl": lambda: Case("table", {"feed.jsonl": json_lines()}),
    "parquet": lambda: Case("table", {"feed.parquet": parquet("zstd")}),
    "parquet-plain": lambda: Case("table", {"feed.parquet": parquet("uncompressed")}),
    "flipkart": lambda: Case("flipkart", {"feed.csv": flipkart()}),
    "myntra": lambda: Case("myntra", {"styles.csv": STYLES, "styles/7.json": STYLE, "styles/8.json": STYLE}),
    "taxonomy": lambda: Case("taxonomy", {"taxonomy.toml": TOML}),
}


def drawn(kind: str, seed: int) -> Case:
    """The case with this seed: damaged bytes, or inserted hostile words, or rarely both."""
    random, case = np.random.default_rng((seed, list(KINDS).index(kind))), KINDS[kind]()
    name = list(case.files)[random.integers(len(case.files))]
    content = case.files[name]
    choice = random.integers(10)
    if choice >= 3:
        content = with_words(random, content)
    if choice <= 3:
        content = mutated(random, [content, *case.files.values()])
    case.files[name] = content
    case.options = OPTIONS[random.integers(len(OPTIONS))] if case.source == "table" else {}
    return case


def with_words(random: np.random.Generator, content: bytes) -> bytes:
    """Insert one to three hostile words into the content, sometimes replacing up to nine bytes."""
    for _ in range(random.integers(1, 4)):
        word = WORDS[random.integers(len(WORDS))]
        escaped = json.dumps(word)[1:-1] if random.random() < 0.4 else word
        inserted = escaped.encode("utf-8", "surrogatepass")
        start = int(random.integers(len(content) + 1))
        removed = int(random.integers(10)) if random.random() < 0.3 else 0
        content = content[:start] + inserted + content[start + removed :]
    return content


def attempt(case: Case, folder: Path) -> str:
    """Run all steps on a case, and return "read" or "refused". Any exception is a failure."""
    for name, content in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    feed = folder / next(iter(case.files))
    try:
        if case.source == "taxonomy":
            check_round_trip(Taxonomy.load(feed))
            return "read"
        rows = list(SOURCES[case.source](feed, SourceOptions.model_validate(case.options)))
    except FeedError as error:
        check_printable(str(error), *error.problems[:50])
        return "refused"
    except TaxonomyError as error:
        check_printable(str(error))
        return "refused"
    check_writable(rows, folder)
    check_printable(summarise(check(rows, KNOWN).problems))
    try:
        draft = draft_taxonomy(rows)
    except FeedError as error:  # no category
        check_printable(str(error))
        return "read"
    check_round_trip(draft.taxonomy, draft.counts)
    assert not [p for p in check(rows, draft.taxonomy).problems if "is not one of" in p.message]
    return "read"


def check_round_trip(taxonomy: Taxonomy, counts: dict[tuple[str, str], int] | None = None) -> None:
    """A taxonomy survives writing and reading."""
    text = taxonomy.to_toml("Drafted from \x1b[31m\nfeed.", counts)
    assert Taxonomy.parse(tomllib.loads(text), "the draft") == taxonomy
    check_printable(*taxonomy.categories[:20], *taxonomy.keys)


def check_writable(rows: list[Row], folder: Path) -> None:
    """Rows survive writing and reading the tables of `attire predict` and `attire ingest`."""
    products = [
        {"id": r.id, "group": r.group, "category": r.category, "title": r.title, "images": r.images} for r in rows
    ]
    frame = pl.DataFrame(products, schema=TABLES["products"])
    frame.write_parquet(folder / "products.parquet")
    assert pl.read_parquet(folder / "products.parquet").equals(frame)
    frame.select("id", "title").write_csv(folder / "products.csv")
    with (folder / "products.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == frame["id"].to_list()
    json.dumps([list(row.labels.items()) for row in rows]).encode()


def check_printable(*texts: str) -> None:
    """No control character of the texts reaches a terminal."""
    screen = io.StringIO()
    Console(file=screen, width=100).print(*texts)
    assert not CONTROL.search(screen.getvalue().replace("\n", ""))


def worker(pipe: Connection, kinds: list[str], number: int, step: int) -> None:
    """Run cases forever; sends (kind, seed) before each case and its result after it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        for kind in kinds:
            pipe.send((kind, number))
            with tempfile.TemporaryDirectory() as folder:
                try:
                    pipe.send(attempt(drawn(kind, number), Path(folder)))
                except AttireError as error:
                    pipe.send(f"failed: an error of another kind: {type(error).__name__}: {error}")
                except BaseException:
                    pipe.send(f"failed: {traceback.format_exc(limit=-4)}")
        number += step


def run(kinds: list[str], seed: int, seconds: float, keep: Path | None) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Counts of cases that were read, refused or failed, per kind; and the failures."""
    counts, failures, end = Counter[str](), list[dict[str, Any]](), time.monotonic() + seconds
    context, workers = multiprocessing.get_context("spawn"), len(os.sched_getaffinity(0))

    def cases(first: int) -> Iterator[tuple[str, int, str]]:
        while time.monotonic() < end:
            pipe, worker_pipe = context.Pipe()
            process = context.Process(target=worker, args=(worker_pipe, kinds, first, workers), daemon=True)
            process.start()
            worker_pipe.close()
            current: tuple[str, int] | None = None
            try:
                while time.monotonic() < end:
                    if not pipe.poll(LIMIT_S if current else 60):
                        process.kill()
                        yield (*(current or ("", first)), f"failed: not done after {LIMIT_S} s")
                        break
                    message = pipe.recv()
                    if isinstance(message, tuple):
                        current = message
                    elif current is not None:
                        yield (*current, message)
            except EOFError:
                process.join()
                yield (*(current or ("", first)), f"failed: the process ended with {process.exitcode}")
            process.kill()
            first = (current or ("", first))[1] + workers

    streams = [cases(seed + number) for number in range(workers)]
    while streams:
        for stream in list(streams):
            case = next(stream, None)
            if case is None:
                streams.remove(stream)
                continue
            kind, number, result = case
            counts[f"{kind} {result.partition(':')[0]}"] += 1
            if result.startswith("failed"):
                failures.append({"kind": kind, "seed": number, "what": result})
                if keep is not None:
                    for name, content in drawn(kind, number).files.items():
                        (keep / f"{kind}-{number}" / name).parent.mkdir(parents=True, exist_ok=True)
                        (keep / f"{kind}-{number}" / name).write_bytes(content)
    return counts, failures


def main() -> None:
    """Run the fuzzer and print the results; exits with an error after any failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder for the files of cases that failed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counts, failures = run(options.kinds, options.seed, 60 * options.minutes, options.keep)
    results = {"cases": counts.total(), "results": dict(sorted(counts.items())), "failures": failures[:50]}
    print(json.dumps(results, indent=1))  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    assert not failures, f"{len(failures)} cases failed"


if __name__ == "__main__":
    main()
