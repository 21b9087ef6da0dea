"""`memguard check`: are these pictures near-copies of the reference set?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

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
from guard.cli.console import STYLES, Exit, err, errors_to_exit, print_json, print_rows
from guard.cli.explain import Strips
from guard.cli.progress import counted
from guard.errors import InputError
from guard.types import Collection, Decision, Match, Status, Verdict

if TYPE_CHECKING:
    from guard.pixels import RGBArray

__all__ = ["check", "code_of", "decoded"]

BATCH = 16  # pictures decoded and checked together
WHOLE = 0.995  # shares of both pictures from which all of one is on all of the other, which needs no words


class FailOn(StrEnum):
    FLAG = "flag"
    BLOCK = "block"


def check(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Picture files, or folders of them.")],
    index: IndexOption,
    config: ConfigOption = None,
    embedder: EmbedderOption = None,
    flag: FlagOption = None,
    block: BlockOption = None,
    fail_on: Annotated[FailOn | None, typer.Option(help="Exit with 1 if a picture is flagged (or blocked).")] = None,
    verify: VerifyOption = None,
    originals: OriginalsOption = None,
    explain: Annotated[
        Path | None,
        typer.Option(help="Draw each picture beside its nearest reference, aligned, with the copied area, as a PNG."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check pictures against an index and print one verdict each, with what their pixels show.

    [bold]Examples[/bold]

    memguard check out.png --index training.index

    memguard check renders/ --index training.index --fail-on block --json

    memguard check out.png --index training.index --verify --explain evidence.png
    """
    with errors_to_exit():
        settings = settings_of(embedder=embedder, flag=flag, block=block, verify=verify, originals=originals)
        raise typer.Exit(_check(images, index, config, settings, fail_on, explain, as_json))


def _check(
    images: Sequence[Path],
    index: Path,
    config: Path | None,
    settings: dict[str, Any],
    fail_on: FailOn | None,
    explain: Path | None,
    as_json: bool,
) -> Exit:
    from guard.guard import Guard

    settings = unhurried(config, settings)
    strips = Strips(explain) if explain else None
    guard = Guard.open(index, config=config, mode="flag", on_error="open", **settings)
    code = Exit.FINE
    results: list[dict[str, object]] = []
    table = Table("picture", "decision", "similarity", "reference", "pixels", box=None, pad_edge=False)
    files = list(_files(images))
    waiting = iter(files)
    with counted("checking", quiet=as_json or len(files) <= BATCH) as progress:
        while batch := list(islice(waiting, BATCH)):
            seen = [(path, decoded(path)) for path in batch]
            verdicts = iter(guard.check([p for _, p in seen if not isinstance(p, InputError)], pipeline="check"))
            for path, pixels in seen:
                if isinstance(pixels, InputError):
                    code = max(code, Exit.INPUT)
                    err.print(f"skipped: {pixels}", style="yellow", soft_wrap=True)
                    results.append({"image": str(path), "error": str(pixels)})
                    continue
                verdict = next(verdicts)
                code = max(code, code_of(verdict, fail_on))
                results.append({"image": str(path), **verdict.to_dict()})
                table.add_row(*_row(path, verdict))
                if strips:
                    strips.add(guard, path, pixels, verdict)
            progress(len(results), len(files))
    if strips:
        strips.write()
    if as_json:
        print_json({"index": str(index), "index_version": guard.index.version, "results": results})
    elif table.rows:
        print_rows(table)
    return code


def decoded(path: Path) -> RGBArray | InputError:
    """The picture, or why there is none."""
    from guard.decode import decode

    if path.is_dir():
        empty = next(_files([path])) == path
        return InputError(f"{path} holds no picture" if empty else f"{path} is a folder; name a picture in it")
    if not path.exists():
        return InputError(f"no such file: {path}")
    try:
        return decode(path).rgb
    except InputError as exc:
        return exc


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as given; of a folder, every picture in it, sorted, or the folder itself if it has none."""
    from guard.sources.folder import IMAGE_SUFFIXES

    for path in paths:
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
        yield from found if path.is_dir() and found else [path]


def code_of(verdict: Verdict, fail_on: FailOn | None) -> Exit:
    """The exit code of one picture."""
    if verdict.status is Status.ERROR:
        return Exit.INPUT if verdict.reason == "input" else Exit.FAILED
    hits = {FailOn.FLAG: (Decision.FLAG, Decision.BLOCK), FailOn.BLOCK: (Decision.BLOCK,), None: ()}[fail_on]
    return Exit.FOUND if verdict.decision in hits else Exit.FINE


def _row(path: Path, verdict: Verdict) -> tuple[Text, ...]:
    if verdict.decision is None:
        return Text(str(path)), Text(verdict.status.value, "red"), Text(""), Text("; ".join(verdict.reasons)), Text("")
    match = verdict.telling
    similarity = f"{match.similarity:.3f}" if match else ""
    if match and match.bits is not None:
        similarity += f", PDQ {match.bits} bits"
    uri = match.record.uri if match else "(empty index)"
    if match and match.record.cluster_size > 1:
        uri += f" ({match.record.cluster_size} times in the set)"
    by = f" ({verdict.collection})" if verdict.collection not in ("", Collection.TRAINING) else ""
    decision = Text(f"{verdict.decision.value}{by}", STYLES[verdict.decision])
    return Text(str(path)), decision, Text(similarity), Text(uri), Text(_pixels(match, verdict))


def _pixels(match: Match | None, verdict: Verdict) -> str:
    """What the pixels of the match show, in few words."""
    said = []
    if match and match.evidence:
        evidence = match.evidence
        kind = evidence.kind.value.replace("_", " ") + (", mirrored" if evidence.mirrored else "")
        shown = f": {evidence.copied_area_reference:.0%} of it on {evidence.copied_area_query:.0%} of the picture"
        whole = min(evidence.copied_area_reference, evidence.copied_area_query) >= WHOLE
        said.append(kind + (shown if evidence.is_copy and not whole else ""))
    if verdict.verified is False:
        said.append("not verified")
    return "; ".join(said)
