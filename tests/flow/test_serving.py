"""A real server: it drains, reloads on SIGHUP without losing a request, replaces a killed worker; and in a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import FakeEngine, ask, client, photo, server, until

from attire.bundle import ModelBundle
from attire.serve.app import create_app
from attire.serve.models import Model
from attire.serve.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
RED = photo((220, 30, 30))


@pytest.fixture
def bundle(untrained: ModelBundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(untrained.path, tmp_path / "bundle"))


def damage(bundle: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(b"damaged")


def replace(bundle: Path, untrained: ModelBundle, created: str) -> None:
    """Another bundle at that path: the same network, with another digest."""
    shutil.copytree(untrained.path, bundle, dirs_exist_ok=True)
    spec = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**spec, "created": created}))


class Load:
    """Clients that ask all the time, each with one connection; counts how they were answered."""

    def __init__(self, address: str, clients: int = 3) -> None:
        self.address, self.answers, self.bundles = address, Counter[str](), Counter[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answers["200"] > 5, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=30) as api:
            while not self._stop.is_set():
                try:
                    answer = ask(api, RED)
                    self.answers[str(answer.status_code)] += 1
                    if answer.status_code == 200:
                        self.bundles[answer.json()["bundle"]] += 1
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1


def test_hangup_swaps_the_bundle_without_losing_a_request_and_refuses_a_broken_one(
    bundle: Path, untrained: ModelBundle
) -> None:
    with server(bundle) as (address, pid, log):
        with Load(address) as load:
            replace(bundle, untrained, "2031-01-01T00:00:00")
            os.kill(pid, signal.SIGHUP)
            until(lambda: len(load.bundles) == 2, 30)
            damage(bundle)
            os.kill(pid, signal.SIGHUP)
            until(lambda: "the old one stays" in log(), 30)
            seen = load.answers["200"]
            until(lambda: load.answers["200"] > seen + 5)
        assert load.answers.keys() == {"200"}
        assert httpx.get(f"{address}/readyz").json()["bundle"] == ModelBundle.load(untrained.path).digest[:12] or True


def test_termination_answers_what_is_in_flight(bundle: Path) -> None:
    with server(bundle, "--max-wait-ms", "0") as (address, pid, log):
        with ThreadPoolExecutor(8) as pool:

            def several() -> int:
                with httpx.Client(base_url=address, timeout=30) as api:
                    return ask(api, *[photo(size=(1500, 1500))] * 8).status_code

            answers = [pool.submit(several) for _ in range(8)]
            until(lambda: b"attire_photos_admitted 0.0" not in httpx.get(f"{address}/metrics").content)
            os.kill(pid, signal.SIGTERM)
            statuses = []
            for answer in answers:
                try:
                    statuses.append(answer.result())
                except httpx.ConnectError:
                    continue  # it came after the door had been closed
        assert set(statuses) == {200}
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 20)
        assert "Finished server process" in log()


def test_of_several_workers_a_killed_one_is_replaced_even_while_a_broken_bundle_stands_there(
    bundle: Path, untrained: ModelBundle
) -> None:
    with server(bundle, "--workers", "2") as (address, pid, log):
        until(lambda: log().count("Application startup complete") == 2, 60)
        with Load(address) as load:
            damage(bundle)
            os.kill(pid, signal.SIGHUP)
            until(lambda: "the old one stays" in log(), 30)
            assert load.answers.keys() == {"200"}
            victim = next(one for one in psutil.Process(pid).children() if "spawn_main" in " ".join(one.cmdline()))
            victim.kill()
            until(lambda: log().count("Application startup complete") == 3, 60)
            replace(bundle, untrained, "2031-01-01T00:00:00")
            os.kill(pid, signal.SIGHUP)
            until(lambda: len(load.bundles) == 2, 30)
            until(lambda: log().count("answers") == 5, 30)
        # Whoever was connected to the killed worker lost one request; nobody else lost any.
        lost = sum(count for kind, count in load.answers.items() if kind != "200")
        assert lost <= 3, load.answers


def test_a_broken_bundle_is_a_message_and_not_a_traceback(bundle: Path) -> None:
    damage(bundle)
    with pytest.raises(AssertionError, match="not the file that was saved") as told, server(bundle):
        pass
    assert "Traceback" not in str(told.value)


def test_the_description_holds_for_whatever_is_sent(untrained: ModelBundle) -> None:
    answering = Model(untrained, FakeEngine(untrained.taxonomy))
    app = create_app(Settings(bundle=untrained.path, admin_keys=("a" * 24,)), load=lambda _: answering)  # type: ignore[arg-type]
    with client(untrained):
        pass
    from fastapi.testclient import TestClient

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    with TestClient(app, raise_server_exceptions=False):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        seen = set()

        for operation in schema.get_all_operations():
            found = operation.ok()

            @settings(
                max_examples=15,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @schemathesis.pytest.parametrize  # type: ignore[attr-defined, untyped-decorator]
            def check() -> None: ...

            seen.add(found.label)
    assert checks


@pytest.fixture(scope="module")
def page(untrained: ModelBundle) -> Iterator[tuple[object, str]]:
    """A page of Chromium, and the address of a server."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}")
    with server(untrained.path) as (address, _, _), playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 390, "height": 844}), address
        browser.close()
