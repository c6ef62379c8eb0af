"""A report on disk: `scores.json`, `per_key.csv`, `per_category.csv`, and `report.html`, which needs no network."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import polars as pl

from attire.evaluation.report import Report
from attire.evaluation.sheets import FIGURE_TITLES, Sheet, number, sheets, verdict
from attire.score.metrics import FIGURES

SCORES = "scores.json"
MORE_DEFINITIONS = {
    "IoU": "chosen and stated values by chosen or stated values; 0 where the key was left open or ruled out",
    "mode": "a baseline that sees no photo: the most frequent category and value of each key in train",
    "mode in true category": "another that is told the category: the most frequent value of each key within it",
    "mode IoU": "the IoU of the mode in the true category",
    "accuracy": "share of known pairs with exactly the stated values",
}


def write_report(report: Report, out: Path) -> None:
    """Write the four files into `out`, each whole or not at all, `scores.json` last."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "per_key.csv": _csv([row.model_dump() for row in report.keys]),
        "per_category.csv": _csv([row.model_dump() for row in report.categories]),
        "report.html": page(report),
        SCORES: report.model_dump_json(indent=1),
    }
    for name, text in content.items():
        temporary = out / f"{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out / name)


def page(report: Report) -> str:
    """The report as one HTML document."""
    counts, provenance = report.counts, report.provenance
    evidence = (
        f"{number(counts.products)} products in {number(counts.groups)} groups, "
        f"{number(counts.known_pairs)} known (product, key) pairs, {number(counts.predicted_pairs)} predicted. "
        f"Macro IoU covers {counts.keys} keys, mAP {counts.values} values, macro F1 {counts.categories} categories."
    )
    if counts.unanswered:
        evidence += f" {number(counts.unanswered)} products have no readable photo and count as unanswered."
    figures, *details = sheets(report)
    template = Template(resources.files("attire.evaluation").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"Evaluation on {escape(provenance.split)}",
        evidence=evidence,
        verdict=escape(verdict(report)),
        tables="\n".join([_table(figures, ""), *(_table(sheet, "sortable") for sheet in details)]),
        definitions=_list({**{FIGURE_TITLES[name]: meaning for name, meaning in FIGURES.items()}, **MORE_DEFINITIONS}),
        provenance=_list({name: "–" if value is None else str(value) for name, value in provenance}),
    )


def _csv(rows: list[dict[str, object]]) -> str:
    return pl.DataFrame(rows).fill_nan(None).write_csv() if rows else ""


def _table(sheet: Sheet, style: str) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in sheet.rows)
    return (
        f'<h2>{escape(sheet.title)}</h2>\n<div class="scroll"><table class="{style}">'
        f"<thead>{line(sheet.header, 'th')}</thead>\n<tbody>{body}</tbody></table></div>"
    )


def _list(entries: dict[str, str]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items())
