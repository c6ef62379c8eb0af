"""Types of the requests and answers of /v1; the OpenAPI description is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from attire.prediction import Abstained, Alternative, Prediction
from attire.serve.problems import Problem
from attire.taxonomy import Taxonomy

Confidence = Annotated[float, Field(ge=0, le=1 + 1e-5)]  # float32 probabilities do not sum to exactly 1
Fill = Literal["sure", "all"]
LONGEST_TITLE = 2000  # characters
TITLE = "used together with the photos; refused with 422 unless `reads_titles` of /v1/taxonomy is true"
KNOWN_CATEGORY = "the category, if it is known; it replaces the predicted one"


class Scored(BaseModel):
    """A value or category with its probability."""

    value: str
    confidence: Confidence


class Category(BaseModel):
    """The category of the product. `confidence` is 1 if the request stated it.

    If it is not sure enough it is left open: `value` is null, `confidence` is that of the first of the alternatives.
    """

    status: Literal["answered", "abstained"] = "answered"
    value: str | None
    confidence: Confidence
    alternatives: list[Scored]


class Answered(BaseModel):
    """A filled field. `values` has several values only for keys of arity `many`, and none if nothing was recognised."""

    status: Literal["answered"] = "answered"
    values: list[str]
    confidence: Confidence
    alternatives: list[Scored]


class NotAnswered(BaseModel):
    """A field left open: the key applies, but no value is sure enough. A person can choose from the alternatives."""

    status: Literal["abstained"] = "abstained"
    reason: str
    alternatives: list[Scored]


Attribute = Annotated[Answered | NotAnswered, Field(discriminator="status")]


class Fault(BaseModel):
    """The reason why a photo of a product was not used."""

    photo: int = Field(ge=1, description="number of the photo in the request, from 1")
    reason: str


EXAMPLE: dict[str, Any] = {
    "id": "sku-1",
    "category": {
        "status": "answered",
        "value": "Tshirts",
        "confidence": 0.98,
        "alternatives": [{"value": "Shirts", "confidence": 0.01}],
    },
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
    """The category and attributes of one product. Keys that do not apply to its category have no entry."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    id: str
    category: Category
    attributes: dict[str, Attribute]
    faults: list[Fault] = Field(description="photos that could not be used; the answer uses the others")
    bundle: str = Field(description="the model's version: the start of its bundle's digest")

    @classmethod
    def of(cls, prediction: Prediction, faults: list[Fault], version: str) -> Product:
        attributes: dict[str, Answered | NotAnswered] = {}
        for key, answer in prediction.attributes.items():
            alternatives = _scored(answer.alternatives)
            attributes[key] = (
                NotAnswered(reason=answer.reason, alternatives=alternatives)
                if isinstance(answer, Abstained)
                else Answered(values=list(answer.values), confidence=answer.confidence, alternatives=alternatives)
            )
        category = Category(
            status="abstained" if prediction.category is None else "answered",
            value=prediction.category,
            confidence=prediction.category_confidence,
            alternatives=_scored(prediction.category_alternatives),
        )
        return cls(id=prediction.id, category=category, attributes=attributes, faults=faults, bundle=version)


class UrlPhoto(BaseModel):
    """A photo that the server fetches from an allowed host."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(max_length=2048, examples=["https://images.example.com/1.jpg"])


class InlinePhoto(BaseModel):
    """A photo in the request."""

    model_config = ConfigDict(extra="forbid")
    base64: str = Field(description="JPEG, PNG or WebP, as base64 (RFC 4648)", examples=["/9j/4AAQSkZJRg=="])


class BatchProduct(BaseModel):
    """One product of a batch."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field("", max_length=256)
    photos: list[UrlPhoto | InlinePhoto] = Field(min_length=1)
    title: str = Field("", max_length=LONGEST_TITLE, description=TITLE)
    category: str | None = Field(None, max_length=256, description=KNOWN_CATEGORY)


class BatchRequest(BaseModel):
    """Several products; each is answered or refused on its own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"products": [{"id": "sku-1", "photos": [{"base64": "/9j/4AAQSkZJRg=="}]}]}},
    )
    products: list[BatchProduct] = Field(min_length=1)
    fill: Fill = "sure"
    precision: float | None = Field(None, ge=0.5, le=0.999)


class BatchResult(BaseModel):
    """Either `product` or `problem`."""

    id: str
    product: Product | None = None
    problem: Problem | None = None


class BatchAnswer(BaseModel):
    """One result for each product, in the order of the request."""

    results: list[BatchResult]


class KeyWords(BaseModel):
    """One attribute key."""

    title: str
    arity: Literal["one", "many"]
    categories: list[str]
    values: list[str]
    titles: dict[str, str] = Field(description="display titles of values that have one")
    parents: dict[str, str] = Field(description="parents of values that have one: Navy Blue is a kind of Blue")


class Words(BaseModel):
    """All categories, keys and values of the model."""

    digest: str
    categories: list[str]
    keys: dict[str, KeyWords]
    reads_titles: bool = Field(description="whether a request may contain the product's title")

    @classmethod
    def of(cls, taxonomy: Taxonomy, reads_titles: bool) -> Words:
        keys = {
            name: KeyWords(
                title=key.title,
                arity=key.arity,
                categories=list(key.categories),
                values=list(key.values),
                titles=key.own_titles,
                parents=key.parents,
            )
            for name, key in taxonomy.keys.items()
        }
        return cls(digest=taxonomy.digest, categories=list(taxonomy.categories), keys=keys, reads_titles=reads_titles)


class State(BaseModel):
    """The server's status and the version of the bundle in use."""

    status: Literal["ok", "reloading"] = "ok"
    bundle: str | None = None


def _scored(alternatives: tuple[Alternative, ...]) -> list[Scored]:
    return [Scored(value=alternative.value, confidence=alternative.confidence) for alternative in alternatives]
