"""Photos of a host that never answers are given up after a few, and those of all other hosts are not."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from helpers.photo_server import serving_photos
from PIL import Image

from attire.catalog import downloads
from attire.catalog.ingest import ingest
from attire.errors import PhotoError
from attire.photos import remote
from attire.photos.remote import Remote
from attire.photos.silent_hosts import LIMIT, SilentHosts

pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "READ_S", 0.2)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_ingest_gives_a_silent_host_up(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(downloads, "FETCHERS", 2)
    tries = 0

    def counting(self: Remote, url: str, headers: Mapping[str, str]) -> object:
        nonlocal tries
        tries += silent in url
        return opening(self, url, headers)

    opening = Remote.open
    monkeypatch.setattr(Remote, "open", counting)
    png = io.BytesIO()
    Image.effect_noise((40, 40), 60).save(png, "PNG")
    with serving_photos() as server:
        server.photos = {"/a": png.getvalue()}
        urls = [*(f"http://{silent}/{n}" for n in range(40)), f"{server.url}/a", f"{server.url}/none"]
        feed = tmp_path / "feed.csv"
        feed.write_text("id,category,image\n" + "".join(f"p{n},Shirts,{url}\n" for n, url in enumerate(urls)))
        catalog = ingest(feed, (), tmp_path / "catalog")
    reasons = catalog.quarantine.filter(kind="photo")["reason"].to_list()
    given_up = f"given up: {silent} has not answered for any of {LIMIT} other photos"
    assert reasons.count(given_up) >= 40 - LIMIT - 1
    assert reasons.count("not found") == 1
    assert len(reasons) == 41
    assert tries <= (LIMIT + 1) * remote.ATTEMPTS, "one more may be under way"
    assert f"{silent} has not answered for any of {LIMIT} photos: its other photos are given up" in caplog.text
    assert catalog["p40"].images


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "http://nothing.invalid/a.png"])
def test_hosts_without_a_server_are_given_up(url: str) -> None:
    at = Remote()
    reasons = []
    for _ in range(LIMIT + 2):
        with pytest.raises(PhotoError) as caught:
            at.photo(url).read()
        reasons.append(str(caught.value))
    assert all(reason.startswith("cannot be downloaded") for reason in reasons[:LIMIT])
    assert all(reason.startswith("given up") for reason in reasons[LIMIT:])
    with pytest.raises(PhotoError, match="cannot be downloaded"):
        Remote().photo(url).read()


def test_a_host_that_has_answered_is_never_given_up() -> None:
    hosts = SilentHosts()
    for error in (TimeoutError(), ConnectionRefusedError()):
        for _ in range(LIMIT):
            hosts.failed("http://down.example/a", error)
    with pytest.raises(PhotoError, match=r"down\.example has not answered"):
        hosts.check("http://user@DOWN.example/b")
    hosts.check("http://down.example:8080/another-host")
    hosts.answered("http://down.example/c")
    for _ in range(3 * LIMIT):
        hosts.failed("http://down.example/a", TimeoutError())
        hosts.failed("http://busy.example/a", RuntimeError("503"))
    hosts.check("http://down.example/b")
    for _ in range(3 * LIMIT):
        hosts.failed("http://busy.example/a", TimeoutError())
    hosts.check("http://busy.example/a")
    hosts.check("http://[")


def test_photos_can_still_be_sent_to_other_processes() -> None:
    photo = Remote(("gs",)).photo("http://shop.example/a.png")
    assert pickle.loads(pickle.dumps(photo)) == photo
