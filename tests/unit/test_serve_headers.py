"""The decoding cost of a photo is read from its header in bounded time; all normal photos are accepted."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from attire.errors import PhotoError
from attire.serve.image_headers import PASSES, read_header
from attire.serve.request_limits import check_photo
from attire.serve.settings import Settings


def encoded(format: str, size: tuple[int, int] = (70, 50), mode: str = "RGB", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size).save(content, format, **options)
    return content.getvalue()


def of_scans(scans: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = encoded("JPEG", size, progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * (scans - 10) + b"\xff\xd9"


def of_chunks(number: int, kind: bytes = b"abCd") -> bytes:
    """A PNG with `number` empty chunks before its pixels."""
    content = encoded("PNG")
    empty = struct.pack(">I4sI", 0, kind, zlib.crc32(kind))
    return content[:33] + empty * number + content[33:]


@pytest.mark.parametrize(
    ("content", "format", "passes"),
    [
        (encoded("JPEG"), "JPEG", 1),
        (encoded("JPEG", progressive=True), "JPEG", 10),
        (encoded("JPEG", mode="CMYK"), "JPEG", 1),
        (encoded("JPEG", comment=b"\xff\xc0" * 100, dpi=(72, 72), icc_profile=b"\xff" * 70_000), "JPEG", 1),
        (b"\xff\xd8" + b"\xff" * 30 + encoded("JPEG")[3:], "JPEG", 1),
        (of_scans(64), "JPEG", 64),
        (encoded("PNG"), "PNG", PASSES),
        (encoded("PNG", mode="P"), "PNG", PASSES),
        (of_chunks(200), "PNG", PASSES),
        (of_chunks(5000, b"IDAT"), "PNG", PASSES),
        (encoded("WEBP"), "WebP", PASSES),
        (encoded("WEBP", lossless=True), "WebP", PASSES),
        (encoded("WEBP", mode="RGBA", exif=b"Exif\0\0MM\0*"), "WebP", PASSES),
        (encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (70, 50), "red")]), "WebP", PASSES),
    ],
)
def test_size_and_passes_are_those_of_the_photo(content: bytes, format: str, passes: int) -> None:
    header = read_header(content)
    with Image.open(io.BytesIO(content)) as photo:
        assert (header.width, header.height) == photo.size
    assert (header.format, header.passes) == (format, passes)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_header_cut_anywhere_is_read_or_refused(format: str) -> None:
    content = encoded(format)
    for end in range(len(content)):
        with contextlib.suppress(PhotoError):
            assert read_header(content[:end]).pixels == 70 * 50


@pytest.mark.parametrize(
    "content",
    [
        of_chunks(10 * 2**20 // 12),
        of_chunks(1000, b"iCCP"),
        b"\xff\xd8" + b"\xff\xe0\0\2" * (10 * 2**18),
        b"\xff\xd8\xff" + b"\0" * (10 * 2**20) + encoded("JPEG")[3:],
        b"\xff\xd8" + b"\xff" * (10 * 2**20),
        b"\xff\xd8" + b"\xff\xe0\0\0" * (10 * 2**18),
    ],
    ids=["chunks", "profiles", "segments", "junk", "fill", "no length"],
)
def test_a_header_that_is_slow_to_read_is_refused_at_once(content: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(PhotoError):
        read_header(content)
    assert time.monotonic() - start < 0.5


def test_pixels_and_passes_are_limited() -> None:
    settings = Settings(bundle=Path(), photo_pixels=10_000)
    for content in (of_scans(40), encoded("WEBP", (100, 100)), encoded("JPEG", (100, 100), progressive=True)):
        assert check_photo(content, settings)
    with pytest.raises(PhotoError, match="too slow to decode: 64 x 64 px in 64 scans"):
        check_photo(of_scans(64), settings)
    with pytest.raises(PhotoError, match="101 x 100 px, at most 10,000 pixels"):
        check_photo(encoded("JPEG", (101, 100)), settings)


def test_by_default_a_24_megapixel_photo_is_accepted_and_a_decompression_bomb_is_not() -> None:
    settings = Settings(bundle=Path())
    assert check_photo(encoded("JPEG", (6000, 4000)), settings).work < 60_000_000
    # 28 bytes with 40 megapixels of one colour: VP8L whose five codes have one symbol each
    fields = [(8000 - 1, 14), (5000 - 1, 14), (0, 8), *[(1, 4)] * 5]
    bits = place = 0
    for value, length in fields:
        bits, place = bits | value << place, place + length
    data = b"\x2f" + bits.to_bytes(7, "little")
    bomb = b"RIFF" + struct.pack("<I", 20) + b"WEBPVP8L" + struct.pack("<I", 8) + data
    with pytest.raises(PhotoError, match="8,000 x 5,000 px, at most 25,000,000 pixels"):
        check_photo(bomb, settings)
