"""Reports of audits as lines for people. Knows documents and the screen; computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from guard.cli.console import number_of

if TYPE_CHECKING:
    from guard.audit.compare import Comparison
    from guard.audit.report import AuditReport, PromptRow, Protected, Rate
    from guard_diffusers.audit.demo import DemoReport

__all__ = ["comparison_lines", "demo_lines", "report_lines"]

SHOWN = 40  # likely prompts in the table


def report_lines(report: AuditReport) -> Iterator[RenderableType]:
    """The likely prompts, the curve, and the totals."""
    s = report.summary
    likely = sorted((r for r in report.prompts if r.likely), key=lambda r: (not r.memorised, -(r.duplicates or 0)))
    if likely:
        yield _findings(likely[:SHOWN])
        if len(likely) > SHOWN:
            yield f"and {len(likely) - SHOWN} more; --json and --html have them all"
    if s.extracted:
        pictures, many = number_of(len(s.extracted), "training picture"), number_of(s.generations, "generation")
        yield f"{pictures} copied, by {_rate(s.copies)} of {many}"
    if s.protected:
        also = sum(one.in_training for one in s.protected)
        yield Text(
            f"repeated although protected or opted out: {number_of(len(s.protected), 'picture')}, "
            f"of which {also} in the training set",
            style="bold",
        )
        yield from (Text(f"  {_protected(one)}") for one in s.protected[:SHOWN])
        if len(s.protected) > SHOWN:
            yield f"  and {len(s.protected) - SHOWN} more; --json and --html have them all"
    if len(s.by_duplicates) > 1:
        yield _curve(report)
    yield Text(
        f"{report.model}: {s.memorised.hits} of {number_of(s.prompts, 'prompt')} memorised, {_rate(s.memorised)}; "
        f"{s.likely.hits} likely by their generations alone, of which {_rate(s.clique_precision)} confirmed"
        + (f" and {s.plain} too plain to say" if s.plain else ""),
        style="bold",
    )
    if s.left_out.never_looked_at or s.left_out.fewer_generations:
        yield (
            f"left out by the budget: {number_of(s.left_out.never_looked_at, 'prompt')} never looked at, "
            f"{s.left_out.fewer_generations} undecided with fewer than {report.settings.generations} generations"
        )
    yield (
        f"{number_of(s.generations, 'generation')}; {report.seconds.get('generate', 0):.0f} s generating, "
        f"{report.seconds.get('look', 0):.0f} s comparing, {report.seconds.get('confirm', 0):.0f} s confirming; "
        f"{report.peak_memory_mib:.0f} MiB at most"
    )


def demo_lines(document: DemoReport) -> list[Any]:
    """Truth first, then times; plain text, for the page too."""
    t, c = document.truth, document.comparison
    by_k = ", ".join(f"k = {row.k}: {row.found} of {row.memorised} ({row.pictures} planted)" for row in t.by_k)
    lines = [
        f"precision {_rate(t.precision_rate)} ({t.precision_rate.hits} of {t.precision_rate.of} found pictures count "
        f"as memorised), recall {_rate(t.recall_rate)} ({t.recall_rate.hits} of {t.recall_rate.of} that count as "
        f"memorised were found), found in the control: {t.control_found}",
        f"found, of those that count as memorised: {by_k}",
        f"prompts memorised: {_rate(c.a)} by the memorising model, {_rate(c.b)} by the control; difference "
        f"{_points(c.difference)}",
    ]
    lines += [
        f"{name}: {number_of(r.summary.generations, 'generation')} of {number_of(r.summary.prompts, 'prompt')}, "
        f"{r.summary.likely.hits} likely, "
        f"{r.summary.memorised.hits} confirmed, {r.summary.plain} too plain to say; left out: "
        f"{r.summary.left_out.never_looked_at} never looked at, {r.summary.left_out.fewer_generations} undecided"
        for name, r in (("memorising", document.memorising), ("control", document.control))
    ]
    if t.not_judged:
        lines.append(f"not judged within the budget: {number_of(t.not_judged, 'picture')}")
    took = ", ".join(f"{name} {value:.0f}" for name, value in document.seconds.items() if name != "all")
    lines.append(f"took {document.seconds['all']:.0f} s ({took}); {document.peak_memory_mib:.0f} MiB at most")
    return lines


def comparison_lines(c: Comparison, a: str, b: str) -> Iterator[RenderableType]:
    """a, b: names of the two files, since both audits may be of models at one place."""
    yield f"A: {c.model_a} ({a})"
    yield f"B: {c.model_b} ({b})"
    if c.by_duplicates:
        table = Table("times in the training set", "prompts", "A, %", "B, %", "A - B, points", box=None, pad_edge=False)
        for g in c.by_duplicates:
            span = str(g.low) if g.low == g.high else f"{g.low}-{g.high}"
            table.add_row(span, str(g.a.of), _rate(g.a), _rate(g.b), _points(g.difference))
        yield table
    for change in c.changes:
        yield f"memorised by {change.memorised_by.upper()} alone: {change.text or f'class {change.label}'}"
    yield Text(
        f"of {c.shared} shared prompts A memorised {c.a.hits}, {_rate(c.a)}, and B {c.b.hits}, {_rate(c.b)}; "
        f"difference {_points(c.difference)}",
        style="bold",
    )
    for note in c.notes:
        yield f"mind: {note}"


def _findings(rows: list[PromptRow]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("prompt", no_wrap=True, min_width=16)
    for name in ("times", "clique"):
        table.add_column(name, justify="right")
    table.add_column("nearest training picture", no_wrap=True, min_width=12)
    for name in ("L2", "ratio", "similarity"):
        table.add_column(name, justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        f = row.finding
        verdict = Text(f.verdict if f else "no copy", "red" if row.memorised else "")
        table.add_row(
            Text(row.name),
            "" if row.duplicates is None else str(row.duplicates),
            f"{row.clique}/{row.generations}",
            Text(f.uri if f else ""),
            f"{f.l2:.3f}" if f else "",
            f"{f.ratio:.2f}" if f and f.ratio is not None else "",
            f"{f.similarity:.3f}" if f else "",
            verdict,
        )
    return table


def _protected(one: Protected) -> str:
    said = [", ".join(one.collections)]
    said += [f"at {number_of(one.prompts, 'prompt')}"] if one.prompts else []
    said += [f"by {number_of(one.generations, 'generation')}"] if one.generations else []
    return f"{one.uri} ({'; '.join([*said, f'L2 {one.l2:.3f}'])})"


def _curve(report: AuditReport) -> Table:
    table = Table("times in the training set", "prompts", "likely", "memorised, %", box=None, pad_edge=False)
    for row in report.summary.by_duplicates:
        span = str(row.low) if row.low == row.high else f"{row.low}-{row.high}"
        table.add_row(span, str(row.memorised.of), str(row.likely), _rate(row.memorised))
    return table


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.value is None:
        return "-"
    return f"{100 * rate.value:.1f} % [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


def _points(difference: Any) -> str:
    if difference.value is None:
        return "-"
    return f"{100 * difference.value:+.1f} points [{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"
