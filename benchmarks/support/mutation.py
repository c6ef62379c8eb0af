"""Random damage to files, as disks, networks and programs cause it."""

from __future__ import annotations

import numpy as np


def mutated(random: np.random.Generator, known: list[bytes]) -> bytes:
    """A random file of `known`, damaged in one to four places, mostly near its header."""
    body = bytearray(known[random.integers(len(known))])
    for _ in range(random.integers(1, 5)):
        start = int(random.integers(min(len(body), 700) if random.random() < 0.7 else len(body)))
        length = int(2 ** random.uniform(0, 8))
        match random.integers(6):
            case 0:
                body[start] ^= 1 << random.integers(8)
            case 1:
                body[start : start + length] = random.bytes(length)
            case 2:
                del body[start : start + length]
            case 3:
                body[start:start] = body[start : start + length]
            case 4:
                body[start : start + 4] = (0, 0xFF, 0x7F, 0x80)[random.integers(4)].to_bytes(1, "big") * 4
            case 5:
                other = known[random.integers(len(known))]
                body[start : start + length] = other[start : start + length]
        body = body or bytearray(b"\xff")
    return bytes(body)
