"""Requests and answers of the Open Inference Protocol as types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Length = Annotated[int, Field(ge=0, lt=2**31)]


class Server(BaseModel):
    """What serves."""

    name: str = "attire"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class Live(BaseModel):
    """The process lives."""

    live: bool = True


class Ready(BaseModel):
    """Requests will be answered."""

    ready: bool = True


class ModelReady(Ready):
    """The model answers."""

    name: str


class TensorOf(BaseModel):
    """A tensor's name, type and shape; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelOf(BaseModel):
    """What goes in and comes out."""

    name: str
    versions: list[str]
    platform: str = "attire"
    inputs: list[TensorOf]
    outputs: list[TensorOf]


class Tensor(BaseModel):
    """One input. `data` is flat or nested; it is absent where `parameters.binary_data_size` says that bytes follow."""

    name: str
    shape: list[Length] = Field(min_length=1, max_length=4)
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(BaseModel):
    """An output that is asked for; `parameters.binary_data` true wants it as bytes."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """A request of the protocol."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] | None = None


class Output(BaseModel):
    """One output, in row-major order."""

    name: str
    shape: list[int]
    datatype: Literal["FP32"] = "FP32"
    parameters: dict[str, Any] | None = None
    data: list[float] | None = None


class InferAnswer(BaseModel):
    """An answer of the protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]
