"""A contact sheet: photos with their predictions, coloured by whether they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps

Verdict = Literal["right", "filled", "wrong"]
INK: dict[Verdict, str] = {"right": "#15803d", "filled": "#1d4ed8", "wrong": "#b91c1c"}
LEGEND: dict[Verdict, str] = {"right": "right", "filled": "right, and empty in the feed", "wrong": "wrong"}
CELL_PX, PHOTO_PX, LINE_PX, MARGIN = 230, (170, 210), 17, 12


@dataclass(frozen=True, slots=True)
class Line:
    """One predicted value, its confidence, and whether it is right."""

    text: str
    confidence: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One product: its photo, and the lines below it."""

    photo: Path
    lines: Sequence[Line]


def contact_sheet(entries: Sequence[Entry], title: str, columns: int = 5) -> Image.Image:
    """Draw the entries in rows of `columns`, below a title and a legend."""
    rows = [entries[i : i + columns] for i in range(0, len(entries), columns)]
    heights = [PHOTO_PX[1] + LINE_PX * max(len(entry.lines) for entry in row) + 3 * MARGIN for row in rows]
    sheet = Image.new("RGB", (columns * CELL_PX + 2 * MARGIN, sum(heights) + 70), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * MARGIN, MARGIN), title, fill="#0f172a", font=ImageFont.load_default(22))
    x = 2.0 * MARGIN
    for verdict, meaning in LEGEND.items():
        draw.rectangle((x, 45, x + 10, 55), fill=INK[verdict])
        draw.text((x + 16, 42), meaning, fill=INK[verdict], font=ImageFont.load_default(14))
        x += 40 + draw.textlength(meaning, font=ImageFont.load_default(14))
    top = 70
    for row, height in zip(rows, heights, strict=True):
        for column, entry in enumerate(row):
            _draw(sheet, entry, MARGIN + column * CELL_PX, top)
        top += height
    return sheet


def _draw(sheet: Image.Image, entry: Entry, left: int, top: int) -> None:
    photo = ImageOps.contain(Image.open(entry.photo).convert("RGB"), PHOTO_PX)
    sheet.paste(photo, (left + (CELL_PX - photo.width) // 2, top))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, line in enumerate(entry.lines):
        y = top + PHOTO_PX[1] + MARGIN + number * LINE_PX
        draw.text((left + MARGIN, y), line.text, fill=INK[line.verdict], font=font)
        draw.text((left + CELL_PX - MARGIN, y), f"{line.confidence:.0%}", fill="#64748b", font=font, anchor="ra")
