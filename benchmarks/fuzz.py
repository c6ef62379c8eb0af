"""Mutated photos at a real server: no crash, no 5xx, memory flat.

python benchmarks/fuzz.py BUNDLE PHOTOS_DIR [--bodies 20000] [--json FILE]

Photos of the folder, also as PNG and WebP, get bytes flipped, runs overwritten, pieces cut out, doubled or exchanged
between photos. Each goes as one request; resident memory of the server is read along the way.
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
from mutation import mutated
from PIL import Image
from served import serving

SEEDS, CLIENTS, READINGS = 40, 4, 20


def seeds(folder: Path) -> list[bytes]:
    """Encoded photos, a third of each format."""
    found = []
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:SEEDS]):
        content = io.BytesIO()
        with Image.open(path) as photo:
            photo.convert("RGB").save(content, ("JPEG", "PNG", "WEBP")[number % 3])
        found.append(content.getvalue())
    return found


async def fuzz(
    address: str, process: psutil.Process, known: list[bytes], bodies: int
) -> tuple[Counter[int], list[float]]:
    """Statuses of all answers, and the server's resident memory in MB at even distances."""
    random, statuses, memory = np.random.default_rng(0), Counter[int](), list[float]()

    async def client(count: int) -> None:
        for _ in range(count):
            answer = await api.post("/v1/predict", files={"photos": ("p", mutated(random, known))})
            statuses[answer.status_code] += 1
            if statuses.total() % (bodies // READINGS) == 0:
                memory.append(process.memory_info().rss / 2**20)

    async with httpx.AsyncClient(base_url=address, timeout=60) as api:
        await asyncio.gather(*(client(bodies // CLIENTS) for _ in range(CLIENTS)))
    return statuses, memory


def main() -> None:
    """Run it and say what came of it; fails for a 5xx and for memory that grew by more than a tenth at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with serving(given.bundle) as (address, process):
        start = time.monotonic()
        statuses, memory = asyncio.run(fuzz(address, process, seeds(given.photos), given.bodies))
        found = {
            "bodies": statuses.total(),
            "statuses": dict(statuses),
            "rss_mb": [round(reading) for reading in memory],
            "seconds": round(time.monotonic() - start, 1),
        }
    print(json.dumps(found))  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    half = memory[len(memory) // 2]
    assert set(statuses) <= {200, 413, 422}, statuses
    assert memory[-1] < 1.1 * half, memory


if __name__ == "__main__":
    main()
