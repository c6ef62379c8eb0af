"""Photos, feeds and archives from local servers (HTTP, S3 by moto) give the same results as the folder of photos."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.fake_engines import MeanColour

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.errors import AttireError, CatalogError, ConfigError, FeedError, PhotoError
from attire.inference import bulk
from attire.inference.bulk import predict
from attire.photos import archive, remote
from attire.photos.remote import Remote
from attire.photos.shards import expanded, samples

fsspec = pytest.importorskip("fsspec", reason="the extra 'remote' is not installed")
pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")


@pytest.fixture(scope="module")
def folder(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 photos in two folders, the last one truncated."""
    top = tmp_path_factory.mktemp("photos")
    for number, paths in enumerate(catalog.photo_paths()[:25]):
        photo = top / ("a" if number < 12 else "b") / f"{number:02d}.png"
        photo.parent.mkdir(exist_ok=True)
        photo.write_bytes(paths[0].read_bytes()[: 200 if number == 24 else None])
    return top


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """Serve the folder over HTTP. /fails always answers 503, and /flaky succeeds only every second time."""
    requests: dict[str, int] = {}

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            requests[self.path] = requests.get(self.path, 0) + 1
            if self.path.startswith("/fails/") or (self.path.startswith("/flaky/") and requests[self.path] % 2):
                self.send_error(503)
                return
            self.path = self.path.removeprefix("/flaky")
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(archive, "WAIT_S", 0.01)


@pytest.fixture
def of_folder(untrained: ModelBundle, folder: Path, tmp_path: Path) -> pl.DataFrame:
    out = tmp_path / "of_folder.csv"
    predict(untrained, folder, out, engine=MeanColour(untrained.taxonomy))
    return pl.read_csv(out, infer_schema=False).sort("id")


def answers(bundle: ModelBundle, source: str | Path, out: Path, **options: Any) -> pl.DataFrame:
    """Predict, and return the rows of all products, sorted by id."""
    predict(bundle, source, out, engine=MeanColour(bundle.taxonomy), **options)
    return pl.read_csv(out, infer_schema=False).sort("id")


def tar_of(folder: Path, out: Path, sidecars: bool = False, part: slice = slice(None)) -> Path:
    with tarfile.open(out, "w:gz" if out.suffix == ".gz" else "w") as tar:
        for photo in sorted(folder.rglob("*.png"))[part]:
            tar.add(photo, f"./{photo.relative_to(folder)}")
            if sidecars:
                sidecar = json.dumps({"title": f"title {photo.stem}"}).encode()
                for suffix, content in ((".cls", b"3"), (".json", sidecar)):
                    info = tarfile.TarInfo(f"./{photo.relative_to(folder).with_suffix(suffix)}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return out


def same(result: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare everything except the texts of errors, which contain the photo names of the source."""
    assert result.drop("error").equals(expected.drop("error"))
    assert result["error"].is_null().equals(expected["error"].is_null())


@pytest.mark.parametrize("name", ["photos.tar", "photos.tar.gz", "photos.zip"])
def test_archives_are_read_without_unpacking(
    untrained: ModelBundle, folder: Path, of_folder: pl.DataFrame, tmp_path: Path, name: str
) -> None:
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for photo in sorted(folder.rglob("*.png")):
                file.write(photo, photo.relative_to(folder))
    else:
        tar_of(folder, tmp_path / name)
    result = answers(untrained, tmp_path / name, tmp_path / "o.csv")
    same(result, of_folder)
    assert result["error"].drop_nulls().str.starts_with("b/24.png: ").all()


def test_shards_are_samples_with_their_keys(
    untrained: ModelBundle, folder: Path, of_folder: pl.DataFrame, tmp_path: Path
) -> None:
    for number in range(3):
        tar_of(folder, tmp_path / f"s-{number:03d}.tar", sidecars=True, part=slice(number * 10, number * 10 + 10))
    same(answers(untrained, f"{tmp_path}/s-{{000..002}}.tar", tmp_path / "a.csv"), of_folder)
    same(answers(untrained, f"{tmp_path}/s-*.tar", tmp_path / "b.csv"), of_folder)
    first = next(samples([f"{tmp_path}/s-000.tar"], tmp_path, Remote()))
    assert (first.id, first.title, len(first.photos)) == ("a/00", "title 00", 1)
    with pytest.raises(CatalogError, match=r"s-003\.tar does not exist"):
        answers(untrained, f"{tmp_path}/s-{{000..003}}.tar", tmp_path / "c.csv")


def test_samples_with_several_photos_have_distinct_ids(folder: Path, tmp_path: Path) -> None:
    content = (folder / "a" / "00.png").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("x.front.png", "x.back.png", "x.json", "y.png", "z.jpg", "y.jpg", "v.1.png", "v.2.png"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    counts = [(sample.id, len(sample.photos)) for sample in samples([str(tmp_path / "s.tar")], tmp_path, Remote())]
    assert counts == [("x", 2), ("y", 1), ("z", 1), ("y.jpg", 1), ("v.1", 1), ("v.2", 1)]


def test_patterns() -> None:
    assert expanded("s3://b/s-{08..11}.tar", Remote())[1:3] == ["s3://b/s-09.tar", "s3://b/s-10.tar"]
    assert expanded("{0..1}-{2..3}.tar", Remote()) == ["0-2.tar", "0-3.tar", "1-2.tar", "1-3.tar"]


def test_a_killed_run_on_an_archive_continues(
    untrained: ModelBundle, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 5)
    expected = answers(untrained, tar_of(folder, tmp_path / "photos.tar"), tmp_path / "expected.csv")
    tar, out = tmp_path / "photos.tar", tmp_path / "o.csv"

    class Dying(MeanColour):
        def logits(self, pixels: Any) -> Any:
            if self.photos >= 12:
                raise KeyboardInterrupt
            return super().logits(pixels)

    with pytest.raises(KeyboardInterrupt):
        predict(untrained, tar, out, engine=Dying(untrained.taxonomy), batch_size=4)
    second = predict(untrained, tar, out, engine=MeanColour(untrained.taxonomy))
    assert second.resumed == 10
    assert pl.read_csv(out, infer_schema=False).sort("id").equals(expected)
    truncated = tmp_path / "truncated.tar"
    truncated.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(CatalogError, match=r"truncated\.tar is damaged"):
        answers(untrained, truncated, tmp_path / "truncated.csv")


def test_photos_over_http(
    untrained: ModelBundle, folder: Path, of_folder: pl.DataFrame, site: str, tmp_path: Path
) -> None:
    names = [photo.relative_to(folder).as_posix() for photo in sorted(folder.rglob("*.png"))]
    ids = [name.removesuffix(".png") for name in names]
    feed = tmp_path / "feed.csv"
    feed.write_text("id,image\n" + "".join(f"{id},{site}/flaky/{name}\n" for id, name in zip(ids, names, strict=True)))
    same(answers(untrained, feed, tmp_path / "urls.csv"), of_folder)
    feed.write_text("id,image\n" + "".join(f"{id},{name}\n" for id, name in zip(ids, names, strict=True)))
    same(answers(untrained, feed, tmp_path / "base.csv", images=site), of_folder)
    (folder / "feed.csv").write_text(feed.read_text())
    same(answers(untrained, f"{site}/feed.csv", tmp_path / "feed.out.csv", images=[folder]), of_folder)
    for name in ("all.tar", "all.tar.gz"):
        tar_of(folder, folder / name)
        same(answers(untrained, f"{site}/{name}", tmp_path / f"{name}.csv"), of_folder)
    with zipfile.ZipFile(folder / "all.zip", "w") as file:
        for name in names:
            file.write(folder / name, name)
    same(answers(untrained, f"{site}/all.zip", tmp_path / "zip.csv"), of_folder)
    same(answers(untrained, feed, tmp_path / "z.csv", images=f"{site}/all.zip"), of_folder)


def test_network_faults_are_errors_of_single_products(untrained: ModelBundle, site: str, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    urls = {
        "good": f"{site}/a/00.png",
        "missing": f"{site}/none.png",
        "fails": f"{site}/fails/a.png",
        "refused": "http://127.0.0.1:9/a.png",
    }
    feed.write_text("id,image\n" + "".join(f"{id},{url}\n" for id, url in urls.items()))
    errors = dict(answers(untrained, feed, tmp_path / "o.csv").select("id", "error").iter_rows())
    assert errors["good"] is None
    assert errors["missing"] == f"{site}/none.png: not found"
    assert "503" in errors["fails"]
    assert "Connect" in errors["refused"]


def test_a_photo_has_a_maximum_size(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 100)
    with pytest.raises(PhotoError, match="too large"):
        Remote().photo(f"{site}/a/00.png").read()


def test_a_photo_has_a_maximum_download_time(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PHOTO_S", -1.0)
    with pytest.raises(PhotoError, match="the download takes more than"):
        Remote().photo(f"{site}/a/00.png").read()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("SITE/none.tar", CatalogError, "does not exist"),
        ("SITE/fails/feed.csv", CatalogError, "503"),
        ("nothing://x/feed.csv", ConfigError, "addresses that start with 'nothing://' are not allowed"),
        ("file:///etc/passwd.csv", ConfigError, "not allowed"),
        ("reference::http://127.0.0.1:9/x.csv", ConfigError, "not allowed"),
        ("simplecache::file:///etc/x.tar", ConfigError, "not allowed"),
    ],
)
def test_addresses_that_cannot_be_read_are_reported(
    untrained: ModelBundle, site: str, tmp_path: Path, source: str, error: type[AttireError], message: str
) -> None:
    with pytest.raises(error, match=message):
        answers(untrained, source.replace("SITE", site), tmp_path / "o.csv")


def test_everything_from_s3(
    untrained: ModelBundle,
    folder: Path,
    of_folder: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="the extra 'remote' is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        system = fsspec.filesystem("s3")
        system.mkdir("shop")
        for photo in sorted(folder.rglob("*.png")):
            system.pipe_file(f"shop/photos/{photo.relative_to(folder)}", photo.read_bytes())
        for number in range(2):
            shard = tar_of(folder, tmp_path / "s.tar", sidecars=True, part=slice(number * 13, number * 13 + 13))
            system.pipe_file(f"shop/shards/s-{number}.tar", shard.read_bytes())
        names = [photo.relative_to(folder).as_posix() for photo in sorted(folder.rglob("*.png"))]
        feed = "id,image\n" + "".join(f"{name.removesuffix('.png')},{name}\n" for name in names)
        system.pipe_file("shop/feed.csv", feed.encode())
        same(answers(untrained, "s3://shop/photos", tmp_path / "folder.csv"), of_folder)
        same(answers(untrained, "s3://shop/shards/s-{0..1}.tar", tmp_path / "shards.csv"), of_folder)
        same(answers(untrained, "s3://shop/shards/*.tar", tmp_path / "glob.csv"), of_folder)
        same(answers(untrained, "s3://shop/feed.csv", tmp_path / "f.csv", images="s3://shop/photos"), of_folder)
        with pytest.raises(FeedError, match="contains no photo"):
            answers(untrained, "s3://shop/shards", tmp_path / "o.csv")
        with pytest.raises(CatalogError, match="does not exist"):
            answers(untrained, "s3://shop/none.tar", tmp_path / "o.csv")
    finally:
        server.stop()
