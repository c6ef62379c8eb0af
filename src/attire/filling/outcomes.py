"""Lays predictions over the blanks of a feed: what becomes of each field, without touching the file."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from attire.catalog.feed_row import Row
from attire.catalog.sources import SourceOptions
from attire.catalog.sources.cell_text import word
from attire.catalog.sources.cell_text import words as words_of
from attire.filling.feed_editor import FeedEditor, Words
from attire.filling.layout import FeedLayout
from attire.filling.predictions import Guess, Predictions, Product
from attire.filling.survey import Survey, known, stated_words
from attire.inference.output import NOT_APPLICABLE
from attire.labels import contradicts
from attire.references.matching import canonical
from attire.taxonomy import CATEGORY, SEPARATOR, Taxonomy

CACHED = 100_000  # combinations of words whose decision is remembered
NO_ID = "the id is empty"


class Status(StrEnum):
    """What became of a field."""

    FILLED = "filled"
    LEFT_OPEN = "left open"
    NOT_APPLICABLE = "not applicable"
    SUSPECT = "suspected wrong"
    UNREADABLE = "unreadable"  # of a product: it has no readable photo


class Outcome(NamedTuple):
    """What became of one field of one row. `key` is `CATEGORY` for the category, and "" for an unreadable product.

    value: words written to the cell; guess: the likeliest value if the field was left open, or the answer that
    contradicts the stated words; reason: why it was left open, or why the product is unreadable.
    """

    row: int
    id: str
    key: str
    status: Status
    value: Words = ()
    confidence: float | None = None
    guess: str = ""
    guess_confidence: float | None = None
    stated: Words = ()
    reason: str = ""


class Filler:
    """Decides about the fields of a feed."""

    def __init__(
        self,
        taxonomy: Taxonomy,
        layout: FeedLayout,
        survey: Survey,
        predictions: Predictions,
        editor: FeedEditor,
        options: SourceOptions,
        *,
        language: str = "",
        overwrite_suspects: bool = False,
    ) -> None:
        self.taxonomy, self.layout, self.survey, self.predictions = taxonomy, layout, survey, predictions
        self.editor, self.options, self.overwrite_suspects = editor, options, overwrite_suspects
        self.titles = {key: taxonomy.titles(key, language) for key in layout.columns}
        # A feed repeats its words.
        self._contradicts = lru_cache(maxsize=CACHED)(self._contradicts_words)
        self._written = lru_cache(maxsize=CACHED)(self._written_words)

    def outcomes(self, rows: Iterator[Row]) -> Iterator[Outcome]:
        """The outcomes of all blanks and suspected fields, row by row."""
        for row in rows:
            product = self.predictions[row.id] if row.id else None
            if product is None or product.fault:
                reason = NO_ID if product is None else product.fault
                yield Outcome(row.number, row.id, "", Status.UNREADABLE, reason=reason)
                continue
            for key in self.layout.columns:
                outcome = self._outcome(row, key, product)
                if outcome is not None:
                    yield outcome

    def _outcome(self, row: Row, key: str, product: Product) -> Outcome | None:
        """The outcome of one field; None if it is stated and not suspected."""
        stated = stated_words(row, key, self.layout.labels[key])
        if stated:
            return self._suspect(row, key, product[key], stated)
        if (row.id, key) in self.survey.repeated:
            return None  # another row of the product states it
        guess = product[key]
        if guess.reason == NOT_APPLICABLE:
            return Outcome(row.number, row.id, key, Status.NOT_APPLICABLE)
        if not guess.values:
            best = (self.titles[key].get(guess.best) or guess.best, guess.best_confidence)
            return Outcome(row.number, row.id, key, Status.LEFT_OPEN, (), None, *best, reason=guess.reason)
        words, reason = self._cell(row, key, guess.values)
        if reason:
            best = (self._titled(key, guess.values), guess.confidence)
            return Outcome(row.number, row.id, key, Status.LEFT_OPEN, (), None, *best, reason=reason)
        return Outcome(row.number, row.id, key, Status.FILLED, words, guess.confidence)

    def _suspect(self, row: Row, key: str, guess: Guess, stated: Words) -> Outcome | None:
        """The outcome of a stated field that a sure answer contradicts, else None."""
        if not guess.values or key == CATEGORY or not self._contradicts(key, guess.values, stated):
            return None
        words, reason = self._cell(row, key, guess.values) if self.overwrite_suspects else ((), "")
        written = (words, guess.confidence) if words and not reason else ((), None)
        best = (self._titled(key, guess.values), guess.confidence)
        return Outcome(row.number, row.id, key, Status.SUSPECT, *written, *best, stated, reason)

    def _titled(self, key: str, values: Words) -> str:
        """The values as people read them in the report."""
        return SEPARATOR.join(self.titles[key].get(value) or value for value in values)

    def _contradicts_words(self, key: str, values: Words, stated: Words) -> bool:
        """Whether the values contradict the stated words. A word that the taxonomy lacks may be another spelling."""
        known_values = [known(self.taxonomy, key, text) for text in stated]
        return None not in known_values and contradicts(
            values, [value for value in known_values if value is not None], self.taxonomy.parents(key)
        )

    def _cell(self, row: Row, key: str, values: Words) -> tuple[Words, str]:
        """The words to write for the values, and why they cannot be written."""
        words, reason = self._written(key, values)
        if not reason and (refusal := self.editor.refusal(row.number, self.layout.columns[key], words)):
            reason = f"the cell {refusal}"
        return words, reason

    def _written_words(self, key: str, values: Words) -> tuple[Words, str]:
        """The values in the language or as the feed spells them, and why they cannot be written: they must be read as
        the same values."""
        titles, spellings = self.titles[key], self.survey.spellings[key]
        words = tuple(titles.get(value) or spellings.get(value, value) for value in values)
        if key == CATEGORY and self.layout.category_cells is not None:
            cell = self.layout.category_cells.get(canonical(words[0]))
            return ((cell,), "") if cell else ((), f"the feed has no full path of '{words[0]}'")
        text = self.layout.separator.join(words)
        column = self.layout.columns[key]
        options = self.options.model_copy(update={"separator": self.layout.separator})
        read_back = (word(column, text, options),) if key == CATEGORY else words_of(column, text, options)
        if tuple(known(self.taxonomy, key, text) for text in read_back) == values:
            return words, ""
        return words, f"'{text}' would be read as something else: it has the separator, or means unknown"
