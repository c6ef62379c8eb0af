"""Adds styles with a coloured background to a workbook."""

from __future__ import annotations

import re

from attire.filling.workbook_parts import WorkbookParts
from attire.filling.xml_places import Element, spliced

COLOUR = "FFC6EFCE"  # light green


class Colouring:
    """For each style of a cell, the number of the same style with a coloured background, which `apply` adds."""

    def __init__(self, parts: WorkbookParts) -> None:
        self.parts = parts
        self._numbers: dict[int, int] = {}
        names = [part for part in parts.targets(parts.relations, "/styles") if part in parts.names]
        self._part = names[0] if names else None
        found = parts.elements(names[0], "fills", "fill", "cellXfs", "xf") if names else []
        self._fills = next((element for element in found if element.name == "fills"), None)
        self._formats = next((element for element in found if element.name == "cellXfs"), None)

    def __call__(self, style: int) -> int:
        """The number of the coloured style; the style itself if the workbook has no list of styles to add to."""
        fills, formats = self._fills, self._formats
        if fills is None or formats is None or fills.inner == fills.stop or formats.inner == formats.stop:
            return style
        if style >= len(formats.children):
            return style
        return self._numbers.setdefault(style, len(formats.children) + len(self._numbers))

    def apply(self) -> None:
        """Add the coloured styles that were asked for to the workbook."""
        if not self._numbers:
            return
        assert self._part is not None
        assert self._fills is not None
        assert self._formats is not None
        fills, formats, document = self._fills, self._formats, self.parts[self._part]
        prefix = fills.prefix
        fill = (
            f'<{prefix}fill><{prefix}patternFill patternType="solid"><{prefix}fgColor rgb="{COLOUR}"/>'
            f'<{prefix}bgColor indexed="64"/></{prefix}patternFill></{prefix}fill>'
        )
        originals = (formats.children[style] for style in self._numbers)
        added = [_with_fill(document[xf.start : xf.stop], len(fills.children)) for xf in originals]
        edits = {
            (fills.inner, fills.inner): fill.encode(),
            (formats.inner, formats.inner): b"".join(added),
            **_recounted(document, fills, len(fills.children) + 1),
            **_recounted(document, formats, len(formats.children) + len(added)),
        }
        self.parts.changed[self._part] = spliced(document, edits)


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
