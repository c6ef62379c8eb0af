"""Lets torchvision load beside a CPU-only torch. Import this module before timm or torchvision.

torchvision on the package index is compiled against CUDA torch. Beside a CPU-only torch its compiled part cannot load,
and `import torchvision` fails with "operator torchvision::nms does not exist", because it attaches meta kernels to
operators that nobody declared. Declaring their schemas is enough: nothing here calls them.
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
        del sys.modules[name]  # what the failed import left behind
    # Stays alive: freed, it would take its schemas along.
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"nms{_SCHEMA}")  # type: ignore[no-untyped-call]
    library.define(f"qnms{_SCHEMA}")  # type: ignore[no-untyped-call]
    import torchvision  # noqa: F401
