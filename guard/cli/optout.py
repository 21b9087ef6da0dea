"""`memguard optout add | remove | list | history`: who is protected, by whose wish. Knows options and tables."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import Exit, err, errors_to_exit, number_of, out, print_json, print_rows
from guard.cli.index_edit import LogOption, purge_keys
from guard.cli.index_small import KeyOption, sealing_key
from guard.cli.moments import moment_of, time_cell
from guard.cli.optout_lists import check, export
from guard.cli.progress import counted

if TYPE_CHECKING:
    from guard.optout.additions import AddReport

__all__ = ["optout_app"]

optout_app = typer.Typer(
    name="optout",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Protect pictures that must not be made again, and keep do-not-train lists.

    What is added counts from the next check on, also in services that run, without a new build.

    [bold]Examples[/bold]

    memguard optout add portfolio/ --index training.index --why 'letter of 3 March'

    memguard optout check 'shard-{000..012}.tar' --index training.index""",
)

IndexOption = Annotated[Path, typer.Option(metavar="X.index", help="Index whose overlay is meant.")]
WhoOption = Annotated[
    str | None, typer.Option(help="Who makes this change, for the history (default: your login name).")
]
WhyOption = Annotated[str, typer.Option(help="Why, for the history: a letter, a ticket.")]
UntilOption = Annotated[
    str | None, typer.Option(help="Until then: 2027-06-30, 2027-06-30T12:00 (UTC), or 90d from now.")
]
IdOption = Annotated[list[int] | None, typer.Option("--id", help="Reference of this id; may be repeated.")]
UriOption = Annotated[list[str] | None, typer.Option("--uri", help="Reference of this uri; may be repeated.")]
Sha256Option = Annotated[
    list[str] | None,
    typer.Option("--sha256", help="Picture of these bytes, held here or not; may be repeated."),
]
UrlOption = Annotated[
    list[str] | None, typer.Option("--url", help="Picture at this address, for do-not-train lists; may be repeated.")
]
DomainOption = Annotated[
    list[str] | None,
    typer.Option("--domain", help="All of a domain and those below it, for do-not-train lists; may be repeated."),
]
HitsOption = Annotated[
    list[Path] | None, typer.Option("--hits", help="Every hit in a file of `memguard search --out`; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@optout_app.command()
def add(
    index: IndexOption,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Pictures, folders or shards, named as for `index build`."),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", help="opt-out (the default), protected or another; repeat it for several."),
    ] = None,
    who: WhoOption = None,
    why: WhyOption = "",
    until: UntilOption = None,
    ids: IdOption = None,
    uris: UriOption = None,
    sha256s: Sha256Option = None,
    hits: HitsOption = None,
    urls: UrlOption = None,
    domains: DomainOption = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder of the index, where it was a file: onnx:FILE or torchscript:FILE.")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Protect pictures, whether they are in the training set or not.

    [bold]Examples[/bold]

    memguard optout add portfolio/ --index training.index --who anna --why 'letter of 3 March' --until 2030-01-01

    memguard optout add --index training.index --hits hits.csv --collection protected

    memguard optout add --index training.index --domain studio.example.com --why 'mail of 5 May'
    """
    from guard.errors import ConfigError
    from guard.indexes.overlay import Overlay

    with errors_to_exit():
        collections = tuple(dict.fromkeys(collection or ["opt-out"]))
        _mind(index, collections)
        ends, name = moment_of(until, "--until", ahead=True), who or getpass.getuser()
        keys = _keys(index, ids, uris, sha256s, hits, urls, domains)
        if not (sources or keys):
            raise ConfigError("say what to protect: a SOURCE, --id, --uri, --sha256, --hits, --url or --domain")
        overlay = Overlay(index)
        opened = _opened(index, sources or [], embedder)  # before anything is changed
        for one in collections:
            if keys:
                overlay.give(keys, one, who=name, why=why, until=ends)
        report = _add_sources(index, opened, collections, name, why, ends, key, as_json)
        if sources and not (report.added or report.skipped or keys):
            raise ConfigError(f"there is no picture in {', '.join(sources)}: nothing was added")
        if as_json:
            skipped = [{"uri": skip.uri, "reason": skip.reason, "detail": skip.detail} for skip in report.skipped]
            named = {"pictures": report.added, "named": len(keys), "keys": [*keys, *report.keys]}
            print_json({"index": str(index), "collections": list(collections), **named, "skipped": skipped})
        else:
            done = [f"{number_of(report.added, 'picture')} added"] if report.added or not keys else []
            done += [f"{len(keys)} named"] if keys else []
            out.print(f"{' and '.join(done)}: {', '.join(collections)}; from the next check on", soft_wrap=True)
            if report.added and key is None and overlay.manifest.sealed:
                err.print(f"without a --key, as {index} is sealed: descriptors alone, whose pixels cannot be compared",
                          style="yellow", soft_wrap=True)  # fmt: skip
            for skip in report.skipped:
                err.print(f"skipped: {skip.detail}", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.INPUT if report.skipped else Exit.FINE)


@optout_app.command()
def remove(
    index: IndexOption,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Pictures, folders or shards that were added, their files unchanged."),
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Only from this collection (default: from all that the overlay gave).")
    ] = None,
    who: WhoOption = None,
    why: WhyOption = "",
    ids: IdOption = None,
    uris: UriOption = None,
    sha256s: Sha256Option = None,
    hits: HitsOption = None,
    urls: UrlOption = None,
    domains: DomainOption = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete all that index, overlay and logs hold of them, training or not.")
    ] = False,
    logs: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take protection back; the next check sees it. The history keeps who asked for it, and who took it back.

    [bold]Examples[/bold]

    memguard optout remove portfolio/0042.jpg --index training.index --why 'licence of 1 June'

    memguard optout remove portfolio/ --index training.index

    memguard optout remove --index training.index --domain studio.example.com --who anna

    memguard optout remove portrait.jpg --index training.index --purge --log events.sqlite
    """
    from guard.errors import ConfigError
    from guard.indexes.overlay import Overlay

    with errors_to_exit():
        keys = [*_keys(index, ids, uris, sha256s, hits, urls, domains), *_keys_of_files(sources or [])]
        if not keys:
            raise ConfigError("say what to take back: a SOURCE, --id, --uri, --sha256, --hits, --url or --domain")
        if purge:
            raise typer.Exit(purge_keys(index, keys, logs, who, why, as_json))
        if logs:
            raise ConfigError("--log belongs to --purge")
        gone = Overlay(index).withdraw(keys, collection, who=who or getpass.getuser(), why=why)
        if not gone:
            raise ConfigError(f"nothing of that is protected by the overlay of {index}; see `memguard optout list`")
        if as_json:
            print_json({"index": str(index), "removed": gone, "keys": keys})
        else:
            out.print(f"{number_of(gone, 'entry', 'entries')} taken back; from the next check on", soft_wrap=True)


@optout_app.command("list")
def list_entries(
    index: IndexOption,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", help="Only of this collection; repeat it for several.")
    ] = None,
    over: Annotated[bool, typer.Option("--over", help="Also what is over already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say who is protected by the overlay, since when, until when, and by whose wish.

    [bold]Example[/bold]

    memguard optout list --index training.index --collection opt-out
    """
    from guard.indexes.overlay import Overlay
    from guard.optout.entries import PROTECTING, protected

    with errors_to_exit():
        held = Overlay(index).manifest.collections
        itself = {name: held[name] for name in collection or PROTECTING if held.get(name)}
        entries = [one for one in protected(index, tuple(collection or ()), now=time.time()) if over or not one.over]
        if as_json:
            print_json({"index": str(index), "entries": [one.to_dict() for one in entries], "in_the_index": itself})
            return
        table = Table(
            "picture", "collection", "since (UTC)", "until", "who", "why", "held by", box=None, pad_edge=False
        )
        for one in entries:
            until = "for ever" if one.until is None else time_cell(one.until) + (", over" if one.over else "")
            collection_said = one.collection if one.member else f"not {one.collection}"
            cells = (
                one.uri or one.key,
                collection_said,
                time_cell(one.since),
                until,
                one.who,
                one.why,
                one.where or "-",
            )
            table.add_row(*map(Text, cells))
        if entries:
            print_rows(table)
        else:
            out.print("the overlay protects nothing")
        if itself:
            said = ", ".join(f"{count} in {name}" for name, count in itself.items())
            out.print(f"the index itself, as it was built, holds {said}", soft_wrap=True)


@optout_app.command()
def history(
    index: IndexOption,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Of this picture alone: its SHA-256.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print every change that was made to the overlay, oldest first: who did what, when and why.

    [bold]Example[/bold]

    memguard optout history --index training.index
    """
    from guard.indexes.overlay import Overlay
    from guard.optout.entries import moment

    with errors_to_exit():
        changes = Overlay(index).history(key)
        if as_json:
            said = [{"seq": c.seq, "time": moment(c.time), "who": c.who, "action": c.action, "key": c.key, **c.detail}
                    for c in changes]  # fmt: skip
            print_json({"index": str(index), "changes": said})
            return
        table = Table("time (UTC)", "who", "what", "picture", "why", box=None, pad_edge=False)
        names = {change.key: change.detail["uri"] for change in changes if change.detail.get("uri")}
        for change in changes:
            action = " ".join(filter(None, [change.action, change.detail.get("collection", "")]))
            place = names.get(change.key) or change.key or "(purged)"
            cells = (time_cell(change.time), change.who, action, place, change.detail.get("why", ""))
            table.add_row(*map(Text, cells))
        print_rows(table)


optout_app.command()(export)
optout_app.command()(check)


def _keys(
    index: Path,
    ids: list[int] | None,
    uris: list[str] | None,
    sha256s: list[str] | None,
    hits: list[Path] | None,
    urls: list[str] | None,
    domains: list[str] | None,
) -> list[str]:
    from guard.indexes.overlaid import open_overlaid
    from guard.optout.naming import domain_key, keys_of_hits, keys_of_references, url_key

    keys = [url_key(url) for url in urls or ()] + [domain_key(domain) for domain in domains or ()]
    keys += [key for path in hits or () for key in keys_of_hits(path)]
    if ids or uris or sha256s:
        with open_overlaid(index) as opened:
            keys += keys_of_references(opened.now(), ids=ids or (), uris=uris or (), sha256s=sha256s or ())
    return list(dict.fromkeys(keys))


def _keys_of_files(sources: list[str]) -> list[str]:
    """By the bytes of each picture. Raises what reading one raises: half of a folder must not stay by an oversight."""
    import hashlib

    from guard.decode import read_file
    from guard.errors import ConfigError
    from guard.sources import Skip, open_source

    keys: list[str] = []
    for source in sources:
        before = len(keys)
        for item in open_source(source).items():
            if isinstance(item, Skip):
                raise ConfigError(f"{item.detail}; nothing was taken back")
            data = item.data if item.path is None else read_file(item.path)
            if data is not None:
                keys.append(hashlib.sha256(data).hexdigest())
        if len(keys) == before:
            raise ConfigError(f"there is no picture in {source}; nothing was taken back")
    return list(dict.fromkeys(keys))


def _mind(index: Path, collections: tuple[str, ...]) -> None:
    """A misspelt name would protect nobody, and look as if it did."""
    from difflib import get_close_matches

    from guard.indexes.overlay import Overlay
    from guard.types import Collection

    names = [one.value for one in Collection]
    known = {*names, *Overlay(index).manifest.collections}
    for one in collections:
        if one not in known:
            near = get_close_matches(one, names, 1, 0.6)
            meant = f"; did you mean {near[0]}?" if near else ""
            err.print(
                f"{one!r} is a new collection, without a meaning of its own: it is judged as training pictures are, "
                f"unless the policy says otherwise{meant}",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )


def _opened(index: Path, sources: list[str], embedder: str | None) -> tuple[Any, list[Any]]:
    """The index's embedder, and the sources; (None, []) without any."""
    from guard.embedders.registry import load_index_embedder
    from guard.indexes.overlay import Overlay
    from guard.sources import open_source

    if not sources:
        return None, []
    model: Any = load_index_embedder(Overlay(index).manifest.embedder.name, embedder)
    return model, [open_source(source, spec=model.spec) for source in sources]


def _add_sources(
    index: Path,
    opened: tuple[Any, list[Any]],
    collections: tuple[str, ...],
    who: str,
    why: str,
    until: float | None,
    key: Path | None,
    quiet: bool,
) -> AddReport:
    from guard.optout.additions import MANY, AddReport, add_pictures

    total, (model, sources) = AddReport(), opened
    if not sources:
        return total
    secret = sealing_key(key)
    with counted("adding", quiet=quiet) as on_progress:
        for source in sources:
            report = add_pictures(
                index, source, model, collections, who=who, why=why, until=until, key=secret, on_progress=on_progress
            )
            total.added += report.added
            total.keys += report.keys
            total.skipped += report.skipped
    if total.added > MANY:
        advice = "`memguard index add --collection …` holds so many better: each change is read by every process"
        err.print(f"{number_of(total.added, 'entry', 'entries')}: {advice}", style="yellow", soft_wrap=True)
    return total
