"""Serves the same network with LitServe, for `serving.py`: python benchmarks/support/litserved.py BUNDLE PORT."""

import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import UploadFile

from attire.bundle import ModelBundle
from attire.engines.engine import TorchEngine
from attire.photos.image import open_photo

MAX_BATCH, WAIT_S = 32, 0.004  # the same batch size as attire serve


class Network(litserve.LitAPI):  # type: ignore[misc]
    """Returns the logits of a photo; decodes and computes the same as `attire serve`."""

    # LitServe reads the annotations of `decode_request`, so this module must not postpone them.

    def __init__(self, bundle: Path) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S)
        self.path = bundle

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.bundle = ModelBundle.load(self.path)
        self.engine = TorchEngine(self.bundle)

    def decode_request(self, request: UploadFile) -> Any:
        preprocess = self.bundle.preprocess
        return preprocess.resize(open_photo(request.file.read(), target_px=preprocess.size_px))

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, pixels: Any) -> Any:
        category, attributes = self.engine.logits(pixels)
        return list(zip(category.tolist(), attributes.tolist(), strict=True))

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> Any:
        return {"category": output[0], "attributes": output[1]}


if __name__ == "__main__":
    server = litserve.LitServer(Network(Path(sys.argv[1])), accelerator="auto", timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
