"""Every error that attire raises on purpose.

A message says what was expected, what came, and what to do. The command line prints the message alone; a traceback
means a bug in attire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz, process

SHOWN = 100  # characters of a user's text that a message repeats


class AttireError(Exception):
    """Base of all errors below: catch this one to catch them all."""


class TaxonomyError(AttireError):
    """A taxonomy contradicts itself, or a word is not in it."""


class FeedError(AttireError):
    """A feed cannot be read, or some of its rows are wrong. `problems` holds one line per bad row."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class PhotoError(AttireError):
    """A photo cannot be used; the message is the reason alone, without the photo's name."""


class CatalogError(AttireError):
    """A catalog directory is missing, unfinished, or not what its manifest says."""


class ConfigError(AttireError):
    """A recipe, option or configuration file is wrong."""


class WeightsError(AttireError):
    """Pretrained weights cannot be found, fetched or fitted to the backbone."""


class BundleError(AttireError):
    """A model bundle is damaged, unfinished, or does not compute what it computed when it was saved."""


class ExportError(AttireError):
    """An exported engine does not answer as the bundle that it was made from, and was not kept."""


class ReportError(AttireError):
    """A report's directory is missing or damaged, or two reports cannot be compared."""


class StorageError(AttireError):
    """A file cannot be written: the disk is full or read-only, or the place is not this user's."""


class ReviewStoreError(AttireError):
    """The store of decisions cannot be opened, read or written, or is not one that this attire can read."""


class MissingExtraError(AttireError):
    """A verb needs an optional dependency."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'attire[{extra}]'")


def shown(text: str) -> str:
    r"""What a user wrote, for a message: on one line, cut where it is long, with escapes for what cannot be seen.

    >>> print(shown("red\n\x1b[31m"))
    red\n\x1b[31m
    """
    start = spelled_out(text[:SHOWN])
    return start if len(text) <= SHOWN else f"{start}... ({len(text):,} characters)"


def spelled_out(text: str, kept: str = "") -> str:
    r"""The text with escapes for what cannot be seen, but for the characters that are `kept`.

    >>> print(spelled_out("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in kept else ascii(one)[1:-1] for one in text)


def listed(lines: Sequence[str], limit: int = 20) -> str:
    """The first of the lines, and how many more there are, to stand indented below another line."""
    more = [f"... and {len(lines) - limit:,} more"] if len(lines) > limit else []
    return "\n  ".join([*lines[:limit], *more])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: `; did you mean 'x'?` for the closest of `known`, or `.` where nothing is close.

    >>> did_you_mean("recepi", ["recipe", "epochs"])
    "; did you mean 'recipe'?"
    """
    close = process.extractOne(word[:SHOWN], list(known), scorer=fuzz.ratio, processor=str.casefold, score_cutoff=60)
    return f"; did you mean '{shown(close[0])}'?" if close else "."
