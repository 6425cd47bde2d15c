"""The data report: what a check found in the data files, on one page that needs no network, no script and no font.

The texts of a data file are hostile here as on the run's page: the template escapes every value, and what no one sees is written out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsloth_ft import __version__
from unsloth_ft.data import Examination
from unsloth_ft.data.findings import Findings
from unsloth_ft.data.histogram import RESOLUTION, Histogram
from unsloth_ft.data.places import Extreme
from unsloth_ft.data.survey import Survey
from unsloth_ft.data.wording import count, printable
from unsloth_ft.record import write_atomically
from unsloth_ft.report import histograms, pages, plots, wording

SEVERITIES = (
    ("error", "Errors", "A run stops at these."),
    ("warning", "Warnings", "A run records these."),
    ("note", "Notes", "For a person to judge."),
)

SHOWN = 3  # findings of a kind that are open; the others unfold


def write(path: Path, examination: Examination) -> Path:
    """Writes the page; returns its path."""
    write_atomically(path, page(examination))
    return path


def page(examination: Examination) -> str:
    """The page's HTML."""
    survey = examination.survey
    return pages.render(
        pages.HERE / "data_page.html",
        styles=(pages.HERE / "data_page.css",),
        filters={"size": wording.size, "printable": printable},
        version=__version__,
        name=_name(examination),
        head=_headline(examination),
        rows=examination.rows,
        shape=examination.shape,
        files=[*examination.files, *examination.eval_files],
        lengths=list(_lengths(survey)),
        recommended=survey.recommended_max_seq_length(),
        resolution=RESOLUTION,
        roles=_shares(survey.roles),
        turns=_turns(survey.messages),
        scripts=_shares({name: places.number for name, places in survey.scripts.items()}),
        languages=_shares(survey.languages.counts()),
        style_rows=_style(survey),
        extremes=[("longest", _extremes(survey.longest.rows)), ("shortest", _extremes(survey.shortest.rows))],
        findings=_findings(examination.findings),
        shown=SHOWN,
    )


def _name(examination: Examination) -> str:
    names = [printable(Path(facts.path).name or facts.path) for facts in examination.files]
    return names[0] if len(names) == 1 else count(len(names), "file")


def _headline(examination: Examination) -> dict[str, Any]:
    """The outcome in words, and the counts by severity."""
    counts = {severity: examination.findings.of(severity).count for severity, _, _ in SEVERITIES}
    if counts["error"]:
        kind, mark, verdict, sentence = "worse", "✗", count(counts["error"], "error"), "A run refuses this data."
    elif counts["warning"]:
        kind, mark, verdict, sentence = (
            "no-change",
            "≈",
            count(counts["warning"], "warning"),
            "A run takes this data, and records the warnings.",
        )
    else:
        kind, mark, verdict, sentence = "better", "✓", "no errors", "A run takes this data as it is."
    return {"kind": kind, "mark": mark, "verdict": verdict, "sentence": sentence, "counts": counts}


def _lengths(survey: Survey) -> Iterable[dict[str, Any]]:
    """A histogram each of the lengths that are known, with what stands beside it."""
    limit, _ = survey.recommended_max_seq_length()
    for name, histogram, unit, shown in (
        ("Whole rows", survey.tokens, "tokens", limit),
        ("What is learned of a row", survey.learned_tokens, "tokens", None),
        ("Questions", survey.questions, "characters", None),
        ("Answers", survey.answers, "characters", None),
        ("Whole rows", survey.lengths, "characters", None),
    ):
        if histogram.number:
            drawn = [
                histograms.draw(histogram, size=size, unit=unit, name=name, limit=shown) for size in (histograms.WIDE, histograms.NARROW)
            ]
            facts = histogram.as_json()
            tiles = [(key, facts[key]) for key in ("min", "p50", "mean", "p95", "p99", "max")]
            yield {
                "name": name,
                "unit": unit,
                "wide": drawn[0],
                "narrow": drawn[1],
                "number": histogram.number,
                "tiles": tiles,
                "bars": histograms.bars(histogram),
            }


def _shares(counts: dict[str, int]) -> list[dict[str, Any]]:
    """A bar each, the largest first."""
    whole = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [
        {"name": name, "number": number, "share": number / whole, "bar": plots.bar(number / whole, kind="after")}
        for name, number in ordered
    ]


def _turns(messages: Histogram) -> list[dict[str, Any]]:
    """Rows by their number of messages; the rare long ones together."""
    named = {count(number, "message"): rows for number, rows in sorted(messages.counts.items())[:8]}
    rest = messages.number - sum(named.values())
    return _shares(named | ({"more messages": rest} if rest else {}))


def _style(survey: Survey) -> list[dict[str, Any]]:
    found = []
    for habit in survey.style.summary():
        share = habit.having / habit.number if habit.number else 0.0
        found.append(
            {"name": habit.words, "having": habit.having, "number": habit.number, "share": share, "bar": plots.bar(share, kind="after"),
             "rare": habit.rare_words, "lines": ", ".join(printable(f"{file}:{line}") for file, line in habit.rare_lines)}
        )  # fmt: skip
    return found


def _extremes(rows: list[Extreme]) -> list[tuple[str, int]]:
    return [(printable(f"{row.file}:{row.line}"), row.length) for row in rows]


def _findings(findings: Findings) -> list[dict[str, Any]]:
    """Severity by severity, kind by kind: where and what of the first, and how many more there are."""
    found = []
    for severity, title, sentence in SEVERITIES:
        kinds = [
            {
                "code": kind.code,
                "count": kind.count,
                "more": kind.count - len(kind.first),
                "rows": [
                    (str(finding).removesuffix(finding.message).removesuffix(": "), printable(finding.message)) for finding in kind.first
                ],
            }
            for kind in findings.of(severity).kinds
        ]
        if kinds:
            found.append({"severity": severity, "title": title, "sentence": sentence, "kinds": kinds})
    return found
