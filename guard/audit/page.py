"""A report as one HTML page: figures, the curve over duplicates, generations beside training pictures. Decides nothing.

Self-contained (pictures and drawings inside, no script, no other host), light and dark, and every text is escaped.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guard.audit.compare import Comparison
from guard.audit.members import AuditedIndex
from guard.audit.prompts import Prompt
from guard.audit.report import AuditReport, Extracted, Finding, PromptRow, Protected, Rate
from guard.audit.state import State
from guard.contact_sheet import Entry, write_png
from guard.decode import decode
from guard.errors import InputError, MissingExtraError
from guard.pixels import RGBArray
from guard.types import Decision, Match, Record, Status, Verdict
from guard.wholefile import whole_file

__all__ = ["Pair", "pairs_of", "write_comparison", "write_page", "write_sheet"]

MOST_PAIRS = 200
PICTURE_PX = 160
CHART = (640, 260)  # px of the drawing's own coordinates
MARGIN = (46, 12, 40, 12)  # left, top, bottom, right


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A generation and a training picture: of a likely prompt that which its clique crowds around and the nearest to
    it, or the nearest copy of a picture: where each generation was confirmed, and of what is protected."""

    row: PromptRow
    finding: Finding | Extracted | Protected
    generation: RGBArray
    reference: RGBArray | None
    """None if the index has no readable thumbnail of it."""

    @property
    def memorised(self) -> bool:
        return not isinstance(self.finding, Finding) or self.finding.memorised

    @property
    def verdict(self) -> str:
        if isinstance(self.finding, Protected):
            return ", ".join(self.finding.collections)
        return "copied" if isinstance(self.finding, Extracted) else self.finding.verdict


def pairs_of(report: AuditReport, state: State, index: AuditedIndex) -> list[Pair]:
    """Of likely prompts, confirmed ones first, each by duplicates; then other pictures that generations are copies of;
    then what is protected.

    At most MOST_PAIRS of each.
    """
    likely = [(row, row.finding) for row in report.prompts if row.finding is not None]
    likely.sort(key=lambda pair: (not pair[1].memorised, -(pair[0].duplicates or 0), pair[1].l2))
    shown = {finding.id for _, finding in likely if finding.memorised}
    rows = {row.key: row for row in report.prompts}
    copied = [(rows[one.key], one) for one in report.summary.extracted if one.id not in shown and one.key in rows]
    protected = [(rows[one.key], one) for one in report.summary.protected if one.key in rows]
    wanted: list[tuple[PromptRow, Finding | Extracted | Protected]] = []
    wanted += [*likely[:MOST_PAIRS], *copied[:MOST_PAIRS], *protected[:MOST_PAIRS]]
    pairs = []
    for row, finding in wanted:
        pictures, _ = state.read(Prompt(row.text, row.label), [finding.number])
        encoded = index.thumbnail(finding.id)
        try:
            reference = decode(encoded, where=f"thumbnail {finding.id}").rgb if encoded else None
        except InputError:
            reference = None
        if len(pictures):
            pairs.append(Pair(row, finding, pictures[0], reference))
    return pairs


def write_page(
    path: Path,
    audits: Sequence[tuple[AuditReport, Sequence[Pair]]],
    *,
    title: str,
    comparison: Comparison | None = None,
    lines: Sequence[str] = (),
) -> Path:
    """One audit, or several below one another, with their comparison. lines: said at the top, in words.

    Raises MissingExtraError without Jinja, ConfigError if the file cannot be written.
    """
    shown = [
        {
            "report": report,
            "chart": _chart([(r.low, r.high, [r.memorised]) for r in report.summary.by_duplicates]),
            "confirmed": [_shown(pair) for pair in pairs if pair.memorised and isinstance(pair.finding, Finding)],
            "copied": [_shown(pair) for pair in pairs if isinstance(pair.finding, Extracted)],
            "protected": [_shown(pair) for pair in pairs if isinstance(pair.finding, Protected)],
            "not_confirmed": [_shown(pair) for pair in pairs if not pair.memorised],
        }
        for report, pairs in audits
    ]
    return _write(path, title=title, audits=shown, lines=lines, comparison=_compared(comparison))


def write_comparison(path: Path, comparison: Comparison, *, title: str) -> Path:
    """The comparison alone; see write_page."""
    return _write(path, title=title, audits=[], lines=[], comparison=_compared(comparison))


def write_sheet(path: Path, pairs: Sequence[Pair], *, most: int = 24) -> Path:
    """A contact sheet as a PNG, the first `most` pairs. Raises ConfigError if it cannot be written."""
    with whole_file(path) as new:
        write_png([_entry(pair) for pair in pairs[:most]], new)
    return path


def _entry(pair: Pair) -> Entry:
    from PIL import Image

    row, found = pair.row, pair.finding
    decision = Decision.BLOCK if pair.memorised else Decision.ALLOW
    record = Record(found.id, found.uri, "")
    if isinstance(found, Protected):
        crowd = "a training picture too" if found.in_training else "no training picture"
    elif isinstance(found, Finding):
        crowd = f"k {row.duplicates or '?'}, clique {row.clique}/{row.generations}"
    else:
        crowd = f"k {found.cluster_size}, {found.generations} x"
    verdict = Verdict(Status.SUCCESS, decision, (Match(record, math.nan),))  # the headline says what was compared
    return Entry(
        row.name,
        Image.fromarray(pair.generation),
        Image.fromarray(pair.reference) if pair.reference is not None else None,
        verdict,
        headline=f"{pair.verdict}   {crowd}, L2 {found.l2:.3f}",
    )


def _shown(pair: Pair) -> dict[str, Any]:
    return {
        "row": pair.row,
        "verdict": pair.verdict,
        "finding": pair.finding,
        "generation": _data_uri(pair.generation),
        "reference": None if pair.reference is None else _data_uri(pair.reference),
    }


def _compared(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    groups = [(g.low, g.high, [g.a, g.b]) for g in comparison.by_duplicates]
    return {"document": comparison, "chart": _chart(groups)}


def _chart(groups: Sequence[tuple[int, int, Sequence[Rate]]]) -> dict[str, Any] | None:
    """Bars with whiskers, one or two a group, in CHART's coordinates; None without groups."""
    if not groups:
        return None
    left, top, bottom, right = MARGIN
    width, height = CHART[0] - left - right, CHART[1] - top - bottom
    step = width / len(groups)

    def y(share: float) -> float:
        return round(top + height * (1 - share), 1)

    bars = []
    for i, (low, high, rates) in enumerate(groups):
        wide = min(44.0, step * 0.7 / len(rates))
        start = left + step * (i + 0.5) - wide * len(rates) / 2
        for j, rate in enumerate(rates):
            if rate.value is not None:
                bars.append(
                    {
                        "series": j,
                        "x": round(start + j * wide, 1),
                        "width": round(wide - 3, 1),
                        "top": y(rate.value),
                        "height": round(y(0) - y(rate.value), 1),
                        "low": y(rate.low),
                        "high": y(rate.high),
                        "middle": round(start + j * wide + (wide - 3) / 2, 1),
                        "words": f"{low if low == high else f'{low} to {high}'} times: {rate.hits} of {rate.of}",
                    }
                )
    labels = [
        {"x": round(left + step * (i + 0.5), 1), "text": str(low) if low == high else f"{low}\u2013{high}",
         "of": f"n = {rates[0].of}"}
        for i, (low, high, rates) in enumerate(groups)
    ]  # fmt: skip
    ticks = [{"y": y(share), "text": f"{share:.0%}"} for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return {"size": CHART, "bars": bars, "labels": labels, "ticks": ticks, "left": left, "right": CHART[0] - right}


def _write(path: Path, **values: Any) -> Path:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise MissingExtraError("an HTML report", extra="diffusers") from exc
    environment = Environment(
        loader=PackageLoader("guard.audit", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": _percent, "number": _number}
    text = environment.get_template("audit.html").render(**values)
    with whole_file(path) as new:
        new.write_text(text, encoding="utf-8")
    return path


def _percent(rate: Any) -> str:
    """A rate or a difference in percent, its interval in brackets."""
    if rate is None or rate.value is None:
        return "\u2013"
    return f"{100 * rate.value:.1f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def _data_uri(picture: RGBArray) -> str:
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
