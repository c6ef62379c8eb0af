"""The parts of an Excel workbook (a zip archive of XML files): find a sheet, add a sheet, add coloured styles."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from xml.sax.saxutils import quoteattr

from attire.filling.xml_places import Element, elements, spliced, xml_text

CONTENT_TYPES, RELATIONS = "[Content_Types].xml", "_rels/.rels"
SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
COLOUR = "FFC6EFCE"  # light green
ROWS, CHARACTERS = 1_048_576, 32_767  # limits of Excel: rows of a sheet, characters of a cell
NAME = 31  # limit of Excel: characters of a sheet's name


class WorkbookParts:
    """The parts of a workbook by name, as bytes. Changes are kept here until `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed: dict[str, bytes] = {}
        with zipfile.ZipFile(path) as archive:
            self.names = archive.namelist()
        self.workbook = self._targets(RELATIONS, "officeDocument")[0]
        self._relations = self._relations_of(self.workbook)
        self.sheets = {sheet.attribute("name"): sheet for sheet in self._elements(self.workbook, "sheet")}

    def __getitem__(self, name: str) -> bytes:
        if name not in self.changed:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name)
        return self.changed[name]

    def _elements(self, part: str, *names: str) -> list[Element]:
        return elements(self[part], frozenset(names))

    def _relations_of(self, part: str) -> str:
        folder, name = posixpath.split(part)
        return posixpath.join(folder, "_rels", f"{name}.rels")

    def _targets(self, relations: str, kind: str) -> list[str]:
        """The parts that are related by a type that ends in `kind`."""
        found = self._elements(relations, "Relationship")
        return [self._target(relations, relation) for relation in found if relation.attribute("Type").endswith(kind)]

    def _target(self, relations: str, relation: Element) -> str:
        """The part's name; targets are relative to the folder above that of `relations`, or absolute."""
        folder = posixpath.dirname(posixpath.dirname(relations))
        return posixpath.normpath(posixpath.join("/", folder, relation.attribute("Target"))).lstrip("/")

    def sheet_part(self, sheet: str) -> str:
        """The name of the part with the cells of a sheet."""
        id = self.sheets[sheet].attribute("id")
        relations = self._elements(self._relations, "Relationship")
        return next(self._target(self._relations, relation) for relation in relations if relation.attribute("Id") == id)

    def add_sheet(self, wanted: str, columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> None:
        """Add a sheet after the others; its name gets a number if there is a sheet of that name."""
        taken = {name.casefold() for name in self.sheets}
        names = [wanted, *(f"{wanted} {number}" for number in range(2, len(taken) + 3))]
        name = next(name[:NAME] for name in names if name.casefold() not in taken)
        sheets = [*self.sheets.values()]
        first = sheets[0].attribute("id")
        relations = self._elements(self._relations, "Relationship")
        type = next(relation.attribute("Type") for relation in relations if relation.attribute("Id") == first)
        id = _unused("attire", {relation.attribute("Id") for relation in relations})
        folder = posixpath.join(posixpath.dirname(self.workbook), "worksheets")
        part = posixpath.join(folder, f"{_unused('attire', {posixpath.basename(n)[:-4] for n in self.names})}.xml")
        number = max(int(sheet.attribute("sheetId")) for sheet in sheets) + 1
        main, relation_space = self._spaces()
        self.changed[part] = _sheet(main, columns, rows)
        self._append(
            self.workbook,
            "sheets",
            f'<sheet xmlns="{main}" xmlns:r="{relation_space}" name={quoteattr(name)} sheetId="{number}" r:id="{id}"/>',
        )
        space = self._root(self._relations, "Relationships")
        self._append(
            self._relations,
            "Relationships",
            f'<Relationship xmlns="{space}" Id="{id}" Type="{type}" Target="/{part}"/>',
        )
        space = self._root(CONTENT_TYPES, "Types")
        override = f'<Override xmlns="{space}" PartName="/{part}" ContentType="{SHEET_TYPE}"/>'
        self._append(CONTENT_TYPES, "Types", override)

    def _root(self, part: str, name: str) -> str:
        """The namespace of the root element."""
        return _space(self._elements(part, name)[0])

    def _spaces(self) -> tuple[str, str]:
        """The namespaces of sheets and of relations: those of "strict" workbooks have other names."""
        root = self._elements(self.workbook, "workbook")[0]
        main = _space(root)
        strict = "purl.oclc.org" in main
        base = "http://purl.oclc.org/ooxml" if strict else "http://schemas.openxmlformats.org"
        return main, f"{base}/officeDocument/relationships" if strict else f"{base}/officeDocument/2006/relationships"

    def _append(self, part: str, parent: str, child: str) -> None:
        """Add a child at the end of the first element named `parent`."""
        element = self._elements(part, parent)[0]
        self.changed[part] = spliced(self[part], {(element.inner, element.inner): child.encode()})

    def coloured(self, styles: Collection[int]) -> dict[int, int]:
        """Add a style with a coloured background for each of the given ones; returns their numbers."""
        parts = self._targets(self._relations, "/styles")
        if not parts or parts[0] not in self.names:
            return {}
        part = parts[0]
        document = self[part]
        found = self._elements(part, "fills", "fill", "cellXfs", "xf")
        fills = next((element for element in found if element.name == "fills"), None)
        formats = next((element for element in found if element.name == "cellXfs"), None)
        if fills is None or formats is None or fills.inner == fills.stop or formats.inner == formats.stop:
            return {}
        prefix = fills.prefix
        fill = (
            f'<{prefix}fill><{prefix}patternFill patternType="solid"><{prefix}fgColor rgb="{COLOUR}"/>'
            f'<{prefix}bgColor indexed="64"/></{prefix}patternFill></{prefix}fill>'
        )
        numbers, added = {}, []
        for style in sorted(styles):
            if style < len(formats.children):
                xf = formats.children[style]
                added.append(_with_fill(document[xf.start : xf.stop], len(fills.children)))
                numbers[style] = len(formats.children) + len(added) - 1
        edits = {
            (fills.inner, fills.inner): fill.encode(),
            (formats.inner, formats.inner): b"".join(added),
            **_recounted(document, fills, len(fills.children) + 1),
            **_recounted(document, formats, len(formats.children) + len(added)),
        }
        self.changed[part] = spliced(document, edits)
        return numbers

    def save(self, out: Path) -> None:
        """Write all parts to `out`, in the order of the original, with new ones at the end."""
        with zipfile.ZipFile(self.path) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
            for part in archive.infolist():
                content = self.changed.get(part.filename)
                written.writestr(part, archive.read(part) if content is None else content)
            for name in self.changed.keys() - set(self.names):
                written.writestr(name, self.changed[name])


def _unused(wanted: str, taken: Collection[str]) -> str:
    return next(name for number in range(1, len(taken) + 2) if (name := f"{wanted}{number}") not in taken)


def _space(root: Element) -> str:
    """The namespace that the root element declares for itself or, with a prefix, for the only prefix it can have."""
    spaces = {name: uri for name, uri in root.attributes.items() if name == "xmlns" or name.startswith("xmlns:")}
    main = ("spreadsheetml/2006/main", "spreadsheetml/main", "package/2006/relationships", "package/2006/content-types")
    return spaces.get("xmlns") or next(uri for uri in spaces.values() if uri.endswith(main))


def _with_fill(xf: bytes, fill: int) -> bytes:
    """The element of a format with another fill."""
    tag, closing, rest = xf.partition(b">")
    tag = re.sub(rb"\s(?:fillId|applyFill)=(\"[^\"]*\"|'[^']*')", b"", tag)
    slash = b"/" if tag.endswith(b"/") else b""
    return tag.removesuffix(b"/") + f' fillId="{fill}" applyFill="1"'.encode() + slash + closing + rest


def _recounted(document: bytes, element: Element, count: int) -> dict[tuple[int, int], bytes]:
    """The edit of the element's attribute `count`, if it has one."""
    match = re.compile(rb"\scount=[\"'](\d+)[\"']").search(document, element.start, document.index(b">", element.start))
    return {match.span(1): str(count).encode()} if match else {}


def _sheet(space: str, columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> bytes:
    """A sheet with a header, as XML. Texts are stored as texts, so that none is run as a formula."""
    parts = [f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<worksheet xmlns="{space}"><sheetData>']
    parts += [f"<row>{''.join(map(_cell, row))}</row>" for row in islice(chain([columns], rows), ROWS)]
    return "".join([*parts, "</sheetData></worksheet>"]).encode()


def _cell(value: str | float | None) -> str:
    if value is None or value == "":
        return "<c/>"
    return f"<c><v>{value}</v></c>" if isinstance(value, int | float) else f"<c {text_cell(value)}</c>"


def text_cell(text: str, prefix: str = "") -> str:
    """The rest of the start tag and the content of a cell with `text`. It is never run as a formula."""
    content = xml_text(text[:CHARACTERS])
    return f't="inlineStr"><{prefix}is><{prefix}t xml:space="preserve">{content}</{prefix}t></{prefix}is>'
