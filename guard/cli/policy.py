"""`memguard policy explain`: why a picture gets the decision that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.check import code_of, decoded
from guard.cli.check_options import (
    BlockOption,
    ConfigOption,
    EmbedderOption,
    FlagOption,
    IndexOption,
    OriginalsOption,
    VerifyOption,
    settings_of,
    unhurried,
)
from guard.cli.console import STYLES, err, errors_to_exit, number_of, out, print_json, print_rows
from guard.cli.exempt import exempt, exemptions, unexempt
from guard.errors import InputError
from guard.types import Status
from guard.verification.picture import summary

if TYPE_CHECKING:
    from guard.decision import Case
    from guard.explanation import Explanation

__all__ = ["policy_app"]

policy_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""See what the policy makes of a picture, and except pictures that are no copies.

    [bold]Examples[/bold]

    memguard policy explain render.png --index training.index

    memguard policy exempt render.png --index training.index --why 'another facade'""",
)


@policy_app.command()
def explain(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture file.")],
    index: IndexOption,
    config: ConfigOption = None,
    embedder: EmbedderOption = None,
    own_input: Annotated[
        list[Path] | None,
        typer.Option("--input", help="The caller's own input picture, which an output may echo; may be repeated."),
    ] = None,
    flag: FlagOption = None,
    block: BlockOption = None,
    verify: VerifyOption = None,
    originals: OriginalsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check one picture and print the whole reasoning, in order, with numbers, thresholds and intervals.

    [bold]Examples[/bold]

    memguard policy explain render.png --index training.index

    memguard policy explain render.png --index training.index --config guard.toml --verify --json

    memguard policy explain edited.png --index training.index --input original.png
    """
    with errors_to_exit():
        from guard.guard import Guard

        asked = settings_of(embedder=embedder, flag=flag, block=block, verify=verify, originals=originals)
        settings = unhurried(config, asked)
        pictures = [decoded(path) for path in (image, *(own_input or ()))]
        for picture in pictures:
            if isinstance(picture, InputError):
                raise picture
        guard = Guard.open(index, config=config, **settings)
        told = guard.explain(pictures[0], inputs=pictures[1:] or None)
        if as_json:
            print_json({"image": str(image), **told.to_dict()})
        else:
            _show(image, told)
        if told.verdict.status is Status.ERROR:
            err.print(f"error: {'; '.join(told.verdict.reasons)}", style="red", soft_wrap=True)
        raise typer.Exit(code_of(told.verdict, None))


for _verb in (exempt, exemptions, unexempt):
    policy_app.command()(_verb)


def _show(image: Path, told: Explanation) -> None:
    pixels, index = told.pixels, told.index
    flat = f"changes in {pixels['detail']:.1%} of its cells (flat below {pixels['flat_below']:.0%})"
    _step(1, "pixels", f"{image}: {pixels['width']} x {pixels['height']} px, {flat}")
    _step(2, "embedder", *_embedder_lines(told.embedder))
    _step(3, "index", *_index_lines(index, told.calibration))
    _step(4, "thresholds", "of each collection that a reference is in; inclusive")
    print_rows(_rules(told.rules))
    for line in _strengths(told.rules):
        _line(line)
    reasoning = told.reasoning
    if reasoning is None:
        return
    case = reasoning.case
    _step(5, "candidates", "the nearest references, and those with an identical hash" if case.candidates else "none")
    if case.candidates:
        print_rows(_candidates(told))
    _step(6, "pixels compared", _compared(told, case), *_evidence_lines(told, case))
    if pixels["flat"]:
        _line("the image is flat: whatever the similarity, only near-identical pixels count")
    exempted = [f"a reviewer called it no copy of {m.record.uri}: that counts for nothing" for m in case.exempted]
    _step(7, "exemptions", *exempted or ["none"])
    _step(8, "own input", _own(told))
    _step(9, "findings", *[] if reasoning.findings else ["none"])
    for finding in reasoning.findings:
        said = Text(f"   {finding.collection}, ").append(finding.decision.value, STYLES[finding.decision])
        out.print(said.append(f": {'; '.join(finding.reasons)}"), soft_wrap=True)
    excuse = reasoning.excuse
    _step(10, "allowed", excuse.reason if excuse else "no allowed reference is the closer one, or none is needed")
    verdict = told.verdict
    assert verdict.decision is not None
    said = Text("11 decision: ", "bold").append(verdict.decision.value, STYLES[verdict.decision])
    by = f" ({verdict.collection})" if verdict.collection else ""
    out.print(said.append(f"{by}; in mode {told.mode.value} the pixels are {verdict.action.value}"))
    known = {reason for finding in reasoning.findings for reason in finding.reasons}
    for reason in verdict.reasons:
        if reason not in known and (excuse is None or reason != excuse.reason):
            _line(reason)


def _step(number: int, title: str, *lines: str) -> None:
    out.print(Text(f"{number:>2} {title}", "bold"))
    for line in lines:
        _line(line)


def _compared(told: Explanation, case: Case) -> str:
    if case.verified is False:
        return f"not all: {case.unverified}"
    if case.verified:
        return "done"
    return f"not done: {told.uncompared}" if told.uncompared else "not asked for, or nothing came near"


def _evidence_lines(told: Explanation, case: Case) -> Iterator[str]:
    """What each comparison came to, and which similarity stands whatever they say."""
    seen = [(match.record.uri, match.evidence) for match in case.candidates if match.evidence is not None]
    aligned = [(uri, evidence) for uri, evidence in seen if evidence.transform is not None]
    yield from (f"{uri}: {summary(evidence)}" for uri, evidence in aligned)
    if len(seen) > len(aligned):
        yield f"{number_of(len(seen) - len(aligned), 'candidate')} more: nothing could be aligned"
    if seen and not told.pixels["flat"]:
        sure = (f"{rule['sure']:.4f} ({rule['collection']})" for rule in told.rules if rule["at_most"] != "allow")
        yield f"what they refute stands all the same from a similarity of {', '.join(sure)} on"


def _line(text: str) -> None:
    out.print(f"   {text}", soft_wrap=True)


def _embedder_lines(embedder: dict[str, Any]) -> list[str]:
    weights = f", weights {embedder['weights_sha256'][:12]}" if embedder["weights_sha256"] else ""
    lines = [f"{embedder['name']}: {embedder['dim']} values{weights}; looked up as: {embedder['query_views']}"]
    if embedder["usable"] is False:
        lines.append("too little detail for it: nothing that it finds counts by similarity")
    return lines


def _index_lines(index: dict[str, Any], calibration: dict[str, Any] | None) -> list[str]:
    hashes = "PDQ hashes" if index["hashes"] else "no hashes"
    regions = f", {index['regions']} vectors each" if index["regions"] > 1 else ""
    lines = [f"{index['name']}, version {index['version']}: {index['count']} references{regions}, {hashes}"]
    if index["transform"]:
        kinds = [kind for kind in ("whitening", "normalisation", "rivals") if kind in index["transform"]]
        lines.append(f"transform: {', '.join(kinds)}; similarities are those after it")
    overlay = [
        f"{n} {(kind if n > 1 else kind.removesuffix('s')).replace('_', ' ')}"
        for kind, n in (index["overlay"] or {}).items()
        if n
    ]
    lines.append(f"overlay: {', '.join(overlay) or 'empty'}")
    if index["originals"]:
        lines.append(f"originals are read where a thumbnail is missing, in {', '.join(index['originals'])}")
    if calibration is None:
        lines.append("no calibration: what share of clean images reaches a threshold is not known")
    else:
        stale = f"; stale: {'; '.join(calibration['stale'])}" if calibration["stale"] else ""
        lines.append(f"calibrated {calibration['created_at'][:10]} on {calibration['pictures']} pictures{stale}")
        lines += calibration["unknown"]
    return lines


def _rules(rules: list[dict[str, Any]]) -> Table:
    table = Table("", "collection", "flag", "block", "at most", "identical", "from", box=None, pad_edge=False)
    table.columns[6].overflow = "fold"
    for rule in rules:
        sources = dict.fromkeys((rule["flag_from"], rule["block_from"]))
        allows = rule["at_most"] == "allow"
        flag = _threshold(rule["flag"], rule["flag_rate"])
        block = "" if allows else _threshold(rule["block"], rule["block_rate"])
        at_most, identical = ("excuses", "") if allows else (rule["at_most"], rule["identical"])
        table.add_row("  ", rule["collection"], flag, block, at_most, identical, "; ".join(sources))
    return table


def _strengths(rules: list[dict[str, Any]]) -> Iterator[str]:
    """What pixels take to count by themselves, where a rate asks for more than any copy shows."""
    from guard.calibration.strength import in_words

    alike: dict[str, list[str]] = {}
    for rule in rules:
        strengths = {decision: rule[f"{decision}_strength"] for decision in ("flag", "block")}
        if rule["at_most"] != "allow" and any(strength != 0 for strength in strengths.values()):
            said = (f"{d} {'never' if s is None else f'from {in_words(s)}'}" for d, s in strengths.items())
            alike.setdefault(", ".join(said), []).append(rule["collection"])
    return (f"compared pixels alone, in {', '.join(names)}: {said}" for said, names in alike.items())


def _threshold(similarity: float, rate: dict[str, float] | None) -> str:
    if rate is None:
        return f"{similarity:.4f}"
    return f"{similarity:.4f} (false {rate['value']:.2g} [{rate['low']:.2g}, {rate['high']:.2g}])"


def _candidates(told: Explanation) -> Table:
    table = Table("", "similarity", "PDQ", "pixels", "collections", "stands", "reference", box=None, pad_edge=False)
    table.columns[6].overflow = "fold"
    for match in told.reasoning.case.candidates if told.reasoning else ():
        record, evidence = match.record, match.evidence
        table.add_row(
            "  ",
            f"{match.similarity:.4f}",
            "" if match.bits is None else f"{match.bits} bits",
            evidence.kind.value.replace("_", " ") if evidence else "",
            ", ".join(record.collections),
            f"{record.cluster_size} times" if record.cluster_size > 1 else "once",
            Text(record.uri),
        )
    return table


def _own(told: Explanation) -> str:
    own = told.reasoning.case.own if told.reasoning else None
    if own is None or own.similarity is None:
        return "none was given"
    bits = "" if own.bits is None else f", PDQ {own.bits} bits"
    return f"similarity {own.similarity:.4f}{bits}; an echo of it counts as: {own.then}"
