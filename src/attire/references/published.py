"""The shapes of the files that Shopify publishes, and of lists of Google's categories. Further fields are ignored.

Shopify's repository (github.com/Shopify/product-taxonomy) has them as JSON in `dist/`, with global ids such as
`gid://shopify/TaxonomyCategory/aa-1-4`, and as YAML in `data/`, with friendly ids.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class DistAttributeName(BaseModel):
    """An attribute of a category, or one that extends another."""

    name: str
    handle: str


class DistCategory(BaseModel):
    id: str
    full_name: str
    attributes: list[DistAttributeName] = Field(default_factory=list)


class DistVertical(BaseModel):
    categories: list[DistCategory]


class DistValue(BaseModel):
    name: str
    handle: str


class DistAttribute(BaseModel):
    name: str
    handle: str
    extended_attributes: list[DistAttributeName] = Field(default_factory=list)
    values: list[DistValue]


class DistCategoryId(BaseModel):
    id: str


class DistInput(BaseModel):
    category: DistCategoryId


class DistOutput(BaseModel):
    category: list[DistCategoryId]


class DistRule(BaseModel):
    input: DistInput
    output: DistOutput


class DistMapping(BaseModel):
    output_taxonomy: str
    rules: list[DistRule]


class Dist(BaseModel):
    """`dist/en/taxonomy.json`, `categories.json`, `attributes.json`, or `integrations/google/*.json`."""

    verticals: list[DistVertical] = Field(default_factory=list)
    attributes: list[DistAttribute] = Field(default_factory=list)
    mappings: list[DistMapping] = Field(default_factory=list)


class DataCategory(BaseModel):
    """An entry of `data/categories/*.yml`. `attributes` are friendly ids."""

    id: str
    name: str
    children: list[str]
    attributes: list[str]


class DataValue(BaseModel):
    """An entry of `data/values.yml`."""

    name: str
    friendly_id: str
    handle: str


class DataBaseAttribute(BaseModel):
    name: str
    friendly_id: str
    handle: str
    values: list[str]


class DataExtendedAttribute(BaseModel):
    name: str
    friendly_id: str = ""
    handle: str
    values_from: str


class DataAttributes(BaseModel):
    """`data/attributes.yml`."""

    base_attributes: list[DataBaseAttribute]
    extended_attributes: list[DataExtendedAttribute] = Field(default_factory=list)


class DataSide(BaseModel):
    product_category_id: str | list[str]


class DataRule(BaseModel):
    input: DataSide
    output: DataSide


class DataMapping(BaseModel):
    """`data/integrations/google/*/mappings/from_shopify.yml`."""

    output_taxonomy: str
    rules: list[DataRule]
