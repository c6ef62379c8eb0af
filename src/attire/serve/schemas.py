"""Requests and answers of /v1 as types, from which the OpenAPI description is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from attire.prediction import Abstained, Alternative, Prediction
from attire.serve.problems import Problem
from attire.taxonomy import Taxonomy

Confidence = Annotated[float, Field(ge=0, le=1 + 1e-5)]  # float32 sums to 1 only nearly
Fill = Literal["sure", "all"]
LONGEST_TITLE = 2000  # characters
TITLE = "adds to what the photos say; refused with 422 unless /v1/taxonomy says `reads_titles`"


class Scored(BaseModel):
    """A value (or category) that was considered, with its probability."""

    value: str
    confidence: Confidence


class Category(BaseModel):
    """What the product is. `confidence` is 1 where the request stated it."""

    value: str
    confidence: Confidence
    alternatives: list[Scored]


class Answered(BaseModel):
    """Sure enough to be filled in; `values` has several only for keys of arity `many`, and none if none was seen."""

    status: Literal["answered"] = "answered"
    values: list[str]
    confidence: Confidence
    alternatives: list[Scored]


class NotAnswered(BaseModel):
    """The key applies, but no value is sure enough: leave it to a person, with the alternatives."""

    status: Literal["abstained"] = "abstained"
    reason: str
    alternatives: list[Scored]


Attribute = Annotated[Answered | NotAnswered, Field(discriminator="status")]


class Fault(BaseModel):
    """Why one photo of a product was left out."""

    photo: int = Field(ge=1, description="counted from 1, as sent")
    reason: str


EXAMPLE: dict[str, Any] = {
    "id": "sku-1",
    "category": {"value": "Tshirts", "confidence": 0.98, "alternatives": [{"value": "Shirts", "confidence": 0.01}]},
    "attributes": {
        "neck": {
            "status": "answered",
            "values": ["Round Neck"],
            "confidence": 0.97,
            "alternatives": [{"value": "V-Neck", "confidence": 0.02}],
        },
        "fit": {
            "status": "abstained",
            "reason": "no value is sure enough",
            "alternatives": [{"value": "Regular Fit", "confidence": 0.61}, {"value": "Slim Fit", "confidence": 0.37}],
        },
    },
    "faults": [],
    "bundle": "9f2c6d0b1a77",
}


class Product(BaseModel):
    """Category and attributes of one product. Keys that do not apply to its category have no entry."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    id: str
    category: Category
    attributes: dict[str, Attribute]
    faults: list[Fault] = Field(description="photos that could not be used; the answer is from the others")
    bundle: str = Field(description="which model answered: the start of its bundle's digest")

    @classmethod
    def of(cls, said: Prediction, faults: list[Fault], version: str) -> Product:
        attributes: dict[str, Answered | NotAnswered] = {}
        for key, answer in said.attributes.items():
            others = _scored(answer.alternatives)
            attributes[key] = (
                NotAnswered(reason=answer.reason, alternatives=others)
                if isinstance(answer, Abstained)
                else Answered(values=list(answer.values), confidence=answer.confidence, alternatives=others)
            )
        category = Category(
            value=said.category, confidence=said.category_confidence, alternatives=_scored(said.category_alternatives)
        )
        return cls(id=said.id, category=category, attributes=attributes, faults=faults, bundle=version)


class UrlPhoto(BaseModel):
    """A photo to fetch, from hosts that the server allows."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(max_length=2048, examples=["https://images.example.com/1.jpg"])


class InlinePhoto(BaseModel):
    """A photo in the request itself."""

    model_config = ConfigDict(extra="forbid")
    base64: str = Field(description="JPEG, PNG or WebP, as base64 (RFC 4648)", examples=["/9j/4AAQSkZJRg=="])


class BatchProduct(BaseModel):
    """One product of a batch."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field("", max_length=256)
    photos: list[UrlPhoto | InlinePhoto] = Field(min_length=1)
    title: str = Field("", max_length=LONGEST_TITLE, description=TITLE)
    category: str | None = Field(None, max_length=256, description="the known one, which overrules the network's")


class BatchRequest(BaseModel):
    """Several products; each is answered, or refused, on its own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"products": [{"id": "sku-1", "photos": [{"base64": "/9j/4AAQSkZJRg=="}]}]}},
    )
    products: list[BatchProduct] = Field(min_length=1)
    fill: Fill = "sure"
    precision: float | None = Field(None, gt=0, lt=1)


class BatchResult(BaseModel):
    """Either `product` or `problem`."""

    id: str
    product: Product | None = None
    problem: Problem | None = None


class BatchAnswer(BaseModel):
    """One result for each product, in order."""

    results: list[BatchResult]


class KeyWords(BaseModel):
    """One attribute key."""

    title: str
    arity: Literal["one", "many"]
    categories: list[str]
    values: list[str]
    titles: dict[str, str] = Field(description="of values that have one, for people")


class Words(BaseModel):
    """All that the model can say."""

    digest: str
    categories: list[str]
    keys: dict[str, KeyWords]
    reads_titles: bool = Field(description="whether a request may state the product's title")

    @classmethod
    def of(cls, taxonomy: Taxonomy, reads_titles: bool) -> Words:
        keys = {name: KeyWords(**key.model_dump(exclude={"aliases"})) for name, key in taxonomy.keys.items()}
        return cls(digest=taxonomy.digest, categories=list(taxonomy.categories), keys=keys, reads_titles=reads_titles)


class State(BaseModel):
    """Whether the server lives, and which bundle answers."""

    status: Literal["ok", "reloading"] = "ok"
    bundle: str | None = None


def _scored(alternatives: tuple[Alternative, ...]) -> list[Scored]:
    return [Scored(value=one.value, confidence=one.confidence) for one in alternatives]
