"""Sends mutated photos to a real server and checks for crashes, statuses 5xx and growing memory.

python benchmarks/fuzz.py BUNDLE PHOTOS_DIR [--bodies 20000] [--json FILE]

Photos of the folder, a third each as JPEG, PNG and WebP, are mutated: bytes are flipped, runs overwritten, and pieces
removed, duplicated or exchanged between photos. Each is sent as one request, and the server's memory is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image
from support.mutation import mutated
from support.served import serving

SEEDS, CLIENTS, READINGS = 40, 4, 20


def seeds(folder: Path) -> list[bytes]:
    """Return encoded photos, a third in each format."""
    photos = []
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:SEEDS]):
        content = io.BytesIO()
        with Image.open(path) as photo:
            photo.convert("RGB").save(content, ("JPEG", "PNG", "WEBP")[number % 3])
        photos.append(content.getvalue())
    return photos


async def fuzz(
    address: str, process: psutil.Process, photos: list[bytes], bodies: int
) -> tuple[Counter[int], list[float]]:
    """Return the statuses of all answers, and the server's resident memory in MB at regular intervals."""
    random, statuses, memory = np.random.default_rng(0), Counter[int](), list[float]()

    async def client(count: int) -> None:
        for _ in range(count):
            answer = await api.post("/v1/predict", files={"photos": ("p", mutated(random, photos))})
            statuses[answer.status_code] += 1
            if statuses.total() % (bodies // READINGS) == 0:
                memory.append(process.memory_info().rss / 2**20)

    async with httpx.AsyncClient(base_url=address, timeout=60) as api:
        await asyncio.gather(*(client(bodies // CLIENTS) for _ in range(CLIENTS)))
    return statuses, memory


def main() -> None:
    """Fuzz and print the result; fails for other statuses and if memory grew over 10% in the second half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with serving(arguments.bundle) as (address, process):
        start = time.monotonic()
        statuses, memory = asyncio.run(fuzz(address, process, seeds(arguments.photos), arguments.bodies))
        result = {
            "bodies": statuses.total(),
            "statuses": dict(statuses),
            "rss_mb": [round(reading) for reading in memory],
            "seconds": round(time.monotonic() - start, 1),
        }
    print(json.dumps(result))  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    half = memory[len(memory) // 2]
    assert set(statuses) <= {200, 413, 422}, statuses
    assert memory[-1] < 1.1 * half, memory


if __name__ == "__main__":
    main()
