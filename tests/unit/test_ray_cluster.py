"""Bulk prediction on a real Ray cluster of two nodes, one of which is killed during the run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attire.bundle import ModelBundle
from attire.catalog.store import Catalog
from attire.errors import ConfigError
from attire.inference import bulk
from attire.inference.bulk import predict

pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")

CHUNK = 10


class Gate(SimpleHTTPRequestHandler):
    """Serves photos; those after the first chunk only once `opened` is set."""

    opened = threading.Event()
    waiting: set[int]  # chunks with a waiting request
    two_wait = threading.Event()

    def do_GET(self) -> None:
        chunk = int(Path(self.path).stem) // CHUNK
        if chunk > 0 and not Gate.opened.is_set():
            Gate.waiting.add(chunk)
            if len(Gate.waiting) >= 2:
                Gate.two_wait.set()
            Gate.opened.wait(150)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    config = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8, "_system_config": config}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_killed_node_loses_and_repeats_no_row(
    untrained: ModelBundle, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: Any
) -> None:
    photos = [paths[0] for paths in catalog.photo_paths() if paths[0].stem.isdigit()][:60]
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder / f"{number}.png").write_bytes(photo.read_bytes())
    monkeypatch.setattr(bulk, "CHUNK", CHUNK)
    Gate.waiting = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Gate(*args, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    feed = tmp_path / "feed.csv"
    feed.write_text("id,image\n" + "".join(f"p{n:02d},{url}/{n}.png\n" for n in range(len(photos))))
    victim = nodes.add_node(num_cpus=1, object_store_memory=10**8)
    killed = []

    def kill() -> None:
        if Gate.two_wait.wait(120):
            nodes.remove_node(victim, allow_graceful=False)
            killed.append(victim)
        Gate.opened.set()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = predict(untrained, feed, tmp_path / "o.parquet", cluster=nodes.address)
    finally:
        killer.join()
        server.shutdown()
        server.server_close()
    assert killed, "both nodes were working when one was killed"
    assert (summary.products, summary.unread, summary.resumed) == (60, 0, 0)
    single = predict(untrained, folder, tmp_path / "single.parquet")
    together, expected = pl.read_parquet(summary.out), pl.read_parquet(single.out)
    assert together["id"].to_list() == [f"p{n:02d}" for n in range(60)]
    by_name = together.with_columns(id=pl.Series([str(n) for n in range(60)])).sort("id")
    same = by_name["category"] == expected.sort("id")["category"]
    assert same.all()


def test_an_engine_object_is_refused(untrained: ModelBundle, catalog: Catalog, tmp_path: Path) -> None:
    class Custom:
        name = "custom"

        def logits(self, pixels: object) -> Any:
            raise AssertionError(pixels)

    with pytest.raises(ConfigError, match="cannot be sent to a cluster"):
        predict(untrained, catalog.path, tmp_path / "o.csv", cluster="ray", engine=Custom())
