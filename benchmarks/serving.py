"""`attire serve` under load, beside the engine alone and beside LitServe with the same network; or a soak.

python benchmarks/serving.py BUNDLE PHOTOS_DIR [--seconds 30] [--json FILE]
python benchmarks/serving.py BUNDLE PHOTOS_DIR --soak 10 [--json FILE]

Load: photos/s of the engine on ready pixels; of each server with as many clients as `CLIENTS`, one photo a request;
then latency while requests arrive at random (Poisson) at half of attire's throughput.
Soak: two workers under load, a reload every 15 s, every fourth one of a broken bundle, one worker killed in the middle.
Every request must be answered or refused; what the killed worker was holding is counted apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from served import free_port, serving, wait_ready

CLIENTS, PHOTOS, RELOAD_S = 64, 200, 15


def engine_alone(bundle: Path, seconds: float) -> float:
    """Photos/s on ready pixels in batches of 32, in a process of its own."""
    code = f"""
import time, numpy as np
from attire.bundle import ModelBundle
from attire.predict.engines import TorchEngine
bundle = ModelBundle.load({str(bundle)!r})
engine, (height, width) = TorchEngine(bundle), bundle.preprocess.size_px
pixels = np.random.default_rng(0).integers(0, 256, (32, 3, height, width), dtype=np.uint8)
for _ in range(3): engine.logits(pixels)
start, done = time.perf_counter(), 0
while time.perf_counter() - start < {seconds}: engine.logits(pixels); done += 32
print(done / (time.perf_counter() - start))
"""
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@contextmanager
def litserve(bundle: Path) -> Iterator[str]:
    """The address of a LitServe with the same network."""
    port = free_port()
    script = Path(__file__).with_name("litserved.py")
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, script, str(bundle), str(port)], stdout=log, stderr=log)
        try:
            wait_ready(f"http://127.0.0.1:{port}/health", process, 120)
            yield f"http://127.0.0.1:{port}"
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
            process.terminate()
            process.wait(60)


async def throughput(url: str, field: str, photos: list[bytes], seconds: float) -> float:
    """Photos/s with `CLIENTS` clients, each sending the next photo when the last is answered."""
    done = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            answer = await api.post(url, files={field: ("p", photos[(number + done) % len(photos)])})
            answer.raise_for_status()
            done += 1

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as api:
        for _ in range(5):
            await api.post(url, files={field: ("p", photos[0])})
        start = time.perf_counter()
        end = start + seconds
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        return done / (time.perf_counter() - start)


async def latency(url: str, field: str, photos: list[bytes], rate: float, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile in ms, from when each request was due."""
    gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))
    took: list[float] = []

    async def ask(due: float, photo: bytes) -> None:
        await asyncio.sleep(due - time.perf_counter())
        (await api.post(url, files={field: ("p", photo)})).raise_for_status()
        took.append(time.perf_counter() - due)

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=256)) as api:
        start = time.perf_counter() + 0.1
        due = start + np.cumsum(gaps)
        await asyncio.gather(*(ask(at, photos[n % len(photos)]) for n, at in enumerate(due.tolist())))
    median, high = np.percentile(took, [50, 99]) * 1000
    return float(median), float(high)


def load(bundle: Path, photos: list[bytes], seconds: float) -> dict[str, Any]:
    """All figures of the load."""
    found: dict[str, Any] = {"engine": {"photos_per_s": engine_alone(bundle, seconds)}}
    with serving(bundle, "--deadline-s", "60") as (address, _):
        url = f"{address}/v1/predict"
        speed = asyncio.run(throughput(url, "photos", photos, seconds))
        p50, p99 = asyncio.run(latency(url, "photos", photos, speed / 2, seconds))
        found["attire serve"] = {"photos_per_s": speed, "p50_ms": p50, "p99_ms": p99}
    with litserve(bundle) as address:
        url = f"{address}/predict"
        theirs = asyncio.run(throughput(url, "request", photos, seconds))
        p50, p99 = asyncio.run(latency(url, "request", photos, speed / 2, seconds))
        found["LitServe"] = {"photos_per_s": theirs, "p50_ms": p50, "p99_ms": p99}
    table = Table("", "photos/s", "of the engine", "p50 ms", "p99 ms", title=f"latency at {speed / 2:.0f} photos/s")
    for name, one in found.items():
        share = one["photos_per_s"] / found["engine"]["photos_per_s"]
        times = [f"{one[key]:.0f}" if key in one else "–" for key in ("p50_ms", "p99_ms")]
        table.add_row(name, f"{one['photos_per_s']:.1f}", f"{share:.0%}", *times)
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
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(given.photos.rglob("*.jpg"))[:PHOTOS]]
    found = run_soak(given.bundle, photos, given.soak) if given.soak else load(given.bundle, photos, given.seconds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
