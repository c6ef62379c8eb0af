"""Opening photos: readable formats, unreadable files, transparency, bit depth, and limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attire.errors import PhotoError
from attire.photos import image
from attire.photos.image import open_photo, photo_header


def photo(width: int = 60, height: int = 90) -> Image.Image:
    """A smooth image, which lossy formats preserve: red increases to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def with_orientation(orientation: int) -> bytes:
    """The photo as a camera in that orientation stores it."""
    undo: dict[int, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photo().transpose(undo[orientation]) if orientation in undo else photo()
    return encoded(stored, "JPEG", quality=95, exif=exif)


def deep(mode_max: int) -> bytes:
    ramp = np.linspace(0, mode_max, 90 * 60).reshape(90, 60).astype(np.uint16)
    return encoded(Image.fromarray(ramp), "PNG")


READABLE: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encoded(photo(), "JPEG", quality=95),
    "CMYK JPEG": lambda: encoded(photo().convert("CMYK"), "JPEG", quality=95),
    "PNG": lambda: encoded(photo(), "PNG"),
    "WebP": lambda: encoded(photo(), "WEBP", quality=95),
    "BMP": lambda: encoded(photo(), "BMP"),
    "TIFF": lambda: encoded(photo(), "TIFF"),
    "animated GIF": lambda: encoded(photo(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 90))]),
    "animated WebP": lambda: encoded(photo(), "WEBP", save_all=True, append_images=[Image.new("RGB", (60, 90))]),
    "broken EXIF": lambda: encoded(photo(), "JPEG", quality=95, exif=b"Exif\0\0II*\0garbage, no directory"),
    **{f"orientation {n}": partial(with_orientation, n) for n in (*range(1, 9), 99)},
}


@pytest.mark.parametrize("kind", READABLE)
def test_readable_kinds_open_upright_in_rgb(kind: str) -> None:
    opened = open_photo(READABLE[kind]())
    assert (opened.mode, opened.size) == ("RGB", (60, 90))
    difference = np.abs(np.asarray(opened, dtype=int) - np.asarray(photo(), dtype=int)).mean()
    assert difference < 20, "colours are about right (CMYK is not exact), and the photo is upright"


UNREADABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "empty: 0 bytes"),
    "text": (lambda: b"<html>404 not found</html>", "text: expected one of JPEG"),
    "binary": (lambda: bytes(range(256)), "not a photo: expected one of JPEG"),
    "truncated JPEG": (lambda: READABLE["JPEG"]()[:700], "truncated"),
    "JPEG header alone": (lambda: READABLE["JPEG"]()[:30], "truncated"),
    "truncated PNG": (lambda: READABLE["PNG"]()[:-60], "truncated"),
    "truncated WebP": (lambda: READABLE["WebP"]()[:100], "damaged"),
    "20,000 x 20,000 px": (lambda: encoded(Image.new("1", (20_000, 20_000)), "PNG"), "too large: more than 100 mega"),
    "12,000 x 10,000 px": (lambda: encoded(Image.new("L", (12_000, 10_000)), "PNG"), "too large: 12,000 x 10,000 px"),
    "another format": (lambda: encoded(photo(), "PPM"), "not a photo"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_kinds_give_the_reason(kind: str, tmp_path: Path) -> None:
    make, reason = UNREADABLE[kind]
    content = make()
    with pytest.raises(PhotoError, match=reason):
        open_photo(content)
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(PhotoError, match=reason):
        open_photo(tmp_path / "photo.jpg")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="not found"):
        open_photo(tmp_path / "none.jpg")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 20))
    content = encoded(image.convert(mode), "PNG") if mode != "P" else encoded(image.quantize(), "PNG")
    opened = np.asarray(open_photo(content))
    assert (opened[:, :9] == 0).all()
    assert (opened[:, 11:] == 255).all()


def test_16_bits_keep_their_scale() -> None:
    full = np.asarray(open_photo(deep(65535)))
    assert full.min() == 0
    assert full.max() == 255
    assert abs(int(full[45, 0, 0]) - 127) <= 2
    assert np.asarray(open_photo(deep(32767))).max() == 127, "a dark photo stays dark"


def test_every_value_of_16_bits_is_rounded_correctly() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    opened = np.asarray(open_photo(encoded(Image.fromarray(values), "PNG")))[..., 0]
    np.testing.assert_array_equal(opened, np.round(values.astype(np.float64) / 257))


def test_a_jpeg_with_too_many_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photo(), "JPEG", progressive=True)
    many = content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 54 + b"\xff\xd9"
    assert open_photo(many).size == (60, 90)
    monkeypatch.setattr(image, "MAX_PIXELS", 60 * 90 * 2)
    assert open_photo(content).size == (60, 90)
    with pytest.raises(PhotoError, match="too slow to decode: 60 x 90 px in 64 scans"):
        open_photo(many, target_px=(30, 20))


def test_a_target_size_reduces_the_decoded_size_but_not_below_it() -> None:
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        opened = open_photo(encoded(photo(1600, 2400), "JPEG", exif=exif), target_px=(300, 200))
        assert opened.size in ((200, 300), (400, 600), (450, 300), (900, 600), (600, 400), (300, 200))
        assert opened.width >= 200
        assert opened.height >= 300 or orientation == 6
    assert open_photo(encoded(photo(60, 90), "JPEG"), target_px=(300, 200)).size == (60, 90)


def test_the_header_gives_the_upright_size() -> None:
    assert photo_header(with_orientation(6)) == ("JPEG", 60, 90)
    assert photo_header(READABLE["WebP"]()) == ("WEBP", 60, 90)
