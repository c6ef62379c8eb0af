"""The command line: each verb parses its options, calls one function and prints the result."""

from attire.memory import keep_freed_memory

keep_freed_memory()  # before the imports below start threads

from attire.cli import data, exporting, filling, predicting, removing, reviewing, serving, training  # noqa: E402, F401
from attire.cli.app import app, main  # noqa: E402

__all__ = ["app", "main"]
