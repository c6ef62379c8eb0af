"""Types of the requests and answers of the Open Inference Protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Length = Annotated[int, Field(ge=0, lt=2**31)]


class Server(BaseModel):
    """Name, version and extensions of the server."""

    name: str = "attire"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class Live(BaseModel):
    """The process is alive."""

    live: bool = True


class Ready(BaseModel):
    """The server is ready for requests."""

    ready: bool = True


class ModelReady(Ready):
    """The model is ready for requests."""

    name: str


class TensorOf(BaseModel):
    """Name, type and shape of a tensor; -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelOf(BaseModel):
    """Inputs and outputs of the model."""

    name: str
    versions: list[str]
    platform: str = "attire"
    inputs: list[TensorOf]
    outputs: list[TensorOf]


class Tensor(BaseModel):
    """An input. `data` is flat or nested, or absent if `parameters.binary_data_size` says that bytes follow."""

    name: str
    shape: list[Length] = Field(min_length=1, max_length=4)
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(BaseModel):
    """A requested output; it is returned as bytes if `parameters.binary_data` is true."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """An inference request."""

    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] | None = None


class Output(BaseModel):
    """An output, in row-major order."""

    name: str
    shape: list[int]
    datatype: Literal["FP32"] = "FP32"
    parameters: dict[str, Any] | None = None
    data: list[float] | None = None


class InferAnswer(BaseModel):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]
