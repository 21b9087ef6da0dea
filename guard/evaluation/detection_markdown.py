"""The tables of `memguard eval detection`. Knows its document, and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guard.evaluation.markdown import (
    Document,
    difference_text,
    interval_text,
    names_of,
    percent_text,
    rate_of,
    table_lines,
)

__all__ = ["detection_page"]

RATES = (("recall_at_1", ""), ("recall_at_fpr", "0.01"), ("recall_at_fpr", "0.001"), ("recall_at_fpr", "0.0001"))
HEADS = ("recall@1", "at FPR 1 %", "at FPR 0.1 %", "no false match")
KIN_COUNTS = ("either", "one_drawing", "shared_part", "other_content")
KINDS = ("near_identical", "edited", "partial", "same_template", "none", "not_compared")
SIGNIFICANT = 0.05  # of the adjusted p


def detection_page(document: Document) -> str:
    """Markdown, level-3 headings: means by group, by edit, evidence, what pixels get wrong, related pictures."""
    sections = (_groups(document), _edits(document), _evidence(document), _wrong(document), _kin(document))
    return "\n".join(line for section in sections for line in section)


def _groups(document: Document) -> Iterator[str]:
    yield "### Mean over all edits, by group\n"
    yield "Percent, at the thresholds that the negatives of all groups set together.\n"
    for group, counts in document["protocol"]["groups"].items():
        bound = document["no_false_match"][group]
        yield (
            f"**{group}**: {counts['pictures']} pictures of {counts['sources']} sources, "
            f"{counts['queries_an_edit']} queries an edit, {counts['negative_queries']:,} negative queries; no false "
            f"match among them bounds the rate by {100 * bound['upper_bound_if_queries_were_independent']:.3f} % if "
            f"they were independent, by {100 * bound['upper_bound_by_sources']:.1f} % by their sources\n"
        )
        rows = [
            [f"`{name}`", *(interval_text(rate_of(document["results"][name][group]["all_edits"], *rate))
                            for rate in RATES)]
            for name in names_of(document)
        ]  # fmt: skip
        yield from table_lines(["", *HEADS], rows)


def _edits(document: Document) -> Iterator[str]:
    base = document["protocol"]["bases"][0]
    shown = [name for name in (base, f"{base}+verifier", f"{base}+pdq+verifier") if name in document["results"]]
    for group in document["protocol"]["groups"]:
        yield f"### By edit, {group}\n"
        yield (
            "Percent at FPR 0.1 %. Differences between verifier and descriptor alone in points, with 95 % intervals; "
            "**below**: significantly so (paired bootstrap, Holm, 5 %).\n"
        )
        paired = document["paired"][shown[1]]
        rows = []
        for key in document["results"][shown[0]][group]:
            cells = [percent_text(document["results"][name][group][key]["recall_at_fpr"]["0.001"]) for name in shown]
            difference = difference_text(paired["differences"][group][key]["recall_at_fpr"]["0.001"])
            p = paired["below"][group]["0.001"].get(key)
            mark = " **below**" if p is not None and p < SIGNIFICANT else ""
            rows.append([f"`{key}`", *cells, difference + mark])
        yield from table_lines(["", *(f"`{name}`" for name in shown), "difference"], rows)


def _evidence(document: Document) -> Iterator[str]:
    yield "### Evidence with the own reference\n"
    yield f"Percent of the queries; compared are the {document['protocol']['candidates']} nearest references.\n"
    for group, by_key in document["evidence"]["own"].items():
        yield f"**{group}**\n"
        rows = [
            [f"`{key}`", *(f"{100 * shares[kind]:.1f}" for kind in KINDS)]
            for key, shares in by_key.items()
            if key == "all_edits" or key.startswith("family:") or shares["none"] + shares["not_compared"] >= 0.02
        ]
        yield from table_lines(["means, and edits that miss 2 % or more", *(f"`{kind}`" for kind in KINDS)], rows)


def _wrong(document: Document) -> Iterator[str]:
    yield "### Negatives that pixels called a copy\n"
    rows = [
        [
            group,
            what,
            f"{one['false']} of {one['queries']:,}",
            f"{100 * one['upper_bound_if_queries_were_independent']:.3f} %",
            f"{one['false_sources']} of {one['sources']}",
            f"{100 * one['upper_bound_by_sources']:.1f} %",
        ]
        for group, by_what in document["evidence"]["wrong"].items()
        for what, one in by_what.items()
    ]
    yield from table_lines(["group", "negatives", "queries", "at most", "sources", "at most"], rows)


def _kin(document: Document) -> Iterator[str]:
    if "kin" not in document:
        return
    kin = document["kin"]
    yield "### Related pictures that are no copies\n"
    yield (
        f"{kin['programs']} procedural programs, each relation as it is and under one edit; a program is false if "
        "either is. *One drawing*: recoloured, moved a little, or with a few parts changed; *a shared part*: a texture "
        "or a text that is in both; a match is false in *other content* alone. At most: the upper end of the 95 % "
        "interval.\n"
    )
    decided = {"pixels alone": kin["pixels"]}
    decided |= {
        f"`{name}` at FPR 0.1 %": of["0.001"]
        for name, of in kin["false_matches"].items()
        if not name.startswith("default")
    }
    rows = [
        [relation, what, *(text for of in KIN_COUNTS for text in _bounded(one[relation][of]))]
        for relation in kin["pixels"]
        for what, one in decided.items()
    ]  # fmt: skip
    columns = [column for of in ("all", "one drawing", "a shared part", "other content") for column in (of, "at most")]
    yield from table_lines(["relation", "decided by", *columns], rows)


def _bounded(one: Mapping[str, Any]) -> tuple[str, str]:
    return f"{one['false']} of {one['programs']}", f"{100 * one['high']:.2f} %"
