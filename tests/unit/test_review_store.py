"""The store of decisions, on SQLite and on a real PostgreSQL: order, conflicts, undo, claims, migrations."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import Cluster
from sqlalchemy import text

from attire.errors import ConfigError, ReviewStoreError
from attire.review.store.claims import LEASE, claim, looking, release, renew
from attire.review.store.events import Action, Store, Verdict
from attire.review.store.models import Base

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "review.sqlite")
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


def say(
    value: str = "red", version: int = 0, product: str = "p1", key: str = "colour", action: Action = "set"
) -> Verdict:
    return Verdict(product, key, action, (value,) if action in ("set", "accept") else (), version)


def values(store: Store, product: str = "p1", key: str = "colour") -> tuple[str, ...] | None:
    held = store.held([product]).get((product, key))
    return None if held is None or not held.decided else held.values


def test_decisions_are_kept_with_who_and_when(store: Store, url: str) -> None:
    result = store.decide("Ann", [say(), say(key="tags", action="not applicable")], shown="digest", now=NOW)
    assert not result.conflicts
    store.close()
    again = Store(url)
    held = again.held()["p1", "colour"]
    assert (held.values, held.version, held.reviewer, held.at) == (("red",), 1, "Ann", NOW)
    assert [(row.key, row.state, row.shown) for row in again.history()] == [
        ("colour", "known", "digest"),
        ("tags", "not applicable", "digest"),
    ]
    assert again.decided().sort("key").rows() == [("p1", "colour"), ("p1", "tags")]
    again.close()


def test_who_saw_an_older_version_is_told_and_overwrites_nothing(store: Store) -> None:
    store.decide("Ann", [say("red")])
    late = store.decide("Ben", [say("blue"), say("zip", key="tags")])
    assert [(held.reviewer, held.values) for held in late.conflicts] == [("Ann", ("red",))]
    assert [held.key for held in late.saved] == ["tags"], "what is not in conflict is kept"
    assert values(store) == ("red",)
    seen = store.decide("Ben", [say("blue", version=late.conflicts[0].version)])
    assert (seen.conflicts, values(store)) == ((), ("blue",))
    assert len(store.history()) == 3


def test_who_says_the_same_meanwhile_agrees(store: Store) -> None:
    store.decide("Ann", [say("red")])
    late = store.decide("Ben", [say("red")])
    assert [(held.reviewer, held.values) for held in late.saved] == [("Ann", ("red",))]
    assert not late.conflicts
    assert len(store.history()) == 1
    assert not store.undo("Ben").saved, "it was Ann's decision"


def test_the_same_batch_twice_is_one_decision(store: Store) -> None:
    first = store.decide("Ann", [say()], "batch-of-ann")
    second = store.decide("Ann", [say()], "batch-of-ann")
    assert first.saved == second.saved
    assert not second.conflicts
    assert len(store.history()) == 1


def test_undo_goes_back_stroke_by_stroke_and_stays_on_record(store: Store) -> None:
    store.decide("Ann", [say("red")])
    store.decide("Ann", [say("blue", version=1), say("logo", key="tags")])
    assert {held.key for held in store.undo("Ann").saved} == {"colour", "tags"}
    assert (values(store), values(store, key="tags")) == (("red",), None)
    store.undo("Ann")
    assert values(store) is None
    assert store.decided().is_empty()
    assert store.undo("Ann").saved == ()
    assert [row.action for row in store.history()] == ["set", "set", "set", "undo", "undo", "undo"]
    assert store.held()["p1", "colour"].version == 4
    store.decide("Ann", [say("green", version=4)])
    assert values(store) == ("green",)
    store.undo("Ann")
    assert values(store) is None, "an undo of a later decision does not bring an undone one back"


def test_undo_leaves_what_others_have_decided_since(store: Store) -> None:
    store.decide("Ann", [say("red"), say("red", product="p2")])
    store.decide("Ben", [say("blue", version=1)])
    assert [held.product for held in store.undo("Ann").saved] == ["p2"]
    assert values(store) == ("blue",)
    store.undo("Ben")
    assert values(store) == ("red",), "Ann's decision holds again"
    store.undo("Ann")
    assert values(store) is None


def test_of_many_at_once_exactly_one_wins(store: Store) -> None:
    barrier, results = threading.Barrier(6), []

    def decide(name: str) -> None:
        barrier.wait()
        results.append(store.decide(name, [say(f"value of {name}", product=f"p{n}") for n in range(5)]))

    threads = [threading.Thread(target=decide, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(result.saved) for result in results) == 5
    assert sum(len(result.conflicts) for result in results) == 25
    assert len(store.history()) == 5


@pytest.mark.parametrize("change", ["UPDATE events SET reviewer = 'x'", "DELETE FROM events"])
def test_the_database_refuses_to_change_history(store: Store, change: str) -> None:
    store.decide("Ann", [say()])
    with (
        pytest.raises(ReviewStoreError, match="append-only"),
        store.engine.execution_options(writes=True).begin() as connection,
    ):
        connection.execute(text(change))


def test_migrations_make_what_the_models_describe(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_two_reviewers_are_given_different_products(store: Store) -> None:
    products = [f"p{n}" for n in range(6)]
    assert claim(store, "Ann", "a1", products, 2, now=NOW) == ["p0", "p1"]
    assert claim(store, "Ben", "b1", products, 2, now=NOW) == ["p2", "p3"]
    assert claim(store, "Ann", "a1", products, 3, now=NOW) == ["p0", "p1", "p4"], "one's own stay one's own"
    assert looking(store, now=NOW)["p2"] == "Ben"
    later = NOW + LEASE + timedelta(seconds=1)
    renew(store, "b1", now=later)
    assert looking(store, now=later) == {"p2": "Ben", "p3": "Ben"}, "a lease ends, unless its page is at work"
    assert claim(store, "Ben", "b1", products, 1, now=later) == ["p0"]
    release(store, "b1")
    assert not looking(store, now=later)


def test_a_later_page_takes_over_what_the_same_person_had(store: Store) -> None:
    claim(store, "Ann", "a1", ["p0", "p1"], 2, now=NOW)
    assert claim(store, "Ann", "a2", ["p1", "p2"], 2, now=NOW) == ["p1", "p2"]
    release(store, "a1")
    assert looking(store, now=NOW) == {"p1": "Ann", "p2": "Ann"}, "the earlier page goes late"


def test_of_many_at_once_each_product_goes_to_one(store: Store) -> None:
    products, barrier, given = [f"p{n}" for n in range(40)], threading.Barrier(6), []

    def ask(name: str) -> None:
        barrier.wait()
        given.extend(claim(store, name, f"page of {name}", products, 5))

    threads = [threading.Thread(target=ask, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == sorted(products[:30])


@pytest.mark.parametrize("version", [1, 7, 2**31 - 1, 2**63 - 2, 2**80])
def test_a_version_that_nobody_can_have_seen_freezes_nothing(store: Store, version: int) -> None:
    ahead = store.decide("Ann", [say("red", version=version), say("logo", key="tags")])
    assert [held.key for held in ahead.saved] == ["tags"]
    assert [(held.version, held.decided, held.reviewer) for held in ahead.conflicts] == [(0, False, "")]
    assert store.decide("Ann", [say("red")]).saved[0].version == 1
    assert store.decide("Ann", [say("blue", version=version + 1)]).conflicts[0].values == ("red",)
    assert (values(store), len(store.history())) == (("red",), 2)


def test_a_field_that_is_judged_twice_at_one_stroke_keeps_the_first(store: Store) -> None:
    both = store.decide("Ann", [say("red"), say("blue"), say("green", version=1)])
    assert [held.values for held in both.saved] == [("red",)]
    assert len(both.conflicts) == 2
    assert values(store) == ("red",)


def test_places_that_cannot_be_opened(tmp_path: Path) -> None:
    for store, told in (
        ("mysql://x/y", "expected SQLite"),
        ("sqlite://", "expected SQLite"),  # in memory: nothing would be kept
        ("sqlite:///:memory:", "expected SQLite"),
        ("://", "is not a URL"),
    ):
        with pytest.raises(ConfigError, match=told):
            Store(store)
    for store, told in (
        (str(tmp_path / "no" / "where.sqlite"), "No such file or directory.*--store"),
        (str(tmp_path), "Is a directory.*--store"),
        ("postgresql://nobody:secret@127.0.0.1:9/x", r"nobody:\*\*\*@.*cannot be used: .*refused"),
    ):
        with pytest.raises(ReviewStoreError, match=told):
            Store(store)
    with pytest.raises(ReviewStoreError, match="No such file"):
        Store(tmp_path / "review.sqlite", create=False)
    assert not list(tmp_path.iterdir())


def test_a_decision_is_on_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    with Store(tmp_path / "review.sqlite").engine.connect() as connection:
        full = 2
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == full
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_the_store_is_its_owners_unless_its_mode_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    for mode in (0o600, 0o660):
        store = Store(path)
        store.decide("Ann", [say()])
        files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
        assert [file.stat().st_mode & 0o777 for file in files] == [mode] * 3
        store.close()
        path.chmod(0o660)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_store_of_a_newer_attire_is_told(url: str) -> None:
    store = Store(url)
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ReviewStoreError, match=r"newer attire.*'9999'.*Update attire"):
        Store(url)


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    change(path, "CREATE TABLE places (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(ReviewStoreError, match="database of something else"):
        Store(path)
    assert path.read_bytes()[100:] == before[100:], "but for the header, which says that there is a log beside it"
    path.write_text("no database " * 1000)
    with pytest.raises(ReviewStoreError, match="not a database"):
        Store(path)


@pytest.mark.parametrize("page", [1, 2, 3, 5, 8])
def test_a_store_with_a_damaged_page_is_told_when_it_is_opened(tmp_path: Path, page: int) -> None:
    path = tmp_path / "review.sqlite"
    store = Store(path)
    store.decide("Ann", [say(product=f"product {n}") for n in range(500)])
    store.close()
    content, size = bytearray(path.read_bytes()), 4096
    content[page * size : page * size + 200] = b"\xee" * 200
    path.write_bytes(content)
    with pytest.raises(ReviewStoreError, match=r"review.sqlite.*(damaged|malformed).*copy in"):
        Store(path)


def test_damage_that_comes_later_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    store = Store(path)
    store.decide("Ann", [say()])
    store.close()
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(ReviewStoreError, match=r"cannot be used.*--store"):
        store.held()
