"""`memguard token`: make a token for the server. The secret is shown once; a file gets its hash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from guard.cli.console import err, errors_to_exit, out, print_json
from guard.errors import ConfigError
from guard_server.tokens import Scope, as_toml, new_token, read_tokens

__all__ = ["token"]


def token(
    name: Annotated[str, typer.Argument(help="Who will use it; reviews are signed with this name.")],
    scope: Annotated[list[Scope], typer.Option(help="What it opens; may be given several times.")],
    file: Annotated[
        Path | None, typer.Option(help="Add the token's hash to this TOML file (server.tokens_file).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Make a named token for `memguard serve`, and show it once.

    [bold]Examples[/bold]

    memguard token gateway --scope check --file tokens.toml

    memguard token anna --scope review --scope search --file tokens.toml
    """
    with errors_to_exit():
        secret, stored = new_token(name, scope)
        if file is not None:
            _add(file, name, as_toml(stored))
        if as_json:
            print_json({"token": secret, **stored.model_dump(mode="json"), "file": str(file) if file else None})
            return
        out.print(secret, soft_wrap=True)
        if file is None:
            err.print("\nadd this to the file that server.tokens_file names:\n", style="dim")
            err.print(as_toml(stored), soft_wrap=True)
        else:
            err.print(f"its hash is in {file}; the token itself is nowhere: keep it", style="dim", soft_wrap=True)


def _add(file: Path, name: str, entry: str) -> None:
    """Append an entry; the file is made readable for its owner alone."""
    if file.exists() and any(known.name == name for known in read_tokens(file)):
        raise ConfigError(f"{file} has a token {name!r} already; remove its entry, or choose another name")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
            stream.write(("\n" if stream.tell() else "") + entry)
    except OSError as exc:
        raise ConfigError(f"{file} cannot be written: {exc.strerror}") from exc
