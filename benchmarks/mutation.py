"""Files that were damaged as disks, lines and programs damage them."""

from __future__ import annotations

import numpy as np


def mutated(random: np.random.Generator, known: list[bytes]) -> bytes:
    """One of them, damaged in one to four ways, mostly near its header."""
    body = bytearray(known[random.integers(len(known))])
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(min(len(body), 700) if random.random() < 0.7 else len(body)))
        length = int(2 ** random.uniform(0, 8))
        match random.integers(6):
            case 0:
                body[at] ^= 1 << random.integers(8)
            case 1:
                body[at : at + length] = random.bytes(length)
            case 2:
                del body[at : at + length]
            case 3:
                body[at:at] = body[at : at + length]
            case 4:
                body[at : at + 4] = (0, 0xFF, 0x7F, 0x80)[random.integers(4)].to_bytes(1, "big") * 4
            case 5:
                other = known[random.integers(len(known))]
                body[at : at + length] = other[at : at + length]
        body = body or bytearray(b"\xff")
    return bytes(body)
