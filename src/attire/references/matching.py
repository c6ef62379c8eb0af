"""Match words of two vocabularies that differ in case, punctuation, number (plural or singular) or British spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from rapidfuzz import fuzz, process

from attire.errors import SHOWN
from attire.spellings import fold

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
NEAR = 70  # the least similarity, of 100, of a candidate
CANDIDATES = 3
PREFIX = 80.0  # the similarity of names of which one has a word that starts with a word of the other


def singular(word: str) -> str:
    """A word without the plural's ending, by the common rules of English.

    >>> [singular(word) for word in ("shoes", "dresses", "watches", "accessories", "dress", "bus")]
    ['shoe', 'dress', 'watch', 'accessory', 'dress', 'bus']
    """
    if len(word) < 3 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
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
    """The parts of a name that lists several: "Shirts & Tops" has "Shirts" and "Tops"; otherwise none.

    >>> listed_names("Handbag & Wallet Accessories")  # lists no handbags
    []
    """
    first, *others = LISTED.split(name)
    if " " in first:  # its first word may belong to all: "Bicycle Shorts & Briefs"
        return []
    parts = [part for part in (first, *others) if part.endswith("s") or not name.endswith("s")]
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


def _similarity(text: str, form: str, *, score_cutoff: float | None = None) -> float:
    """0 to 100: high if one has all words of the other, or if a word starts with a word ("neck" and "neckline")."""
    similarity = fuzz.token_set_ratio(text, form, score_cutoff=score_cutoff)
    if similarity < PREFIX:
        pairs = ((word, other) for word in text.split() for other in form.split())
        if any(min(len(word), len(other)) > 2 and (word.startswith(other) or other.startswith(word))
               for word, other in pairs):  # fmt: skip
            return PREFIX
    return similarity


def spaced(name: str) -> str:
    """The tokens of a name with spaces, as `nearest` takes names."""
    return " ".join(tokens(name[:SHOWN]))


def nearest(text: str, forms: Sequence[str], depths: Sequence[int] = ()) -> list[int]:
    """The positions of the names (`forms`, each `spaced`) that are most similar to `text`, the most similar first.

    Of equally similar ones, those with the same last word come first, then those with the least depth.
    """
    folded = spaced(text)
    found = process.extract(folded, forms, scorer=_similarity, score_cutoff=NEAR, limit=None)

    def rank(match: tuple[str, float, int]) -> tuple[object, ...]:
        form, similarity, position = match
        other_head = form.split()[-1:] != folded.split()[-1:]
        return -similarity, other_head, depths[position] if depths else 0, -fuzz.ratio(folded, form), position

    return [position for _, _, position in sorted(found, key=rank)[:CANDIDATES]]


def spelled(words: Iterable[str]) -> list[str]:
    """The canonical forms of words and their alternatives, without repeats."""
    return list(dict.fromkeys(canonical(form) for word in words for form in alternatives(word)))
