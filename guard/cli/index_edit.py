"""`memguard index verify | merge | remove`: check an index, and make one of others. Knows options and tables."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from guard.cli.console import Exit, err, errors_to_exit, number_of, out, print_json
from guard.cli.index_options import IndexArgument, JsonOption, KeepOption

__all__ = ["LogOption", "merge", "purge_keys", "remove", "verify"]

LogOption = Annotated[
    list[Path] | None, typer.Option("--log", help="With --purge: decision log to clear of them; may be repeated.")
]


def verify(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Check every file of an index against its manifest; exit code 1 if anything is damaged.

    [bold]Example[/bold]

    memguard index verify training.index
    """
    from guard.errors import IndexLoadError
    from guard.indexes.verify import Finding, verify_index

    with errors_to_exit():
        try:
            findings = verify_index(index)
        except IndexLoadError as exc:
            if not index.is_dir():
                raise  # no index at all is a wrong argument, not a damage
            findings = [Finding("manifest", str(exc))]
        damaged = any(finding.problem for finding in findings)
        if as_json:
            checks = [{"check": f.check, "problem": f.problem or None} for f in findings]
            print_json({"path": str(index), "damaged": damaged, "checks": checks})
        else:
            for finding in findings:
                result = Text(finding.problem, "red") if finding.problem else Text("fine", "green")
                out.print(Text(f"{finding.check:<12}").append_text(result), soft_wrap=True)
        raise typer.Exit(Exit.FOUND if damaged else Exit.FINE)


def merge(
    first: Annotated[Path, typer.Argument(metavar="A.index", help="Its references come first.")],
    second: Annotated[Path, typer.Argument(metavar="B.index", help="Its references come after those.")],
    out_folder: Annotated[Path, typer.Option("--out", metavar="C.index", help="Folder of the new index.")],
    duplicates: Annotated[
        bool,
        typer.Option(
            "--duplicates",
            help="Keep what both hold twice: for training sets of which it matters how often they repeat a picture.",
        ),
    ] = False,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Write an index with the references of two, which the same embedder must have built.

    What A.index holds already, by its bytes and in all of the collections, is left out of B.index and
    counted; already_there.jsonl of the version lists it.

    [bold]Examples[/bold]

    memguard index merge photos.index scans.index --out training.index

    memguard index merge monday.index tuesday.index --out training.index --duplicates
    """
    from guard.indexes.edit import merge_indexes

    with errors_to_exit():
        manifest, left_out = merge_indexes(first, second, out_folder, duplicates=duplicates, keep=keep)
        if as_json:
            print_json({"path": str(out_folder), "count": manifest.count, "already_there": left_out})
        else:
            if left_out:
                out.print(
                    f"{number_of(left_out, 'reference')} of {second} left out that {first} holds too (--duplicates "
                    "keeps them)",
                    soft_wrap=True,
                )
            out.print(f"{out_folder}: {number_of(manifest.count, 'reference')}", soft_wrap=True)


def remove(
    index: IndexArgument,
    ids: Annotated[list[int] | None, typer.Option("--id", help="Id in the version in use; may be repeated.")] = None,
    uris: Annotated[list[str] | None, typer.Option("--uri", help="As recorded; may be repeated.")] = None,
    sha256s: Annotated[list[str] | None, typer.Option("--sha256", help="Of the file; may be repeated.")] = None,
    collections: Annotated[
        list[str] | None, typer.Option("--collection", help="Every reference that is in it; may be repeated.")
    ] = None,
    keep: KeepOption = 2,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Leave nothing behind: older versions are deleted, overlay and logs written anew without them.",
        ),
    ] = False,
    logs: LogOption = None,
    who: Annotated[str | None, typer.Option(help="Who purges, for the history (default: your login name).")] = None,
    why: Annotated[str, typer.Option(help="Why it is purged, for the history; it stays there.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a version of an index without some references; the others get new ids.

    The version before still holds them until it is pruned: --keep 1 does that at once, --purge everywhere.

    [bold]Examples[/bold]

    memguard index remove training.index --uri portraits/0042.jpg

    memguard index remove training.index --collection opt-out --keep 1

    memguard index remove training.index --uri portraits/0042.jpg --purge --log events.sqlite
    """
    from guard.errors import ConfigError
    from guard.indexes.edit import remove_from_index
    from guard.indexes.overlay import key_of
    from guard.indexes.store import open_index

    with errors_to_exit():
        if not (ids or uris or sha256s or collections):
            raise ConfigError("say what to remove: --id, --uri, --sha256 or --collection")
        if purge:
            with open_index(index) as opened:
                found = opened.reader.ids_where(
                    ids=ids or (), uris=uris or (), sha256s=sha256s or (), collections=collections or ()
                )
                keys = [key_of(record) for record in opened.records(sorted(found))]
            keys += [sha256.lower() for sha256 in sha256s or ()]  # removed before, and still in an older version
            raise typer.Exit(purge_keys(index, keys, logs, who, why, as_json))
        if logs:
            raise ConfigError("--log belongs to --purge")
        if who or why:
            raise ConfigError("--who and --why belong to --purge")
        manifest, removed = remove_from_index(
            index, ids=ids or (), uris=uris or (), sha256s=sha256s or (), collections=collections or (), keep=keep
        )
        if as_json:
            print_json({"path": str(index), "removed": removed, "count": manifest.count})
        else:
            out.print(f"{number_of(removed, 'reference')} removed; {index}: {manifest.count} left", soft_wrap=True)


def purge_keys(index: Path, keys: list[str], logs: list[Path] | None, who: str | None, why: str, as_json: bool) -> Exit:
    """Purge, say what was done, and return the exit code: FAILED if something may be left."""
    from guard.errors import ConfigError
    from guard.purge import purge

    if not keys:
        raise ConfigError(f"no reference of {index} matches; nothing was purged")
    report = purge(index, keys, who=who or getpass.getuser(), why=why, logs=logs or ())
    if as_json:
        print_json({"path": str(index), **asdict(report)})
    else:
        out.print(
            f"purged: {number_of(report.removed, 'reference')} of {index}, now version {report.version}, and "
            f"{report.overlay} of its overlay; {number_of(report.events, 'event')} cleared; "
            f"deleted: {', '.join(report.deleted) or 'no older version'}",
            soft_wrap=True,
        )
        for what in report.left:
            err.print(f"left: {what}", style="red", markup=False, soft_wrap=True)
    return Exit.FAILED if report.left else Exit.FINE
