"""The command line: each verb parses its options, calls one function and prints the result."""

from attire.memory import keep_freed_memory

keep_freed_memory()  # before the imports below start threads

from attire.cli import (  # noqa: E402
    auditing,  # noqa: F401
    backbones,  # noqa: F401
    curves,  # noqa: F401
    data,  # noqa: F401
    drifting,  # noqa: F401
    exporting,  # noqa: F401
    filling,  # noqa: F401
    learning,  # noqa: F401
    predicting,  # noqa: F401
    removing,  # noqa: F401
    reviewing,  # noqa: F401
    serving,  # noqa: F401
    sharing,  # noqa: F401
    shelving,  # noqa: F401
    suggesting,  # noqa: F401
    taxonomies,  # noqa: F401
    training,  # noqa: F401
)
from attire.cli.app import app, main  # noqa: E402

__all__ = ["app", "main"]
