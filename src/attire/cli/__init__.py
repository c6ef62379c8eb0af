"""The command line: each verb parses its options, calls one function, and prints what came of it."""

from attire.cli import answers, data, engines, reviewing, serving, training  # noqa: F401
from attire.cli.app import app, main

__all__ = ["app", "main"]
