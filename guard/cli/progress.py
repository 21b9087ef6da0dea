"""Bars on standard error for work that takes a while. Knows counts and the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guard.cli.console import err

__all__ = ["counted", "staged"]


@contextmanager
def counted(what: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what is told (pictures done, all or None if unknown): a bar with rate and time left; nothing if quiet.

    The bar appears when it is first told something.
    """
    if quiet:
        yield lambda _done, _total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="", visible=False)

        def on_progress(done: int, total: int | None) -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:.0f} images/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate, visible=True)

        yield on_progress


@contextmanager
def staged(*, quiet: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield what is told (stage, done, all or None if unknown): a bar for each stage, with the time left."""
    if quiet:
        yield lambda _stage, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield progress
