"""The parts of an Excel workbook (a zip archive of XML files): find a sheet, add a sheet, save."""

from __future__ import annotations

import posixpath
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO
from xml.sax.saxutils import quoteattr

from attire.filling.xml_places import Element, elements, spliced, xml_text

CONTENT_TYPES, RELATIONS = "[Content_Types].xml", "_rels/.rels"
SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
CHARACTERS = 32_767  # limit of Excel: characters of a cell
CHUNK = 2**20
NAME = 31  # limit of Excel: characters of a sheet's name


class WorkbookParts:
    """The parts of a workbook by name, as bytes. Changes are kept here until `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed: dict[str, bytes] = {}
        self._streamed: dict[str, Iterator[bytes]] = {}
        with zipfile.ZipFile(path) as archive:
            self.names = archive.namelist()
        self.workbook = self.targets(RELATIONS, "officeDocument")[0]
        self.relations = self.relations_of(self.workbook)
        self.sheets = {sheet.attribute("name"): sheet for sheet in self.elements(self.workbook, "sheet")}

    def __getitem__(self, name: str) -> bytes:
        if name not in self.changed:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name)
        return self.changed[name]

    def elements(self, part: str, *names: str) -> list[Element]:
        """The elements of a part that have one of the names."""
        return elements(self[part], frozenset(names))

    def relations_of(self, part: str) -> str:
        """The name of the part with the relations of a part."""
        folder, name = posixpath.split(part)
        return posixpath.join(folder, "_rels", f"{name}.rels")

    def targets(self, relations: str, kind: str) -> list[str]:
        """The parts that are related by a type that ends in `kind`."""
        found = self.elements(relations, "Relationship")
        return [self._target(relations, relation) for relation in found if relation.attribute("Type").endswith(kind)]

    def _target(self, relations: str, relation: Element) -> str:
        """The part's name; targets are relative to the folder above that of `relations`, or absolute."""
        folder = posixpath.dirname(posixpath.dirname(relations))
        return posixpath.normpath(posixpath.join("/", folder, relation.attribute("Target"))).lstrip("/")

    def sheet_part(self, sheet: str) -> str:
        """The name of the part with the cells of a sheet."""
        id = self.sheets[sheet].attribute("id")
        relations = self.elements(self.relations, "Relationship")
        return next(self._target(self.relations, relation) for relation in relations if relation.attribute("Id") == id)

    def add_sheet(self, wanted: str, pieces: Iterator[bytes]) -> str:
        """Add a sheet after the others; its name gets a number if there is a sheet of that name.

        `pieces` are its XML, which `save` reads. Returns the name of the part.
        """
        taken = {name.casefold() for name in self.sheets}
        names = [wanted, *(f"{wanted} {number}" for number in range(2, len(taken) + 3))]
        name = next(name[:NAME] for name in names if name.casefold() not in taken)
        sheets = [*self.sheets.values()]
        first = sheets[0].attribute("id")
        relations = self.elements(self.relations, "Relationship")
        type = next(relation.attribute("Type") for relation in relations if relation.attribute("Id") == first)
        id = _unused("attire", {relation.attribute("Id") for relation in relations})
        part = self.new_part("worksheets", "xml")
        number = max(int(sheet.attribute("sheetId")) for sheet in sheets) + 1
        main, relation_space = self.spaces()
        self._append(
            self.workbook,
            "sheets",
            f'<sheet xmlns="{main}" xmlns:r="{relation_space}" name={quoteattr(name)} sheetId="{number}" r:id="{id}"/>',
        )
        space = self._root(self.relations, "Relationships")
        self._append(
            self.relations,
            "Relationships",
            f'<Relationship xmlns="{space}" Id="{id}" Type="{type}" Target="/{part}"/>',
        )
        self.add(part, SHEET_TYPE, pieces)
        return part

    def new_part(self, folder: str, suffix: str) -> str:
        """A name for a new part in a folder next to the workbook."""
        path = posixpath.join(posixpath.dirname(self.workbook), folder)
        taken = {posixpath.splitext(posixpath.basename(name))[0] for name in (*self.names, *self._streamed)}
        return posixpath.join(path, f"{_unused('attire', taken)}.{suffix}")

    def add(self, part: str, type: str, pieces: Iterable[bytes]) -> None:
        """Add a part; `save` reads its content after all earlier parts. Without a `type`, that of its suffix counts."""
        self._streamed[part] = iter(pieces)
        if type:
            space = self._root(CONTENT_TYPES, "Types")
            override = f'<Override xmlns="{space}" PartName="/{part}" ContentType="{type}"/>'
            self._append(CONTENT_TYPES, "Types", override)

    def add_default(self, suffix: str, type: str) -> None:
        """Declare the type of all parts with a suffix."""
        known = {default.attribute("Extension").casefold() for default in self.elements(CONTENT_TYPES, "Default")}
        if suffix not in known:
            types = self.elements(CONTENT_TYPES, "Types", "Default", "Override")
            default = f'<Default xmlns="{_space(types[0])}" Extension="{suffix}" ContentType="{type}"/>'
            at = types[1].start if len(types) > 1 else types[0].inner  # before all overrides
            self.changed[CONTENT_TYPES] = spliced(self[CONTENT_TYPES], {(at, at): default.encode()})

    def _root(self, part: str, name: str) -> str:
        """The namespace of the root element."""
        return _space(self.elements(part, name)[0])

    def spaces(self) -> tuple[str, str]:
        """The namespaces of sheets and of relations: those of "strict" workbooks have other names."""
        root = self.elements(self.workbook, "workbook")[0]
        main = _space(root)
        strict = "purl.oclc.org" in main
        base = "http://purl.oclc.org/ooxml" if strict else "http://schemas.openxmlformats.org"
        return main, f"{base}/officeDocument/relationships" if strict else f"{base}/officeDocument/2006/relationships"

    def _append(self, part: str, parent: str, child: str) -> None:
        """Add a child at the end of the first element named `parent`."""
        element = self.elements(part, parent)[0]
        self.changed[part] = spliced(self[part], {(element.inner, element.inner): child.encode()})

    def save(self, out: Path, documents: Mapping[str, IO[bytes]]) -> None:
        """Write all parts to `out`, in the order of the original, with new ones at the end.

        `documents` are open files with new contents of parts.
        """
        with zipfile.ZipFile(self.path) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
            for part in archive.infolist():
                if (document := documents.get(part.filename)) is not None:
                    document.seek(0)
                    with written.open(part.filename, "w", force_zip64=True) as target:
                        shutil.copyfileobj(document, target, CHUNK)
                    continue
                content = self.changed.get(part.filename)
                written.writestr(part, archive.read(part) if content is None else content)
            for name in self.changed.keys() - set(self.names):
                written.writestr(name, self.changed[name])
            while self._streamed:  # a part may add others
                name = next(iter(self._streamed))
                with written.open(name, "w", force_zip64=True) as target:
                    for piece in self._streamed[name]:
                        target.write(piece)
                del self._streamed[name]


def _unused(wanted: str, taken: Collection[str]) -> str:
    return next(name for number in range(1, len(taken) + 2) if (name := f"{wanted}{number}") not in taken)


def _space(root: Element) -> str:
    """The namespace that the root element declares for itself or, with a prefix, for the only prefix it can have."""
    spaces = {name: uri for name, uri in root.attributes.items() if name == "xmlns" or name.startswith("xmlns:")}
    main = ("spreadsheetml/2006/main", "spreadsheetml/main", "package/2006/relationships", "package/2006/content-types")
    return spaces.get("xmlns") or next(uri for uri in spaces.values() if uri.endswith(main))


@lru_cache(maxsize=10_000)  # the report repeats its words
def text_cell(text: str, prefix: str = "") -> str:
    """The rest of the start tag and the content of a cell with `text`. It is never run as a formula."""
    content = xml_text(text[:CHARACTERS])
    return f't="inlineStr"><{prefix}is><{prefix}t xml:space="preserve">{content}</{prefix}t></{prefix}is>'
