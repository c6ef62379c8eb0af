"""Match words of two vocabularies that differ in case, punctuation, number (plural or singular) or British spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from rapidfuzz import fuzz, process

from attire.errors import SHOWN
from attire.taxonomy import fold

AMERICAN = {
    "colour": "color",
    "grey": "gray",
    "jewellery": "jewelry",
    "multicolour": "multicolor",
    "multicoloured": "multicolored",
    "pyjama": "pajama",
    "trouser": "pant",
}
GENDERS = {
    "boy": "male", "female": "female", "gent": "male", "girl": "female", "ladies": "female", "lady": "female",
    "male": "male", "man": "male", "men": "male", "unisex": "unisex", "woman": "female", "women": "female",
}  # fmt: skip
AGES = {
    "adult": "adult", "baby": "infant", "boy": "kids", "child": "kids", "children": "kids", "girl": "kids",
    "infant": "infant", "kid": "kids", "man": "adult", "men": "adult", "newborn": "newborn", "toddler": "toddler",
    "woman": "adult", "women": "adult",
}  # fmt: skip
POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)
BRACKETS = re.compile(r"(.+?)\s*\((.+)\)")
LISTED = re.compile(r"\s*(?:&|,|/|\band\b)\s*")
ES = ("ches", "shes", "sses", "xes")
NEAR = 60  # the least similarity, of 100, of a candidate
CANDIDATES = 3


def singular(word: str) -> str:
    """A word without the plural's ending, by the common rules of English.

    >>> [singular(word) for word in ("shoes", "dresses", "watches", "accessories", "dress", "bus")]
    ['shoe', 'dress', 'watch', 'accessory', 'dress', 'bus']
    """
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(ES) else word[:-1]


def tokens(text: str) -> tuple[str, ...]:
    """The words of a text in American spelling, singular, without punctuation and case.

    >>> tokens("Women's Colours")
    ('women', 'color')
    """
    singulars = map(singular, fold(POSSESSIVE.sub("", text)).split())
    return tuple(AMERICAN.get(word, word) for word in singulars)


def canonical(text: str) -> str:
    """Equal for texts that name the same: the tokens without spaces, so that "T-Shirts" equals "Tshirt"."""
    return "".join(tokens(text))


def alternatives(name: str) -> list[str]:
    """A name, and its other forms: "Extra small (XS)" is also "Extra small" and "XS"."""
    match = BRACKETS.fullmatch(name)
    return [name, *match.groups()] if match else [name]


def listed_names(name: str) -> list[str]:
    """The parts of a name that lists several: "Shirts & Tops" has "Shirts" and "Tops"; otherwise none."""
    parts = LISTED.split(name)
    return parts if len(parts) > 1 else []


def without(text: str, words: Collection[str]) -> str:
    """The canonical text without some tokens: "Round Neck" without "neck" is "round"; "" if none is left."""
    return "".join(word for word in tokens(text) if word not in words)


def gender(text: str) -> str:
    """`male`, `female` or `unisex`, "" if the text names none of them.

    >>> gender("Women's"), gender("Boys"), gender("Blue")
    ('female', 'male', '')
    """
    return _one(text, GENDERS)


def age(text: str) -> str:
    """Google's age group of a text that names people, "" if it names none."""
    return _one(text, AGES)


def _one(text: str, known: dict[str, str]) -> str:
    words = tokens(text)
    return known.get(words[0], "") if len(words) == 1 else ""


def nearest(text: str, names: Sequence[str], limit: int = CANDIDATES) -> list[int]:
    """The positions of the names that are most similar to `text`, the most similar first."""
    folded = " ".join(tokens(text[:SHOWN]))
    found = process.extract(
        folded, [" ".join(tokens(name)) for name in names], scorer=fuzz.token_set_ratio, score_cutoff=NEAR, limit=None
    )
    ranked = sorted(found, key=lambda match: (-match[1], -fuzz.ratio(folded, match[0]), match[2]))
    return [position for _, _, position in ranked[:limit]]


def spelled(words: Iterable[str]) -> list[str]:
    """The canonical forms of words and their alternatives, without repeats."""
    return list(dict.fromkeys(canonical(form) for word in words for form in alternatives(word)))
