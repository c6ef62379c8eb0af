"""The store of decisions on SQLite and PostgreSQL: versions, conflicts, undo, leases, migrations, damage."""

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
from helpers.postgres import Cluster
from sqlalchemy import text

from attire.errors import ConfigError, ReviewStoreError
from attire.review.store.claims import LEASE, claim, release, renew, viewers
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


def verdict(
    value: str = "red", version: int = 0, product: str = "p1", key: str = "colour", action: Action = "set"
) -> Verdict:
    return Verdict(product, key, action, (value,) if action in ("set", "accept") else (), version)


def values(store: Store, product: str = "p1", key: str = "colour") -> tuple[str, ...] | None:
    decision = store.held([product]).get((product, key))
    return None if decision is None or not decision.decided else decision.values


def test_decisions_are_kept_with_who_and_when(store: Store, url: str) -> None:
    result = store.decide("Ann", [verdict(), verdict(key="tags", action="not applicable")], shown="digest", now=NOW)
    assert not result.conflicts
    store.close()
    again = Store(url)
    decision = again.held()["p1", "colour"]
    assert (decision.values, decision.version, decision.reviewer, decision.at) == (("red",), 1, "Ann", NOW)
    assert [(row.key, row.state, row.shown) for row in again.history()] == [
        ("colour", "known", "digest"),
        ("tags", "not applicable", "digest"),
    ]
    assert again.decided().sort("key").rows() == [("p1", "colour"), ("p1", "tags")]
    again.close()


def test_a_verdict_on_an_older_version_is_a_conflict(store: Store) -> None:
    store.decide("Ann", [verdict("red")])
    late = store.decide("Ben", [verdict("blue"), verdict("zip", key="tags")])
    assert [(decision.reviewer, decision.values) for decision in late.conflicts] == [("Ann", ("red",))]
    assert [decision.key for decision in late.saved] == ["tags"], "the other verdict is saved"
    assert values(store) == ("red",)
    seen = store.decide("Ben", [verdict("blue", version=late.conflicts[0].version)])
    assert (seen.conflicts, values(store)) == ((), ("blue",))
    assert len(store.history()) == 3


def test_an_equal_verdict_on_an_older_version_agrees(store: Store) -> None:
    store.decide("Ann", [verdict("red")])
    late = store.decide("Ben", [verdict("red")])
    assert [(decision.reviewer, decision.values) for decision in late.saved] == [("Ann", ("red",))]
    assert not late.conflicts
    assert len(store.history()) == 1
    assert not store.undo("Ben").saved, "it was Ann's decision"


def test_the_same_batch_twice_is_one_decision(store: Store) -> None:
    first = store.decide("Ann", [verdict()], "batch-of-ann")
    second = store.decide("Ann", [verdict()], "batch-of-ann")
    assert first.saved == second.saved
    assert not second.conflicts
    assert len(store.history()) == 1


def test_undo_goes_back_batch_by_batch_and_is_recorded(store: Store) -> None:
    store.decide("Ann", [verdict("red")])
    store.decide("Ann", [verdict("blue", version=1), verdict("logo", key="tags")])
    assert {decision.key for decision in store.undo("Ann").saved} == {"colour", "tags"}
    assert (values(store), values(store, key="tags")) == (("red",), None)
    store.undo("Ann")
    assert values(store) is None
    assert store.decided().is_empty()
    assert store.undo("Ann").saved == ()
    assert [row.action for row in store.history()] == ["set", "set", "set", "undo", "undo", "undo"]
    assert store.held()["p1", "colour"].version == 4
    store.decide("Ann", [verdict("green", version=4)])
    assert values(store) == ("green",)
    store.undo("Ann")
    assert values(store) is None, "undoing a later decision does not restore an undone one"


def test_an_undo_that_is_sent_again_undoes_nothing_more(store: Store) -> None:
    """The answer to the first request may have been lost."""
    for product in ("p1", "p2"):
        store.decide("Ann", [Verdict(product, "colour", "set", ("red",), 0)])
    first = store.undo("Ann", "an undo")
    assert [decision.product for decision in first.saved] == ["p2"]
    assert store.undo("Ann", "an undo") == first
    assert store.decided().rows() == [("p1", "colour")]
    assert [decision.product for decision in store.undo("Ann", "another undo").saved] == ["p1"]


def test_undo_leaves_what_others_have_decided_since(store: Store) -> None:
    store.decide("Ann", [verdict("red"), verdict("red", product="p2")])
    store.decide("Ben", [verdict("blue", version=1)])
    assert [decision.product for decision in store.undo("Ann").saved] == ["p2"]
    assert values(store) == ("blue",)
    store.undo("Ben")
    assert values(store) == ("red",), "Ann's decision is in force again"
    store.undo("Ann")
    assert values(store) is None


def test_of_concurrent_verdicts_exactly_one_wins(store: Store) -> None:
    barrier, results = threading.Barrier(6), []

    def decide(name: str) -> None:
        barrier.wait()
        results.append(store.decide(name, [verdict(f"value of {name}", product=f"p{n}") for n in range(5)]))

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
    store.decide("Ann", [verdict()])
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
    assert claim(store, "Ann", "a1", products, 3, now=NOW) == ["p0", "p1", "p4"], "she keeps her own products"
    assert viewers(store, now=NOW)["p2"] == "Ben"
    later = NOW + LEASE + timedelta(seconds=1)
    renew(store, "b1", now=later)
    assert viewers(store, now=later) == {"p2": "Ben", "p3": "Ben"}, "a lease ends unless its page renews it"
    assert claim(store, "Ben", "b1", products, 1, now=later) == ["p0"]
    release(store, "b1")
    assert not viewers(store, now=later)


def test_a_later_page_of_the_same_reviewer_takes_over_leases(store: Store) -> None:
    claim(store, "Ann", "a1", ["p0", "p1"], 2, now=NOW)
    assert claim(store, "Ann", "a2", ["p1", "p2"], 2, now=NOW) == ["p1", "p2"]
    release(store, "a1")
    assert viewers(store, now=NOW) == {"p1": "Ann", "p2": "Ann"}, "the earlier page is closed late"


def test_of_concurrent_claims_each_product_goes_to_one(store: Store) -> None:
    products, barrier, claimed = [f"p{n}" for n in range(40)], threading.Barrier(6), []

    def ask(name: str) -> None:
        barrier.wait()
        claimed.extend(claim(store, name, f"page of {name}", products, 5))

    threads = [threading.Thread(target=ask, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(products[:30])


@pytest.mark.parametrize("version", [1, 7, 2**31 - 1, 2**63 - 2, 2**80])
def test_a_version_that_does_not_exist_yet_is_a_conflict(store: Store, version: int) -> None:
    ahead = store.decide("Ann", [verdict("red", version=version), verdict("logo", key="tags")])
    assert [decision.key for decision in ahead.saved] == ["tags"]
    (conflict,) = ahead.conflicts
    assert (conflict.version, conflict.decided, conflict.reviewer) == (0, False, "")
    assert store.decide("Ann", [verdict("red")]).saved[0].version == 1
    assert store.decide("Ann", [verdict("blue", version=version + 1)]).conflicts[0].values == ("red",)
    assert (values(store), len(store.history())) == (("red",), 2)


def test_of_two_verdicts_on_a_field_in_one_batch_the_first_is_kept(store: Store) -> None:
    both = store.decide("Ann", [verdict("red"), verdict("blue"), verdict("green", version=1)])
    assert [decision.values for decision in both.saved] == [("red",)]
    assert len(both.conflicts) == 2
    assert values(store) == ("red",)


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    for store, message in (
        ("mysql://x/y", "expected SQLite"),
        ("sqlite://", "expected SQLite"),  # in memory: nothing would be saved
        ("sqlite:///:memory:", "expected SQLite"),
        ("://", "is not a valid URL"),
    ):
        with pytest.raises(ConfigError, match=message):
            Store(store)
    for store, message in (
        (str(tmp_path / "no" / "where.sqlite"), "No such file or directory.*--store"),
        (str(tmp_path), "Is a directory.*--store"),
        ("postgresql://nobody:secret@127.0.0.1:9/x", r"nobody:\*\*\*@.*cannot be used: .*refused"),
    ):
        with pytest.raises(ReviewStoreError, match=message):
            Store(store)
    with pytest.raises(ReviewStoreError, match="No such file"):
        Store(tmp_path / "review.sqlite", create=False)
    assert not list(tmp_path.iterdir())


def test_a_decision_is_on_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    with Store(tmp_path / "review.sqlite").engine.connect() as connection:
        full = 2
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == full
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_a_new_store_has_mode_0600_and_an_existing_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    for mode in (0o600, 0o660):
        store = Store(path)
        store.decide("Ann", [verdict()])
        files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
        assert [file.stat().st_mode & 0o777 for file in files] == [mode] * 3
        store.close()
        path.chmod(0o660)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_store_of_a_newer_attire_is_reported(url: str) -> None:
    store = Store(url)
    with store.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ReviewStoreError, match=r"newer attire.*'9999'.*Update attire"):
        Store(url)


def test_a_database_of_another_program_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    change(path, "CREATE TABLE places (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(ReviewStoreError, match="database of another program"):
        Store(path)
    assert path.read_bytes()[100:] == before[100:], "only the header changes: it records WAL mode"
    path.write_text("no database " * 1000)
    with pytest.raises(ReviewStoreError, match="not a database"):
        Store(path)


@pytest.mark.parametrize("page", [1, 2, 3, 5, 8])
def test_a_damaged_page_is_reported_when_the_store_is_opened(tmp_path: Path, page: int) -> None:
    path = tmp_path / "review.sqlite"
    store = Store(path)
    store.decide("Ann", [verdict(product=f"product {n}") for n in range(500)])
    store.close()
    content, size = bytearray(path.read_bytes()), 4096
    content[page * size : page * size + 200] = b"\xee" * 200
    path.write_bytes(content)
    with pytest.raises(ReviewStoreError, match=r"review.sqlite.*(damaged|malformed).*by a copy"):
        Store(path)


def test_later_damage_is_reported_too(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    store = Store(path)
    store.decide("Ann", [verdict()])
    store.close()
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(ReviewStoreError, match=r"cannot be used.*--store"):
        store.held()
