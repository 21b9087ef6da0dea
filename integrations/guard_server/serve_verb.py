"""`memguard serve`: the guard as an HTTP service. Imports the server only when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guard.cli.console import errors_to_exit

__all__ = ["serve"]


def serve(
    index: Annotated[
        Path | None, typer.Option(help="Index directory; also the setting server.index.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; the server's own are in its table `server`.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if nothing says otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8750 if nothing says otherwise, 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port and the memory of the index; 1 if not said.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder of the index, where it was a file: onnx:FILE or torchscript:FILE.")
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log JSON, one line an entry and one a decision (log_decisions).")
    ] = False,
) -> None:
    """Serve checks over HTTP until it is told to stop (SIGTERM, Ctrl-C).

    It listens on this machine's loopback; other addresses need tokens (`memguard token`).

    [bold]Examples[/bold]

    memguard serve --index training.index --config guard.toml

    memguard serve --index training.index --host 0.0.0.0 --workers 4 --config guard.toml
    """
    with errors_to_exit():
        from guard_server.run import run

        flags = {"host": host, "port": port, "workers": workers}
        raise typer.Exit(run(index, config, embedder=embedder, as_json=log_json, **flags))
