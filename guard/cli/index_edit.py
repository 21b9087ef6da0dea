"""`memguard index verify | merge | remove`: check an index, and make one of others. Knows options and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from guard.cli.console import Exit, errors_to_exit, out, print_json

__all__ = ["merge", "remove", "verify"]

IndexArgument = Annotated[Path, typer.Argument(metavar="X.index", help="Folder of the index.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
KeepOption = Annotated[int, typer.Option(min=1, help="Versions to keep, the new one included.")]


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
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Write an index with the references of two, which the same embedder must have built.

    [bold]Example[/bold]

    memguard index merge photos.index scans.index --out training.index
    """
    from guard.indexes.edit import merge_indexes

    with errors_to_exit():
        manifest = merge_indexes(first, second, out_folder, keep=keep)
        if as_json:
            print_json({"path": str(out_folder), "count": manifest.count})
        else:
            out.print(f"{out_folder}: {manifest.count} references", soft_wrap=True)


def remove(
    index: IndexArgument,
    ids: Annotated[list[int] | None, typer.Option("--id", help="Id in the version in use; may be repeated.")] = None,
    uris: Annotated[list[str] | None, typer.Option("--uri", help="As recorded; may be repeated.")] = None,
    sha256s: Annotated[list[str] | None, typer.Option("--sha256", help="Of the file; may be repeated.")] = None,
    collections: Annotated[
        list[str] | None, typer.Option("--collection", help="Every reference that is in it; may be repeated.")
    ] = None,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Write a version of an index without some references; the others get new ids.

    The version before still holds them until it is pruned: --keep 1 does that at once.

    [bold]Examples[/bold]

    memguard index remove training.index --uri portraits/0042.jpg

    memguard index remove training.index --collection opt-out --keep 1
    """
    from guard.errors import ConfigError
    from guard.indexes.edit import remove_from_index

    with errors_to_exit():
        if not (ids or uris or sha256s or collections):
            raise ConfigError("say what to remove: --id, --uri, --sha256 or --collection")
        manifest, removed = remove_from_index(
            index, ids=ids or (), uris=uris or (), sha256s=sha256s or (), collections=collections or (), keep=keep
        )
        if as_json:
            print_json({"path": str(index), "removed": removed, "count": manifest.count})
        else:
            out.print(f"{removed} references removed; {index}: {manifest.count} references", soft_wrap=True)
