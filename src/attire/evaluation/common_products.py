"""Reports on the same products: those that none of their bundles learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from attire.errors import ReportError
from attire.evaluation.evidence import Evidence
from attire.evaluation.report import Report


class CommonProducts(NamedTuple):
    """Reports, and their evidence on the products that all of them scored, in the same order.

    left_out: number of products of the split that are not compared, because one of the bundles learned from their
    groups.
    """

    reports: tuple[Report, ...]
    evidence: tuple[Evidence, ...]
    left_out: int

    @property
    def groups(self) -> int:
        """Number of groups of the products."""
        return len(set(self.evidence[0].groups))


def common_products(folders: Sequence[Path]) -> CommonProducts:
    """Read the reports in directories that `attire evaluate` wrote, and keep the products that all of them scored.

    Raises `ReportError` if one is missing or damaged, if they differ in catalog, split, products or taxonomy, or if no
    product is left.
    """
    reports, evidence = [Report.load(folder) for folder in folders], [Evidence.load(folder) for folder in folders]
    for folder, report, answers in zip(folders[1:], reports[1:], evidence[1:], strict=True):
        _check_comparable(folders[0], folder, (reports[0], report), (evidence[0], answers))
    common = set.intersection(*(set(answers.ids) for answers in evidence))
    if not common:
        names = ", ".join(map(str, folders))
        raise ReportError(
            f"{names} cannot be compared: each of their products is in a group that one of the bundles learned from. "
            "Evaluate the bundles on products that are new to all of them."
        )
    ids = [id for id in evidence[0].ids if id in common]
    return CommonProducts(
        tuple(reports),
        tuple(answers.of_products(ids) for answers in evidence),
        len(evidence[0].ids) + reports[0].counts.left_out - len(ids),
    )


def _check_comparable(a: Path, b: Path, reports: tuple[Report, Report], evidence: tuple[Evidence, Evidence]) -> None:
    """Raise `ReportError` if two reports differ in catalog, split, products or taxonomy."""
    of_a, of_b = (report.provenance for report in reports)
    differences = [
        name
        for name, same in {
            "catalogs": of_a.catalog == of_b.catalog,
            "splits": (of_a.splits, of_a.split) == (of_b.splits, of_b.split),
            "products": _same_products(reports, evidence),
            "taxonomies (taxonomy.toml)": evidence[0].taxonomy == evidence[1].taxonomy,
        }.items()
        if not same
    ]
    if differences:
        raise ReportError(
            f"{a} and {b} cannot be compared: they were scored on different {' and '.join(differences)}. "
            "Evaluate both bundles on the same split of the same catalog."
        )


def _same_products(reports: tuple[Report, Report], evidence: tuple[Evidence, Evidence]) -> bool:
    """Whether two reports are on the same products, except for those that they left out."""
    groups = [dict(zip(side.ids, side.groups, strict=True)) for side in evidence]
    left_out = [report.counts.left_out for report in reports]
    missing = [len(groups[1].keys() - groups[0].keys()), len(groups[0].keys() - groups[1].keys())]
    return (
        len(groups[0]) + left_out[0] == len(groups[1]) + left_out[1]
        and all(few <= enough for few, enough in zip(missing, left_out, strict=True))
        and all(groups[0][id] == groups[1][id] for id in groups[0].keys() & groups[1].keys())
    )
