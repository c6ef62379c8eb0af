"""Open product photos of any supported format as upright RGB images, with clear errors."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from attire.errors import PhotoError
from attire.photos.folder import read_file

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000  # per photo: 300 MB of RGB
MAX_SCANS = 20  # in a JPEG of MAX_PIXELS; smaller ones may have more. A usual progressive JPEG has 10
ORIENTATION, SIDEWAYS = 0x0112, 5  # the EXIF tag, and the first value that swaps width and height


def open_photo(source: Path | bytes, target_px: tuple[int, int] | None = None) -> Image.Image:
    """Decode a photo: RGB, upright by its EXIF, transparency on white, the first frame of an animation.

    `target_px` (height, width) lets a JPEG decode at a reduced scale, but not below that size.
    Raises `PhotoError` with the reason, without the photo's name.
    """
    content = source if isinstance(source, bytes) else read_file(source)
    with _opened(content) as photo:
        _check_scans(photo, content)
        return _decode(photo, target_px)


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Open a photo, and raise errors of Pillow as `PhotoError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes and EXIF, which are checked here
            with Image.open(io.BytesIO(content), formats=FORMATS) as photo:
                yield photo
    except UnidentifiedImageError:
        raise PhotoError(_unidentified(content)) from None
    except Image.DecompressionBombError:
        raise PhotoError(f"too large: more than {MAX_PIXELS / 1e6:.0f} megapixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        # Depending on the format, Pillow says "image file is truncated", "broken data stream", "Truncated File Read".
        truncated = any(word in str(error).lower() for word in ("truncated", "broken data", "unexpected end"))
        raise PhotoError("truncated: the file ends too early" if truncated else f"damaged: {error}") from None


def _check_scans(photo: Image.Image, content: bytes) -> None:
    """Reject a JPEG that takes minutes to decode: each scan is a pass over all pixels, for as little as 20 bytes."""
    if photo.format in ("JPEG", "MPO"):
        # Apart from scans, the marker occurs only in the few scans of an embedded thumbnail.
        scans = content.count(b"\xff\xda")
        if scans * photo.width * photo.height > MAX_SCANS * MAX_PIXELS:
            raise PhotoError(f"too slow to decode: {photo.width:,} x {photo.height:,} px in {scans:,} scans")


def _decode(photo: Image.Image, target_px: tuple[int, int] | None) -> Image.Image:
    if target_px is not None:
        sideways = photo.getexif().get(ORIENTATION, 1) >= SIDEWAYS
        height, width = target_px[::-1] if sideways else target_px
        photo.draft("RGB" if photo.mode == "YCbCr" else photo.mode, (width, height))
    if photo.width * photo.height > MAX_PIXELS:
        size = f"{photo.width:,} x {photo.height:,} px"
        raise PhotoError(f"too large: {size}, at most {MAX_PIXELS / 1e6:.0f} megapixels are decoded")
    photo.load()
    return _rgb(_upright(photo))


def _upright(photo: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(photo)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, ZeroDivisionError):
        return photo  # an unreadable EXIF block says nothing about the orientation


def _rgb(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith(("I", "F")):
        return _from_deep(photo)
    if photo.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in photo.info:
        layer = photo.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return photo.convert("RGB")


def _from_deep(photo: Image.Image) -> Image.Image:
    """Convert high bit depths: 16-bit integers keep their scale; floats and 32-bit integers are stretched."""
    if photo.mode.startswith("I;16"):
        levels = np.asarray(photo).astype(np.uint32)
        levels += 128  # to round
        levels //= 257
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    values = np.asarray(photo, dtype=np.float64)
    if photo.mode == "I" and values.min() >= 0 and 255 < values.max() < 65536:
        low, high = 0.0, 65535.0
    else:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low if high > low else 1))
    return Image.fromarray(np.clip(scaled.round(), 0, 255).astype(np.uint8)).convert("RGB")


def _unidentified(content: bytes) -> str:
    head = content[:64]
    if not head:
        return "empty: 0 bytes"
    kind = "text" if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head) else "not a photo"
    return f"{kind}: expected one of {', '.join(FORMATS)}"


def photo_header(content: bytes) -> tuple[str, int, int]:
    """(format, width, height in px when upright) of a photo, without decoding it; raises `PhotoError`."""
    with _opened(content) as photo:
        sideways = photo.getexif().get(ORIENTATION, 1) >= SIDEWAYS
        width, height = photo.size[::-1] if sideways else photo.size
        return str(photo.format), width, height
