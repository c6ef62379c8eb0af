"""Reads a photo's size and decoding cost from its header.

Image libraries are not used here: they loop over header segments in Python, allocate a canvas or unpack comments, so a
few bytes could cause a lot of work.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from attire.errors import PhotoError

# Decoding a PNG or WebP costs as much as this many passes over its pixels; a pass is a JPEG scan, about 3 ns a pixel.
PASSES = 20
SEGMENTS = 1000  # limit of JPEG segments before the pixels
JUNK_BYTES = 64 * 1024  # limit of bytes between them
CHUNKS, SMALL_CHUNKS = 20_000, 256  # limits of PNG chunks, and of those without pixels
PIXELS = (b"IDAT", b"fdAT", b"fcTL")  # PNG chunks with pixels, or between the frames of an animation
CHUNK = struct.Struct(">I4s")  # header of a PNG chunk
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers of a frame header, which has the size
TRANSFORMED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # frames that can be decoded at a reduced scale
BARE = {0x00, 0x01, *range(0xD0, 0xDA)}  # JPEG markers without a length
SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class Header:
    """A photo's format, its size in px, and how many passes over its pixels decoding takes."""

    format: str
    width: int
    height: int
    passes: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def work(self) -> int:
        """Passes times pixels. A strip costs as much as the square it is padded to."""
        return self.passes * max(self.width, self.height) ** 2


def read_header(content: bytes) -> Header:
    """Read the header of a JPEG, PNG or WebP; raises `PhotoError` for other formats and unreadable headers."""
    if not content:
        raise PhotoError("empty: 0 bytes")
    if content.startswith(b"\xff\xd8\xff"):
        kind, read = "JPEG", _jpeg
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, read = "PNG", _png
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        kind, read = "WebP", _webp
    else:
        raise PhotoError("unsupported format: expected JPEG, PNG or WebP")
    try:
        header = read(content)
    except (struct.error, IndexError):
        raise PhotoError("truncated: the file ends too early") from None
    if header is None or not header.pixels:
        raise PhotoError(f"damaged: it starts like a {kind}, but its header cannot be read")
    return header


def _jpeg(content: bytes) -> Header | None:
    offset, junk, width, height, transformed = 2, 0, 0, 0, False
    for _ in range(SEGMENTS):
        start = content.find(b"\xff", offset)
        junk += start - offset
        if start < 0 or junk > JUNK_BYTES:
            return None
        offset = start + 1
        marker = content[offset]
        if marker == 0xFF:  # a fill byte
            continue
        offset += 1
        if marker in BARE:
            continue
        (length,) = struct.unpack_from(">H", content, offset)
        if marker in FRAMES:
            lines, columns = struct.unpack_from(">HH", content, offset + 3)
            width, height, transformed = max(width, columns), max(height, lines), marker in TRANSFORMED
        if marker == SCAN:
            # These two bytes mark the start of a scan; elsewhere they occur only in a thumbnail, which has few.
            return Header("JPEG", width, height, content.count(b"\xff\xda") if transformed else PASSES)
        offset += max(2, length)
    return None


def _png(content: bytes) -> Header | None:
    length, kind, width, height = struct.unpack_from(">I4sII", content, 8)
    if (length, kind) != (13, b"IHDR"):
        return None
    offset, small = 8, 0
    for _ in range(CHUNKS):
        if offset + CHUNK.size > len(content):
            break  # truncated, which decoding will report
        length, kind = CHUNK.unpack_from(content, offset)
        small += kind not in PIXELS
        if small > SMALL_CHUNKS:
            return None
        if kind == b"IEND":
            break
        offset += CHUNK.size + length + 4  # 4: the checksum
    else:
        return None
    return Header("PNG", width, height, PASSES)


def _webp(content: bytes) -> Header | None:
    (kind,) = struct.unpack_from("4s", content, 12)
    if kind == b"VP8X":
        low = struct.unpack_from("<HBHB", content, 24)
        return Header("WebP", 1 + low[0] + (low[1] << 16), 1 + low[2] + (low[3] << 16), PASSES)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), PASSES)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF, PASSES)
    return None
