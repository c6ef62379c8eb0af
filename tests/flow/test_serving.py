"""Real servers: shutdown, reload without losing a request, killed workers, the OpenAPI description, and the page."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import schemathesis
from helpers.serve_client import PATIENCE_S, FakeEngine, ask, get, photo, served, server, until
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from attire.bundle import ModelBundle
from attire.errors import BundleError
from attire.promotion.promote import rollback
from attire.promotion.versions import add_version
from attire.serve.app import create_app
from attire.serve.live_bundle import Model
from attire.serve.server import run
from attire.serve.settings import Settings
from attire.shelf import ShelfEntry, add_entry, read_shelf, require_shelf

CHROMIUM = Path("/usr/bin/chromium")
ADMIN = "a" * 24
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
RED = photo((220, 30, 30))


@pytest.fixture
def bundle(untrained: ModelBundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(untrained.path, tmp_path / "bundle"))


def damage(bundle: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(b"damaged")


def replace(bundle: Path, untrained: ModelBundle, created: str) -> None:
    """Write another bundle to that path: the same network with another digest."""
    shutil.copytree(untrained.path, bundle, dirs_exist_ok=True)
    spec = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**spec, "created": created}))


class Load:
    """Clients that send requests all the time, each over one connection; counts the statuses of the answers."""

    def __init__(self, address: str, clients: int = 3) -> None:
        self.address, self.answers, self.bundles = address, Counter[str](), Counter[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answers["200"] > 5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=PATIENCE_S) as api:
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
    with server(bundle) as (address, process, log):
        with Load(address) as load:
            replace(bundle, untrained, "2031-01-01T00:00:00")
            process.send_signal(signal.SIGHUP)
            until(lambda: len(load.bundles) == 2)
            damage(bundle)
            process.send_signal(signal.SIGHUP)
            until(lambda: "the old one stays" in log())
            seen = load.answers["200"]
            until(lambda: load.answers["200"] > seen + 5)
        assert load.answers.keys() == {"200"}


@pytest.fixture
def shelf(untrained: ModelBundle, tmp_path: Path) -> Path:
    """A shelf with one version."""
    on_shelf(tmp_path / "shelf", untrained.path)
    return tmp_path / "shelf"


def on_shelf(shelf: Path, bundle: Path) -> None:
    """Make the bundle the present version without comparing it."""
    entry = ShelfEntry(action="promote", version=1, digest="", who="test", when="now")
    shelf.mkdir(exist_ok=True)
    found = read_shelf(shelf)
    add_version(shelf, ModelBundle.load(bundle), entry, found.present if found else None)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_follows_its_shelf_without_losing_a_request(
    shelf: Path, bundle: Path, untrained: ModelBundle, workers: int
) -> None:
    replace(bundle, untrained, "2031-01-01T00:00:00")
    with server(shelf, "--workers", str(workers)) as (address, _, log):
        until(lambda: log().count("Application startup complete") == workers)
        with Load(address, clients=2) as load:
            on_shelf(shelf, bundle)
            until(lambda: log().count("answers") == 2 * workers)
            (old,) = load.bundles.keys() - {ModelBundle.load(bundle).digest[:12]}
            rollback(shelf)
            until(lambda: log().count("answers") == 3 * workers)
            seen = load.bundles[old]
            until(lambda: load.bundles[old] > seen + 5)
            damage(shelf / "versions" / "0002")
            add_entry(shelf, require_shelf(shelf).versions[1].model_copy(update={"action": "rollback"}))
            until(lambda: "the old one stays" in log())
            seen = load.bundles[old]
            until(lambda: load.bundles[old] > seen + 5)
        assert load.answers.keys() == {"200"}
        assert len(load.bundles) == 2


def test_termination_answers_what_is_in_flight(bundle: Path) -> None:
    def several(address: str) -> int | None:
        photos = [photo(size=(1500, 1500))] * 8
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as api:
            try:
                return ask(api, *photos).status_code
            except httpx.TransportError:
                return None  # it connected when the server had stopped listening, or just before

    with server(bundle) as (address, process, log):
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(several, address) for _ in range(8)]
            until(lambda: admitted(address) > 0)
            in_flight = admitted(address) / 8
            process.terminate()
            statuses = [answer.result() for answer in answers]
        assert set(statuses) <= {200, None}
        assert statuses.count(200) >= max(1, in_flight)
        process.wait(PATIENCE_S)
        assert "Finished server process" in log()


def admitted(address: str) -> float:
    """Photos of requests that the server is working on."""
    (line,) = (
        line for line in get(f"{address}/metrics").text.splitlines() if line.startswith("attire_photos_admitted ")
    )
    return float(line.split()[1])


def test_termination_waits_for_a_request_that_is_on_its_way(bundle: Path) -> None:
    with server(bundle) as (address, process, log):
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port), timeout=PATIENCE_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
            get(f"{address}/healthz")  # answered after the other connection was accepted
            process.terminate()
            until(lambda: "Shutting down" in log())
            connection.sendall(b"Host: localhost\r\n\r\n")
            with connection.makefile("rb") as answer:
                content = answer.read()  # until the server closes the connection
        assert content.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in content.lower()
        process.wait(PATIENCE_S)


def test_a_killed_worker_is_replaced_even_while_the_bundle_at_the_path_is_broken(
    bundle: Path, untrained: ModelBundle
) -> None:
    with server(bundle, "--workers", "2") as (address, process, log):
        until(lambda: log().count("Application startup complete") == 2)
        with Load(address) as load:
            damage(bundle)
            process.send_signal(signal.SIGHUP)
            until(lambda: "the old one stays" in log())
            assert 'attire_reloads_total{outcome="refused"} 1.0' in get(f"{address}/metrics").text
            assert load.answers.keys() == {"200"}
            children = psutil.Process(process.pid).children()
            next(one for one in children if "spawn_main" in " ".join(one.cmdline())).kill()
            until(lambda: log().count("Application startup complete") == 3)
            replace(bundle, untrained, "2031-01-01T00:00:00")
            process.send_signal(signal.SIGHUP)
            until(lambda: len(load.bundles) == 2)
            until(lambda: log().count("answers") == 5)
        # Clients that were connected to the killed worker lost one request each; the others lost none.
        lost = sum(count for kind, count in load.answers.items() if kind != "200")
        assert lost <= 3, load.answers


def test_workers_end_when_their_supervisor_is_killed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with server(bundle, "--workers", "2") as (address, process, log):
        until(lambda: log().count("Application startup complete") == 2)
        assert ask(httpx.Client(base_url=address, timeout=PATIENCE_S), photo(size=(2500, 2500))).status_code == 200
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("attire.serve.decoder_process" in one.cmdline() for one in family)
        process.kill()
        until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family))
        assert "the supervisor is gone" in log()
    assert not list(tmp_path.glob("attire-serve-*"))


def answering(address: str) -> dict[str, set[str]]:
    """The bundle versions in use, each with the ids of its processes, from /metrics."""
    line = re.compile(r'attire_bundle\{pid="(\d+)",version="(\w+)"\} 1\.0')
    pids: dict[str, set[str]] = {}
    for pid, version in line.findall(get(f"{address}/metrics").text):
        pids.setdefault(version, set()).add(pid)
    return pids


def test_reload_over_http_reaches_every_worker_and_reports_a_broken_bundle(
    bundle: Path, untrained: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTIRE_ADMIN_KEYS", ADMIN)
    admin = {"Authorization": f"Bearer {ADMIN}"}
    with server(bundle, "--workers", "2") as (address, process, _):
        until(lambda: [len(pids) for pids in answering(address).values()] == [2])
        (old,) = answering(address)
        damage(bundle)
        refused = httpx.post(f"{address}/admin/reload", headers=admin, timeout=PATIENCE_S)
        assert refused.status_code == 409
        assert "is not the file that was saved" in refused.json()["detail"]
        replace(bundle, untrained, "2031-01-01T00:00:00")
        accepted = httpx.post(f"{address}/admin/reload", headers=admin, timeout=PATIENCE_S)
        assert accepted.status_code == 202
        new = accepted.json()["bundle"]
        assert new != old
        until(lambda: {version: len(pids) for version, pids in answering(address).items()} == {new: 2})
        (before,) = answering(address).values()
        next(one for one in psutil.Process(process.pid).children() if str(one.pid) in before).kill()
        until(lambda: len(answering(address)[new] - before) == 1 and len(answering(address)[new]) == 2)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/batch", "/v2/models/attire/infer"])
def test_a_body_that_does_not_arrive_is_refused_and_its_connection_closed(untrained: ModelBundle, path: str) -> None:
    kind = "multipart/form-data; boundary=x" if path == "/v1/predict" else "application/json"
    with listening(untrained, upload_s=0.4) as address, socket.socket() as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", int(address.rpartition(":")[2])))
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n--x\r\n"
        client.sendall(head.encode())
        start, answer = time.monotonic(), b""
        with contextlib.suppress(ConnectionError):  # the server resets the connection if data arrives after it closed
            while received := client.recv(4096):
                answer += received
                with contextlib.suppress(ConnectionError):  # single bytes do not extend the time limit
                    client.sendall(b"-")
        assert 0.3 < time.monotonic() - start < 5
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"within 0.4 s" in answer
        assert get(f"{address}/healthz").status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_bundle_is_refused_before_anything_listens(bundle: Path, workers: int) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=f"{bundle}/weights.safetensors is not the file that was saved"):
        run(Settings(bundle=bundle), 1, workers)


@contextmanager
def listening(bundle: ModelBundle, **limits: Any) -> Iterator[str]:
    """Serve a fake engine in a thread; yields the address."""
    model = Model(bundle, FakeEngine(bundle.taxonomy))
    app_settings = Settings(bundle=bundle.path, admin_keys=(SecretStr(ADMIN),), **limits)
    with served(create_app(app_settings, load=lambda _: model)) as address:
        yield address


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_all_answers_match_the_openapi_description(untrained: ModelBundle, mode: GenerationMode) -> None:
    checked = 0
    with listening(untrained) as address:
        for result in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            if mode == GenerationMode.NEGATIVE and operation.method == "get" and "{" not in operation.path:
                continue  # it has no parameter that could be invalid

            @settings(
                max_examples=10,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Case[Any]) -> None:
                case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {ADMIN}"})

            try:
                check()
            except Unsatisfiable:
                continue  # every value is valid, for example any string as a name
            checked += 1
    assert checked >= 4


@pytest.fixture(scope="module")
def address(untrained: ModelBundle) -> Iterator[str]:
    """The address of a server with the real network."""
    with server(untrained.path) as (url, _, _):
        yield url


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """A Chromium page at `address`, as wide as a phone; fails for console errors and requests to other servers."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda sent: None if sent.url.startswith((address, "blob:")) else faults.append(sent.url))
        opened.goto(address)
        yield opened
        assert [fault for fault in faults if "422" not in fault] == []
        browser.close()


def upload(page: Any, *photos: bytes) -> None:
    page.set_input_files("#file", [{"name": "p.png", "mimeType": "image/png", "buffer": content} for content in photos])


def test_the_page_shows_the_answer_and_its_evidence(page: Any) -> None:
    upload(page, photo((220, 30, 30), (120, 160)))
    page.wait_for_selector("#answer .verdict strong")
    assert page.inner_text("#answer .verdict strong") in ("Belts", "Shirts", "Trousers")
    assert "colour" in page.inner_text("#answer")
    assert "null" not in page.inner_text("#answer")
    assert "%" in page.inner_text("#answer .verdict .percent")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    button = page.locator(".verdict .where")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#heat:not([hidden])")
    until(lambda: page.evaluate("document.querySelector('#heat').naturalWidth") == 120)
    assert button.get_attribute("aria-pressed") == "true"
    assert "Heat map" in page.get_attribute("#heat", "alt")
    page.keyboard.press("Enter")
    page.wait_for_selector("#heat", state="hidden")


def test_the_page_reports_unused_photos_and_errors(page: Any) -> None:
    upload(page, photo(), b"no photo")
    page.wait_for_selector("#answer .verdict strong")
    assert "Photo 2 was left out" in page.inner_text("#status")
    assert page.locator("#thumbs button").count() == 2
    upload(page, b"<img src=x onerror=alert(1)>")
    page.wait_for_selector("#problem:not([hidden])")
    assert "expected JPEG, PNG or WebP" in page.inner_text("#problem")
    assert page.locator("#answer").is_hidden()


def test_everything_on_the_page_has_a_name_for_a_screen_reader(page: Any) -> None:
    upload(page, photo())
    page.wait_for_selector("#answer .verdict strong")
    page.click("summary")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, img, a")].filter((one) =>
             !(one.ariaLabel || one.alt || one.textContent.trim() || one.querySelector("img[alt]") ||
               one.labels?.length || one.id === "heat")).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    page.select_option("#category", "Belts")
    page.wait_for_selector(".verdict strong:text-is('Belts')")
