"""How a feed's columns map to what attire needs: the command line takes the same fields as flags or from a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SourceOptions(BaseModel):
    """Names of columns, and how cells are written. Only the source `table` looks at all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(description="Column with the product's id.")] = "id"
    image: Annotated[str, Field(description="Column with the names of its photos.")] = "image"
    category: Annotated[str, Field(description="Column with its category.")] = "category"
    title: Annotated[str, Field(description="Column with its title.")] = "title"
    group: Annotated[str, Field(description="Column that ties variants of one product.")] = "group"
    attributes: Annotated[str, Field(description="Column with all attributes as one JSON object.")] = ""
    keys: Annotated[tuple[str, ...], Field(description="Columns that are attribute keys, if not all others are.")] = ()
    ignore: Annotated[tuple[str, ...], Field(description="Columns that are not attribute keys.")] = ()
    separator: Annotated[str, Field(min_length=1, description="Between several values or photos in one cell.")] = "|"
    # "none" is not among them: it is an ordinary value, observed absence.
    empty: Annotated[tuple[str, ...], Field(description="Words that mean that nobody said.")] = (
        "",
        "NA",
        "N/A",
        "null",
    )
    delimiter: Annotated[
        str, Field(max_length=1, pattern=r'^[^"\r\n]?$', description="Between cells, if it is not the suffix's own.")
    ] = ""
    encoding: Annotated[str, Field(description="Of a text feed.")] = "utf-8-sig"
    schemes: Annotated[
        tuple[str, ...],
        Field(description="Kinds of addresses to read beside http, https and s3, by fsspec's names: gs, abfs, ..."),
    ] = ()
