"""What the judged random sample of a catalog says about the labels that filled fields are measured against."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attire.catalog.content import FIELD, OVERRULED
from attire.catalog.store import Catalog
from attire.evaluation.evidence import Evidence
from attire.labels import contradicted, contradicts, labelled
from attire.score.decisions import with_coarse
from attire.score.label_errors import CorrectedPrecision, Stratum, corrected_precision


def corrected_by_review(catalog: Catalog, evidence: Evidence) -> CorrectedPrecision | None:
    """The precision of the filled fields, corrected for the wrong labels that reviewers found in the random sample.

    The labels are those of the feeds in all fields, because in reviewed fields they are no longer what they are
    elsewhere. A judged field is right if its answer does not contradict the reviewer's values; it is wrong if the
    reviewer cleared it or found it not applicable, as on the review page. Decisions that a later feed overruled
    (`--feed-wins`) do not count.

    None without thresholds, or if people judged too few of the filled fields (see `corrected_precision`).
    """
    sample = _judged(catalog, evidence)
    if evidence.accepted is None or sample.is_empty():
        return None
    taxonomy = evidence.taxonomy
    chosen = with_coarse(taxonomy, evidence.decisions, evidence.accepted.coarse).chosen
    fed = catalog.before_review(list(catalog.reviewed.select(FIELD).iter_rows())).targets()
    hot = np.asarray(fed.hot[catalog.rows_of(evidence.ids)], dtype=bool)
    filled = labelled(taxonomy, hot) & labelled(taxonomy, chosen) & evidence.accepted.keys
    contradicting = filled & contradicted(taxonomy, hot, chosen)
    judged, right = np.zeros((2, *filled.shape), dtype=bool)
    row_of = {id: row for row, id in enumerate(evidence.ids)}
    key_of = {key: i for i, key in enumerate(taxonomy.keys)}
    for id, key, state, values in sample.select("id", "key", "state", "values").iter_rows():
        row, columns = row_of[id], taxonomy.columns[key]
        answer = [taxonomy.keys[key].values[i] for i in np.flatnonzero(chosen[row, columns])]
        judged[row, key_of[key]] = True
        right[row, key_of[key]] = state == "known" and not contradicts(answer, values, taxonomy.parents(key))

    def stratum(fields: NDArray[np.bool_]) -> Stratum:
        return Stratum(filled=int(fields.sum()), judged=int((fields & judged).sum()), right=int((fields & right).sum()))

    return corrected_precision(stratum(filled & ~contradicting), stratum(contradicting))


def _judged(catalog: Catalog, evidence: Evidence) -> pl.DataFrame:
    """The judged fields of the random sample on keys and products of `evidence`."""
    return catalog.reviewed.filter(
        pl.col("sampled"),
        pl.col("status") != OVERRULED,
        pl.col("key").is_in(list(evidence.taxonomy.keys)),
        pl.col("id").is_in(list(evidence.ids)),
    )
