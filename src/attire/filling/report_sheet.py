"""The report as a sheet of a workbook, with a thumbnail of each product on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from xml.sax.saxutils import quoteattr

from attire.filling.feed_editor import Report
from attire.filling.outcomes import Status
from attire.filling.thumbnails import Thumbnail
from attire.filling.workbook_parts import WorkbookParts, text_cell

NAME = "attire"  # of the sheet
ROWS = 1_048_576  # limit of Excel
BLOCK = 1000  # rows that are written at once
PICTURES = 5_000  # more would make Excel slow
SIDE_PX = 64  # on the screen, the longer side of a thumbnail
EMU = 9525  # units of a drawing in a px
HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
DRAWING_TYPE = "application/vnd.openxmlformats-officedocument.drawing+xml"
RELATIONS_TYPE = "http://schemas.openxmlformats.org/package/2006/relationships"


class ReportSheet:
    """Writes the report as the last sheet of a workbook."""

    def __init__(self, parts: WorkbookParts, report: Report) -> None:
        self.parts, self.report = parts, report
        self.main, self.relation_space = parts.spaces()
        self._places: dict[str, int] = {}  # id of a product -> the row of its picture

    def add(self) -> None:
        """Add the sheet, which is written when the workbook is saved."""
        thumbnails = self.report.thumbnails is not None
        part = self.parts.add_sheet(NAME, self._with_pictures() if thumbnails else self._sheet())
        if thumbnails:
            self.parts.add_default("jpeg", "image/jpeg")
            self.drawing = self.parts.new_part("drawings", "xml")
            relation = _relation(1, f"{self.relation_space}/drawing", self.drawing)
            self.parts.changed[self.parts.relations_of(part)] = _relations(relation)
            self._drawn: list[bytes] = []
            self.parts.add(self.drawing, DRAWING_TYPE, self._drawn)

    def _with_pictures(self) -> Iterator[bytes]:
        """The XML of the sheet; then the pictures are added, for which its rows have to be known."""
        yield from self._sheet()
        assert self.report.thumbnails is not None
        anchors, relations = [], []
        pictures = self.report.thumbnails(list(self._places))
        first = self.parts.new_part("media", "jpeg")
        for number, (id, picture) in enumerate((id, picture) for id, picture in pictures if picture is not None):
            part = f"{first.removesuffix('.jpeg')}-{number + 1}.jpeg"
            self.parts.add(part, "", [picture.jpeg])
            anchors.append(_anchor(number + 1, id, self._places[id], picture, self.relation_space))
            relations.append(_relation(number + 1, f"{self.relation_space}/image", part))
        spaces = _drawing_spaces(self.relation_space)
        self._drawn.append(f"{HEADER}<xdr:wsDr {spaces}>{''.join(anchors)}</xdr:wsDr>".encode())
        self.parts.add(self.parts.relations_of(self.drawing), "", [_relations(*relations)])

    def _sheet(self) -> Iterator[bytes]:
        """The XML in pieces. Texts are stored as texts, so that none is run as a formula."""
        thumbnails = self.report.thumbnails is not None
        width = f'width="{SIDE_PX / 7 + 2:.0f}" customWidth="1"'  # in characters of about 7 px
        columns = f'<cols><col min="1" max="1" {width}/></cols>' if thumbnails else ""
        yield f'{HEADER}<worksheet xmlns="{self.main}">{columns}<sheetData>'.encode()
        rows = enumerate(chain([self.report.columns], self.report.rows), 1)
        remaining = islice(rows, ROWS)
        while block := list(islice(remaining, BLOCK)):
            yield "".join(self._row(number, cells) for number, cells in block).encode()
        drawing = f'<drawing xmlns:r="{self.relation_space}" r:id="rId1"/>' if thumbnails else ""
        yield f"</sheetData>{drawing}</worksheet>".encode()

    def _row(self, number: int, cells: Sequence[str | float | None]) -> str:
        if self.report.thumbnails is None:
            return f"<row>{''.join(map(_cell, cells))}</row>"
        if number == 1:
            return f"<row>{''.join(map(_cell, ['photo', *cells]))}</row>"
        id = str(cells[self.report.columns.index("id")] or "")
        height = ""
        is_readable = cells[self.report.columns.index("status")] != Status.UNREADABLE
        if is_readable and id not in self._places and len(self._places) < PICTURES:
            self._places[id] = number
            height = f' ht="{(SIDE_PX + 4) * 0.75:g}" customHeight="1"'
        return f"<row{height}>{''.join(map(_cell, [None, *cells]))}</row>"


def _cell(value: str | float | None) -> str:
    if value is None or value == "":
        return "<c/>"
    return f"<c><v>{value}</v></c>" if isinstance(value, int | float) else f"<c {text_cell(value)}</c>"


def _relation(number: int, type: str, part: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{type}" Target="/{part}"/>'


def _relations(*relations: str) -> bytes:
    return f'{HEADER}<Relationships xmlns="{RELATIONS_TYPE}">{"".join(relations)}</Relationships>'.encode()


def _drawing_spaces(relation_space: str) -> str:
    """The namespaces of drawings, which have other names in "strict" workbooks."""
    strict = "purl.oclc.org" in relation_space
    base = "http://purl.oclc.org/ooxml/drawingml" if strict else "http://schemas.openxmlformats.org/drawingml/2006"
    return f'xmlns:xdr="{base}/spreadsheetDrawing" xmlns:a="{base}/main"'


def _anchor(number: int, id: str, row: int, picture: Thumbnail, relation_space: str) -> str:
    """A picture in the first column of a row."""
    scale = SIDE_PX / max(picture.width, picture.height) * EMU
    size = f'cx="{round(picture.width * scale)}" cy="{round(picture.height * scale)}"'
    offset = 2 * EMU
    return (
        f"<xdr:oneCellAnchor><xdr:from><xdr:col>0</xdr:col><xdr:colOff>{offset}</xdr:colOff>"
        f"<xdr:row>{row - 1}</xdr:row><xdr:rowOff>{offset}</xdr:rowOff></xdr:from><xdr:ext {size}/>"
        f'<xdr:pic><xdr:nvPicPr><xdr:cNvPr id="{number + 1}" name="Photo {number}" descr={quoteattr(id)}/>'
        '<xdr:cNvPicPr><a:picLocks noChangeAspect="1"/></xdr:cNvPicPr></xdr:nvPicPr>'
        f'<xdr:blipFill><a:blip xmlns:r="{relation_space}" r:embed="rId{number}"/>'
        "<a:stretch><a:fillRect/></a:stretch></xdr:blipFill>"
        f'<xdr:spPr><a:xfrm><a:off x="0" y="0"/><a:ext {size}/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></xdr:spPr></xdr:pic><xdr:clientData/></xdr:oneCellAnchor>'
    )
