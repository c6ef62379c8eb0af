"""Where the elements of an XML document are, in bytes, so that single ones can be changed and no other byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

START_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


@dataclass(slots=True)
class Element:
    """An element. `name` has no prefix, and `prefix` ends in a colon or is empty.

    start, stop: bytes of the whole element; inner: where its content ends (`</`), or `stop` if it has no end tag.
    children: the wanted elements in it, directly or deeper, without those in other wanted ones.
    """

    name: str
    prefix: str
    attributes: dict[str, str]
    start: int
    stop: int = -1
    inner: int = -1
    children: list[Element] = field(default_factory=list)

    def attribute(self, name: str) -> str:
        """The attribute `name` in any namespace, "" if there is none."""
        return next((text for full, text in self.attributes.items() if full.rpartition(":")[2] == name), "")


def elements(document: bytes, wanted: frozenset[str]) -> list[Element]:
    """The elements named in `wanted`, with any prefix, in document order.

    Raises `ValueError` for a document that is not XML in UTF-8.
    """
    if document.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("its encoding is UTF-16, expected UTF-8")
    parser = expat.ParserCreate()
    found: list[Element] = []
    open_elements: list[Element | None] = []
    parents: list[Element] = []

    def begin(full: str, attributes: dict[str, str]) -> None:
        prefix, colon, name = full.rpartition(":")
        element = None
        if name in wanted:
            element = Element(name, prefix + colon, attributes, parser.CurrentByteIndex)
            found.append(element)
            if parents:
                parents[-1].children.append(element)
            parents.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        element = open_elements.pop()
        if element is None:
            return
        parents.pop()
        tag = START_TAG.match(document, element.start)
        if tag is None:
            raise ValueError("its tags cannot be located")
        if tag[0].endswith(b"/>"):
            element.stop = element.inner = tag.end()
        else:
            element.inner = parser.CurrentByteIndex
            element.stop = document.index(b">", element.inner) + 1

    def refuse_encoding(_: str | None, encoding: str | None, __: int) -> None:
        if encoding and encoding.casefold() not in ("utf-8", "us-ascii"):
            raise ValueError(f"its encoding is {encoding}, expected UTF-8")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.XmlDeclHandler = refuse_encoding
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is not valid XML: {error}") from None
    return found


def spliced(document: bytes, edits: Mapping[tuple[int, int], bytes]) -> bytes:
    """The document with the bytes from start up to stop replaced, for each (start, stop). They do not overlap."""
    parts, end = [], 0
    for start, stop in sorted(edits):
        parts += [document[end:start], edits[start, stop]]
        end = stop
    return b"".join([*parts, document[end:]])


def xml_text(text: str) -> str:
    """The text for an element: escaped, without the characters that XML cannot hold."""
    return escape(FORBIDDEN.sub("", text))
