"""`attire serve` under load, beside the engine alone and beside LitServe with the same network; or a soak.

python benchmarks/serving.py BUNDLE PHOTOS_DIR [--seconds 30] [--before CHECKOUT/src] [--json FILE]
python benchmarks/serving.py BUNDLE PHOTOS_DIR --soak 10 [--json FILE]

Load: photos/s of the engine on ready pixels; of each server with as many clients as `CLIENTS`, one photo a request;
then latency while requests arrive at random (Poisson) at half of attire's throughput. They take turns, so that a busy
moment of the machine strikes all alike; with `--before` an older attire takes turns with this one.
Soak: two workers under load, a reload every 15 s, every fourth one of a broken bundle, one worker killed in the middle.
Every request must be answered or refused; what the killed worker was holding is counted apart.
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
from served import free_port, serving, wait_ready

CLIENTS, PHOTOS, ROUNDS, RELOAD_S = 64, 200, 5, 15
FORM = {"Content-Type": "multipart/form-data; boundary=photos-of-the-benchmark"}


@dataclass(frozen=True)
class Served:
    """What answers under load: its process, and how photos are sent to it, encoded once."""

    process: psutil.Process
    url: str
    bodies: list[bytes]
    content_type: str

    @classmethod
    def at(cls, process: psutil.Process, url: str, field: str, photos: list[bytes]) -> Served:
        requests = [httpx.Request("POST", url, files={field: ("p", photo)}, headers=FORM) for photo in photos]
        return cls(process, url, [request.read() for request in requests], FORM["Content-Type"])

    async def ask(self, api: aiohttp.ClientSession, number: int) -> None:
        """Send a photo and read the answer, which must be one."""
        body = self.bodies[number % len(self.bodies)]
        async with api.post(self.url, data=body, headers={"Content-Type": self.content_type}) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    def cpu_s(self) -> float:
        """Seconds of CPU that its processes have used."""
        family = [self.process, *self.process.children(recursive=True)]
        used: float = sum(times.user + times.system for times in (one.cpu_times() for one in family))
        return used


class EngineAlone:
    """The engine on ready pixels in batches of 32, in a process of its own."""

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
        """Photos/s and CPU ms a photo."""
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
    """The address and process of a LitServe with the same network."""
    port = free_port()
    script = Path(__file__).with_name("litserved.py")
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
    """Photos/s and CPU ms a photo with `CLIENTS` clients, each sending the next photo when the last is answered."""
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
    """ms of each request, from when it was due: they come at random (Poisson)."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, max(1, int(rate * seconds))))

    async def ask(number: int, due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        await served.ask(api, number)
        return 1000 * (time.perf_counter() - due)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as api:
        start = time.perf_counter() + 0.1
        return await asyncio.gather(*(ask(number, start + at) for number, at in enumerate(due_s.tolist())))


def load(bundle: Path, photos: list[bytes], seconds: float, before: Path | None) -> dict[str, Any]:
    """All figures of the load: everything waits, started, for its turn in each of `ROUNDS`."""
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
        rate = statistics.median(one["attire serve"][0] for one in rounds) / 2
        took: dict[str, list[float]] = {name: [] for name in all_served}
        for round in range(ROUNDS):
            for name, served in all_served.items():
                took[name] += asyncio.run(latency(served, rate, window, round))
    found: dict[str, Any] = {}
    for name in rounds[0]:
        found[name] = {
            "photos_per_s": statistics.median(one[name][0] for one in rounds),
            "of_the_engine": statistics.median(one[name][0] / one["engine"][0] for one in rounds),
            "cpu_ms": statistics.median(one[name][1] for one in rounds),
        }
        if name in took:
            found[name] |= dict(zip(("p50_ms", "p99_ms"), np.percentile(took[name], [50, 99]).tolist(), strict=True))
    table = Table(
        "", "photos/s", "of the engine", "CPU ms", "p50 ms", "p99 ms", title=f"latency at {rate:.0f} photos/s"
    )
    for name, one in found.items():
        times = [f"{one[key]:.0f}" if key in one else "–" for key in ("p50_ms", "p99_ms")]
        table.add_row(name, f"{one['photos_per_s']:.1f}", f"{one['of_the_engine']:.0%}", f"{one['cpu_ms']:.1f}", *times)
    Console().print(table)
    return found


async def soak(address: str, server: psutil.Process, bundle: Path, photos: list[bytes], seconds: float) -> Counter[str]:
    """How requests ended while bundles are exchanged and a worker is killed."""
    ended, end = Counter[str](), time.monotonic() + seconds
    good = bundle.with_name("good")

    async def client(number: int) -> None:
        while time.monotonic() < end:
            async with httpx.AsyncClient(timeout=60) as api:
                try:
                    for turn in range(50):
                        files = {"photos": ("p", photos[(number + turn) % len(photos)])}
                        ended[str((await api.post(f"{address}/v1/predict", files=files)).status_code)] += 1
                        if time.monotonic() > end:
                            break
                except httpx.TransportError as error:
                    ended[type(error).__name__] += 1

    async def trouble() -> None:
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
                workers = [one for one in server.children() if any("spawn_main" in word for word in one.cmdline())]
                workers[0].kill()

    await asyncio.gather(trouble(), *(client(number) for number in range(8)))
    return ended


def run_soak(source: Path, photos: list[bytes], minutes: float) -> dict[str, Any]:
    """Soak a copy of the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(source, Path(folder) / "bundle"))
        shutil.copytree(source, Path(folder) / "good")
        with serving(bundle, "--workers", "2") as (address, server):
            ended = asyncio.run(soak(address, server, bundle, photos, minutes * 60))
            figures = httpx.get(f"{address}/metrics").text
    reloads = [line for line in figures.splitlines() if line.startswith("attire_reloads_total")]
    lost = sum(count for kind, count in ended.items() if not kind.isdigit())
    found = {"minutes": minutes, "ended": dict(ended), "lost_with_the_killed_worker": lost, "reloads": reloads}
    Console().print(found)
    assert {kind for kind in ended if kind.isdigit()} <= {"200", "503"}, ended
    assert lost <= 8, ended  # each client has one connection
    return found


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(given.photos.rglob("*.jpg"))[:PHOTOS]]
    found = (
        run_soak(given.bundle, photos, given.soak)
        if given.soak
        else load(given.bundle, photos, given.seconds, given.before)
    )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
