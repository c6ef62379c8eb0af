"""Exceptions that attire raises.

A message says what was expected, what was received, and what to do. The command line prints only the message; a
traceback means a bug in attire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz, process

SHOWN = 100  # maximum length, in characters, of user text quoted in a message


class AttireError(Exception):
    """Base class of all errors below."""


class TaxonomyError(AttireError):
    """A taxonomy is invalid, or a word is not in it."""


class FeedError(AttireError):
    """A feed cannot be read, or some of its rows are wrong. `problems` holds one line per bad row."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class PhotoError(AttireError):
    """A photo cannot be used. The message is the reason, without the photo's name."""


class PhotoMissingError(PhotoError):
    """No photo has the name."""


class CatalogError(AttireError):
    """A catalog directory is missing, unfinished, or does not match its manifest."""


class ConfigError(AttireError):
    """A recipe, option or configuration file is invalid."""


class WeightsError(AttireError):
    """Pretrained weights cannot be found, downloaded or loaded into the backbone."""


class BundleError(AttireError):
    """A model bundle is damaged or unfinished, or its outputs differ from those at the time it was saved."""


class ExportError(AttireError):
    """An exported engine gives other answers than its bundle, and was discarded."""


class ReportError(AttireError):
    """A report directory is missing or damaged, or two reports cannot be compared."""


class HubError(AttireError):
    """The Hugging Face Hub refuses a request or cannot be reached, or an address is not that of a bundle."""


class ShelfError(AttireError):
    """A shelf of models is missing, damaged or busy, or lacks the version that was asked for."""


class StorageError(AttireError):
    """A file cannot be written: the disk is full or read-only, or permission is denied."""


class ReviewStoreError(AttireError):
    """The store of review decisions cannot be opened, read or written, or has an unsupported format."""


class MissingExtraError(AttireError):
    """A verb needs an optional dependency."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'attire[{extra}]'")


def shown(text: str) -> str:
    r"""User text for a message: on one line, shortened if it is long, with non-printable characters escaped.

    >>> print(shown("red\n\x1b[31m"))
    red\n\x1b[31m
    """
    start = spelled_out(text[:SHOWN])
    return start if len(text) <= SHOWN else f"{start}... ({len(text):,} characters)"


def spelled_out(text: str, kept: str = "") -> str:
    r"""Escape the non-printable characters of a text, except those in `kept`.

    >>> print(spelled_out("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in text)


def listed(lines: Sequence[str], limit: int = 20) -> str:
    """Join the first `limit` lines and the number of the others, indented to follow another line."""
    remainder = [f"... and {len(lines) - limit:,} more"] if len(lines) > limit else []
    return "\n  ".join([*lines[:limit], *remainder])


def first_few(words: Sequence[str], limit: int = 5) -> str:
    """The first `limit` words on one line, and the number of the others.

    >>> first_few(["red", "navy", "black"], 2)
    'red, navy and 1 more'
    """
    more = f" and {len(words) - limit:,} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def first_ids(ids: Sequence[str], limit: int = 5) -> str:
    """The first `limit` ids of products, quoted, and the number of the others.

    >>> print(first_ids(["p1", "p2", "p3"], 2))
    'p1', 'p2' and 1 more
    """
    return first_few([*(f"'{shown(id)}'" for id in ids[:limit]), *ids[limit:]], limit)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The word in `known` that is most similar to `word`, or None if none is close."""
    match = process.extractOne(word[:SHOWN], list(known), scorer=fuzz.ratio, processor=str.casefold, score_cutoff=60)
    return match[0] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message: `; did you mean 'x'?` for the closest word in `known`, or `.` if none is close.

    >>> did_you_mean("recepi", ["recipe", "epochs"])
    "; did you mean 'recipe'?"
    """
    match = closest(word, known)
    return f"; did you mean '{shown(match)}'?" if match is not None else "."
