"""What decoding a photo will take, from its header alone.

Without an image library, for those loop over a header's parts in Python, allocate a canvas, or unpack comments: work
that a few bytes can ask a lot of.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from attire.errors import PhotoError

# Over all pixels, which decoding a PNG or WebP takes as long as: one is a scan of a JPEG, about 3 ns a pixel.
PASSES = 20
SEGMENTS = 1000  # of a JPEG before its pixels
JUNK_BYTES = 64 * 1024  # between them
CHUNKS, SMALL_CHUNKS = 20_000, 256  # of a PNG; and those of them that hold no pixels
PIXELS = (b"IDAT", b"fdAT", b"fcTL")  # chunks of a PNG that do, and those between the frames of an animation
CHUNK = struct.Struct(">I4s")  # the head of one
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a JPEG that tell its size
TRANSFORMED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # those of a photo that can be decoded at a reduced scale
BARE = {0x00, 0x01, *range(0xD0, 0xDA)}  # markers without a length
SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class Header:
    """A photo's format and size in px, and how often decoding goes over its pixels."""

    format: str
    width: int
    height: int
    passes: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def work(self) -> int:
        """Passes over pixels. A strip is as much work as the square it will be framed by."""
        return self.passes * max(self.width, self.height) ** 2


def read_header(content: bytes) -> Header:
    """The header of a JPEG, PNG or WebP; raises `PhotoError` for another format, and for one that cannot be read."""
    if not content:
        raise PhotoError("empty: 0 bytes")
    if content.startswith(b"\xff\xd8\xff"):
        kind, read = "JPEG", _jpeg
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, read = "PNG", _png
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        kind, read = "WebP", _webp
    else:
        raise PhotoError("not a photo that is taken: expected JPEG, PNG or WebP")
    try:
        found = read(content)
    except (struct.error, IndexError):
        raise PhotoError("truncated: the file ends too early") from None
    if found is None or not found.pixels:
        raise PhotoError(f"damaged: it starts as {kind}, but its header cannot be read")
    return found


def _jpeg(content: bytes) -> Header | None:
    place, junk, width, height, transformed = 2, 0, 0, 0, False
    for _ in range(SEGMENTS):
        start = content.find(b"\xff", place)
        junk += start - place
        if start < 0 or junk > JUNK_BYTES:
            return None
        place = start + 1
        marker = content[place]
        if marker == 0xFF:  # a fill byte
            continue
        place += 1
        if marker in BARE:
            continue
        (length,) = struct.unpack_from(">H", content, place)
        if marker in FRAMES:
            lines, columns = struct.unpack_from(">HH", content, place + 3)
            width, height, transformed = max(width, columns), max(height, lines), marker in TRANSFORMED
        if marker == SCAN:
            # Elsewhere than at the start of a scan these two bytes stand only in a thumbnail, which has few.
            return Header("JPEG", width, height, content.count(b"\xff\xda") if transformed else PASSES)
        place += max(2, length)
    return None


def _png(content: bytes) -> Header | None:
    length, kind, width, height = struct.unpack_from(">I4sII", content, 8)
    if (length, kind) != (13, b"IHDR"):
        return None
    place, small = 8, 0
    for _ in range(CHUNKS):
        if place + CHUNK.size > len(content):
            break  # cut off, which decoding will tell
        length, kind = CHUNK.unpack_from(content, place)
        small += kind not in PIXELS
        if small > SMALL_CHUNKS:
            return None
        if kind == b"IEND":
            break
        place += CHUNK.size + length + 4  # its checksum
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
