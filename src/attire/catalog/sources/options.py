"""Options that map the columns of a feed. The command line has the same fields as flags."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _some(text: str) -> str:
    if not text:
        raise ValueError("expected at least one character")
    return text


def _one(text: str) -> str:
    if len(text) > 1 or text in ('"', "\r", "\n"):
        raise ValueError("expected one character, such as ; or |, but no quote and no line end")
    return text


class SourceOptions(BaseModel):
    """Column names, and the format of cells. Only the source `table` uses all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(description="Column with the product id.")] = "id"
    image: Annotated[str, Field(description="Column with the photo names.")] = "image"
    category: Annotated[str, Field(description="Column with the category.")] = "category"
    title: Annotated[str, Field(description="Column with the title.")] = "title"
    group: Annotated[str, Field(description="Column that groups variants of one product.")] = "group"
    attributes: Annotated[str, Field(description="Column with all attributes as one JSON object.")] = ""
    keys: Annotated[tuple[str, ...], Field(description="Columns that are attribute keys (default: all others).")] = ()
    ignore: Annotated[tuple[str, ...], Field(description="Columns that are not attribute keys.")] = ()
    separator: Annotated[
        str, AfterValidator(_some), Field(description="Separator between several values or photos in one cell.")
    ] = "|"
    # "none" is not in the default: it is an ordinary value, observed absence.
    empty: Annotated[tuple[str, ...], Field(description="Words that mean unknown.")] = (
        "",
        "NA",
        "N/A",
        "null",
    )
    delimiter: Annotated[
        str,
        AfterValidator(_one),
        Field(description="Delimiter between cells (default: comma for .csv, tab for .tsv)."),
    ] = ""
    sheet: Annotated[str, Field(description="Sheet of a workbook (default: the first visible one).")] = ""
    encoding: Annotated[str, Field(description="Encoding of a text feed.")] = "utf-8-sig"
    schemes: Annotated[
        tuple[str, ...],
        Field(description="Address schemes to allow in addition to http, https and s3, as fsspec names: gs, abfs, ..."),
    ] = ()
