"""Measures `attire serve` under load, compared with the engine alone and with LitServe; or runs a soak test.

python benchmarks/serving.py BUNDLE PHOTOS_DIR [--seconds 30] [--before CHECKOUT/src] [--json FILE]
python benchmarks/serving.py BUNDLE PHOTOS_DIR --soak 10 [--json FILE]

Load: photos/s of the engine on decoded pixels, then of each server with `CLIENTS` clients and one photo per request;
then the latency while requests arrive at random (Poisson) at half of attire's throughput. All of them take turns, so
that a busy machine affects all alike. `--before` also measures an older attire.
Soak: two workers under load, a reload every 15 s, every fourth one with a broken bundle, and one killed worker. Every
request must be answered or refused; requests lost with the killed worker are counted separately.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from support.served import free_port, serving, wait_ready

CLIENTS, PHOTOS, ROUNDS, RELOAD_S = 64, 200, 5, 15
FORM = {"Content-Type": "multipart/form-data; boundary=photos-of-the-benchmark"}


@dataclass(frozen=True)
class Served:
    """A server under load: its process, its URL and the encoded request bodies."""

    process: psutil.Process
    url: str
    bodies: list[bytes]
    content_type: str

    @classmethod
    def at(cls, process: psutil.Process, url: str, field: str, photos: list[bytes]) -> Served:
        requests = [httpx.Request("POST", url, files={field: ("p", photo)}, headers=FORM) for photo in photos]
        return cls(process, url, [request.read() for request in requests], FORM["Content-Type"])

    async def ask(self, api: aiohttp.ClientSession, number: int) -> None:
        """Send a photo and read the answer; its status must be 200."""
        body = self.bodies[number % len(self.bodies)]
        async with api.post(self.url, data=body, headers={"Content-Type": self.content_type}) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    def cpu_s(self) -> float:
        """Return the CPU seconds used by the server's processes."""
        processes = [self.process, *self.process.children(recursive=True)]
        seconds: float = sum(times.user + times.system for times in (process.cpu_times() for process in processes))
        return seconds


class EngineAlone:
    """The engine on decoded pixels in batches of 32, in a separate process."""

    def __init__(self, bundle: Path) -> None:
        code = f"""
import time, numpy as np
from attire.bundle import ModelBundle
from attire.memory import keep_freed_memory
from attire.engines.engine import TorchEngine
keep_freed_memory()
bundle = ModelBundle.load({str(bundle)!r})
engine, (height, width) = TorchEngine(bundle), bundle.preprocess.size_px
pixels = np.random.default_rng(0).integers(0, 256, (32, 3, height, width), dtype=np.uint8)
for _ in range(3): engine.logits(pixels)
while seconds := float(input()):
    start, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds: engine.logits(pixels); done += 32
    print(done / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / done, flush=True)
"""
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, seconds: float) -> tuple[float, float]:
        """Return photos/s and CPU ms per photo."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        speed, cpu_ms = self._process.stdout.readline().split()
        return float(speed), float(cpu_ms)

    def close(self) -> None:
        self._process.communicate("0\n")


@contextmanager
def litserve(bundle: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run LitServe with the same network; yields its address and process."""
    port = free_port()
    script = Path(__file__).with_name("support") / "litserved.py"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, script, str(bundle), str(port)], stdout=log, stderr=log)
        try:
            wait_ready(f"http://127.0.0.1:{port}/health", process, 120)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
            process.terminate()
            process.wait(60)


async def throughput(served: Served, seconds: float) -> tuple[float, float]:
    """Return photos/s and CPU ms per photo with `CLIENTS` clients, each of which waits for its last answer."""
    done = 0

    async def client(number: int, end: float) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await served.ask(api, number + done)
            done += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as api:
        start, cpu = time.perf_counter(), served.cpu_s()
        await asyncio.gather(*(client(number, start + seconds) for number in range(CLIENTS)))
        return done / (time.perf_counter() - start), 1000 * (served.cpu_s() - cpu) / done


async def latency(served: Served, rate: float, seconds: float, seed: int) -> list[float]:
    """Return the latency in ms of each request since it was due; requests arrive at random (Poisson)."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, max(1, int(rate * seconds))))

    async def ask(number: int, due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        await served.ask(api, number)
        return 1000 * (time.perf_counter() - due)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as api:
        start = time.perf_counter() + 0.1
        return await asyncio.gather(*(ask(number, start + at) for number, at in enumerate(due_s.tolist())))


def load(bundle: Path, photos: list[bytes], seconds: float, before: Path | None) -> dict[str, Any]:
    """Measure everything under load; all servers run, and take turns in each of `ROUNDS` rounds."""
    window = seconds / ROUNDS
    with ExitStack() as stack:
        alone = stack.enter_context(closing(EngineAlone(bundle)))
        all_served: dict[str, Served] = {}
        for name, source in {"attire serve": None, "attire before": before}.items():
            if name == "attire serve" or source:
                address, process = stack.enter_context(
                    serving(bundle, "--engine", "torch", "--deadline-s", "60", source=source)
                )
                all_served[name] = Served.at(process, f"{address}/v1/predict", "photos", photos)
        address, process = stack.enter_context(litserve(bundle))
        all_served["LitServe"] = Served.at(process, f"{address}/predict", "request", photos)
        for served in all_served.values():
            asyncio.run(throughput(served, 2))
        rounds = [
            {"engine": alone.run(window)}
            | {name: asyncio.run(throughput(served, window)) for name, served in all_served.items()}
            for _ in range(ROUNDS)
        ]
        rate = statistics.median(results["attire serve"][0] for results in rounds) / 2
        latencies_ms: dict[str, list[float]] = {name: [] for name in all_served}
        for round in range(ROUNDS):
            for name, served in all_served.items():
                latencies_ms[name] += asyncio.run(latency(served, rate, window, round))
    rows: dict[str, Any] = {}
    for name in rounds[0]:
        rows[name] = {
            "photos_per_s": statistics.median(results[name][0] for results in rounds),
            "of_the_engine": statistics.median(results[name][0] / results["engine"][0] for results in rounds),
            "cpu_ms": statistics.median(results[name][1] for results in rounds),
        }
        if name in latencies_ms:
            p50, p99 = np.percentile(latencies_ms[name], [50, 99]).tolist()
            rows[name] |= {"p50_ms": p50, "p99_ms": p99}
    table = Table(
        "", "photos/s", "of the engine", "CPU ms", "p50 ms", "p99 ms", title=f"latency at {rate:.0f} photos/s"
    )
    for name, row in rows.items():
        times = [f"{row[key]:.0f}" if key in row else "–" for key in ("p50_ms", "p99_ms")]
        table.add_row(name, f"{row['photos_per_s']:.1f}", f"{row['of_the_engine']:.0%}", f"{row['cpu_ms']:.1f}", *times)
    Console().print(table)
    return rows


async def soak(address: str, server: psutil.Process, bundle: Path, photos: list[bytes], seconds: float) -> Counter[str]:
    """Count the outcomes of requests while bundles are replaced and a worker is killed."""
    outcomes, end = Counter[str](), time.monotonic() + seconds
    good = bundle.with_name("good")

    async def client(number: int) -> None:
        while time.monotonic() < end:
            async with httpx.AsyncClient(timeout=60) as api:
                try:
                    for turn in range(50):
                        files = {"photos": ("p", photos[(number + turn) % len(photos)])}
                        outcomes[str((await api.post(f"{address}/v1/predict", files=files)).status_code)] += 1
                        if time.monotonic() > end:
                            break
                except httpx.TransportError as error:
                    outcomes[type(error).__name__] += 1

    async def disturb() -> None:
        turn, killed = 0, False
        while time.monotonic() + RELOAD_S < end:
            await asyncio.sleep(RELOAD_S)
            turn += 1
            shutil.copytree(good, bundle, dirs_exist_ok=True)
            if turn % 4 == 0:
                (bundle / "weights.safetensors").write_bytes(b"broken")
            server.send_signal(signal.SIGHUP)
            if not killed and end - time.monotonic() < seconds / 2:
                killed = True
                children = {child: " ".join(child.cmdline()) for child in server.children()}
                next(child for child, command in children.items() if "spawn_main" in command).kill()

    await asyncio.gather(disturb(), *(client(number) for number in range(8)))
    return outcomes


def run_soak(source: Path, photos: list[bytes], minutes: float) -> dict[str, Any]:
    """Soak a copy of the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(source, Path(folder) / "bundle"))
        shutil.copytree(source, Path(folder) / "good")
        with serving(bundle, "--workers", "2") as (address, server):
            outcomes = asyncio.run(soak(address, server, bundle, photos, minutes * 60))
            metrics = httpx.get(f"{address}/metrics").text
    reloads = [line for line in metrics.splitlines() if line.startswith("attire_reloads_total")]
    lost = sum(count for kind, count in outcomes.items() if not kind.isdigit())
    result = {"minutes": minutes, "ended": dict(outcomes), "lost_with_the_killed_worker": lost, "reloads": reloads}
    Console().print(result)
    assert {kind for kind in outcomes if kind.isdigit()} <= {"200", "503"}, outcomes
    assert lost <= 8, outcomes  # each client has one connection
    return result


def main() -> None:
    """Run the load test or the soak test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(arguments.photos.rglob("*.jpg"))[:PHOTOS]]
    result = (
        run_soak(arguments.bundle, photos, arguments.soak)
        if arguments.soak
        else load(arguments.bundle, photos, arguments.seconds, arguments.before)
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
