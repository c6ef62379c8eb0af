"""Make torchvision importable with a CPU-only torch. Import this module before timm or torchvision.

torchvision on PyPI is compiled against CUDA torch. With a CPU-only torch its extension cannot be loaded, and `import
torchvision` fails with "operator torchvision::nms does not exist", because it registers meta kernels for operators that
are not declared. Declaring their schemas is enough, because attire never calls them.
"""

from __future__ import annotations

import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # modules of the failed import
    # A module variable, because the schemas are removed when the library object is freed.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"nms{_SCHEMA}")  # type: ignore[no-untyped-call]
    library.define(f"qnms{_SCHEMA}")  # type: ignore[no-untyped-call]
    import torchvision  # noqa: F401
