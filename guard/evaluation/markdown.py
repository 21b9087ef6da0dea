"""`python -m guard.evaluation.markdown RESULTS.json`: the tables of an evaluation. Knows its document, and Markdown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Document", "difference_text", "interval_text", "names_of", "page", "percent_text", "rate_of", "table_lines"]

Document = Mapping[str, Any]
FAMILY = "family:"
RATES = (("recall_at_1", ""), ("recall_at_own_fpr", "0.01"), ("recall_at_own_fpr", "0.001"))
HEADS = ("recall@1", "at FPR 1 %", "at FPR 0.1 %")


def page(document: Document) -> str:
    """Markdown, level-3 headings: by group, by family, by edit of the default embedder, look-alikes, what is paired.

    Of what `memguard eval detection` wrote: see guard.evaluation.detection_markdown.
    """
    if "evidence" in document:
        from guard.evaluation.detection_markdown import detection_page

        return detection_page(document)
    sections = (_groups(document), _families(document), _edits(document), _look_alikes(document), _paired(document),
                _identical(document), _real_pairs(document))  # fmt: skip
    return "\n".join(line for section in sections for line in section)


def names_of(document: Document) -> list[str]:
    """The entrants, the default one once."""
    return [name for name in document["results"] if not name.startswith("default")]


def _shown(document: Document) -> str:
    return "default" if "default" in document["results"] else names_of(document)[0]


def _groups(document: Document) -> Iterator[str]:
    yield "### Mean over all edits, by group\n"
    yield "Percent; each group at the thresholds that its own negatives set.\n"
    for group, counts in document["protocol"]["groups"].items():
        yield (
            f"**{group}**: {counts['pictures']} pictures of {counts['sources']} sources, "
            f"{counts['queries_an_edit']} queries an edit, {counts['negative_queries']:,} negative queries\n"
        )
        rows = [[f"`{name}`", *_cells(document["results"][name][group]["all_edits"])] for name in names_of(document)]
        yield from table_lines(["", *HEADS], rows)


def _families(document: Document) -> Iterator[str]:
    name = _shown(document)
    yield f"### `{name}` by family\n"
    for group in document["protocol"]["groups"]:
        figures = document["results"][name][group]
        rows = [[key.removeprefix(FAMILY), *_cells(figures[key])] for key in figures if key.startswith(FAMILY)]
        yield f"**{group}**\n"
        yield from table_lines(["", *HEADS], rows)


def _edits(document: Document) -> Iterator[str]:
    name = _shown(document)
    group, figures = next(iter(document["results"][name].items()))
    yield f"### `{name}` by edit, {group}\n"
    rows = [
        [f"`{edit}`", *(percent_text(rate_of(one, *rate)) for rate in RATES)]
        for edit, one in figures.items()
        if edit != "all_edits" and not edit.startswith(FAMILY)
    ]
    yield from table_lines(["", *HEADS], rows)


def _look_alikes(document: Document) -> Iterator[str]:
    groups = list(document["protocol"]["groups"])
    yield "### Look-alikes\n"
    yield f"Percent of pairs of different, untouched pictures that reach the threshold of FPR 1 % of {groups[0]}.\n"
    shown = [group for group in groups if group != "pooled"]
    rows = [
        [f"`{name}`", *(percent_text(document["look_alikes"][name][group]["0.01"], 2) for group in shown)]
        for name in names_of(document)
    ]
    yield from table_lines(["", *shown], rows)


def _paired(document: Document) -> Iterator[str]:
    pairs = {name: one for name, one in document.get("paired", {}).items() if not name.startswith("default")}
    if not pairs:
        return
    yield "### Paired differences\n"
    yield (
        "Percentage points of the mean over all edits, on the same queries; intervals that leave out 0 are bold. "
        "Each at the thresholds that its group's own negatives set.\n"
    )
    for name, one in pairs.items():
        rows = [
            [group, *(difference_text(rate_of(by_key["all_edits"], *rate)) for rate in RATES)]
            for group, by_key in one["differences"].items()
        ]
        yield f"**`{name}` minus `{one['against']}`**\n"
        yield from table_lines(["", *HEADS], rows)


def _identical(document: Document) -> Iterator[str]:
    if "identical" not in document:
        return
    yield "### False alarms of PDQ beside a descriptor\n"
    yield (
        "Percent of what is no copy that PDQ calls identical in any flip or quarter turn. Where it was none, the upper "
        "bound follows from the number of sources.\n"
    )
    rows = [
        [group, *(interval_text(rate, 2) for rate in (*one["false"].values(), one["look_alikes"]))]
        for group, one in document["identical"].items()
    ]
    yield from table_lines(["", "negatives as they are", "edited negatives", "pairs of pictures"], rows)


def _real_pairs(document: Document) -> Iterator[str]:
    found = document.get("real_pairs", {})
    names = [name for name in names_of(document) if name in found]
    if not names:
        return
    first = found[names[0]]
    yield "### Real edits\n"
    yield f"{first['pairs']} pairs of {first['sources']} pictures, looked up among all pictures of the run.\n"
    heads = ("found first", "at FPR 1 %", "at FPR 0.1 %")
    rates = (("recall_at_1", ""), ("recall_at_fpr", "0.01"), ("recall_at_fpr", "0.001"))
    yield from table_lines(
        ["", *heads], [[f"`{n}`", *(percent_text(rate_of(found[n], *r)) for r in rates)] for n in names]
    )


def rate_of(figures: Mapping[str, Any], key: str, fpr: str) -> Mapping[str, float | None]:
    rate: Mapping[str, float | None] = figures[key][fpr] if fpr else figures[key]
    return rate


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [interval_text(rate_of(figures, *rate)) for rate in RATES]


def interval_text(rate: Mapping[str, float | None], digits: int = 1) -> str:
    value, low, high = (rate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    shown, from_, to = (f"{100 * x:.{digits}f}" for x in (value, low, high))
    return f"{shown} [{from_}, {to}]"


def percent_text(rate: Mapping[str, float | None], digits: int = 1) -> str:
    value = rate["value"]
    return "–" if value is None else f"{100 * value:.{digits}f}"


def difference_text(rate: Mapping[str, float | None]) -> str:
    value, low, high = (rate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    text = f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m guard.evaluation.markdown", description=__doc__)
    parser.add_argument(
        "document", type=Path, help="what `memguard eval descriptors --json` or `detection --json` wrote"
    )
    print(page(json.loads(parser.parse_args(arguments).document.read_text("utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
