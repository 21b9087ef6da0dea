"""What `memguard index build | add` do with a small set: choose it, measure it, say what was found. Knows options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard.cli.console import err, out
from guard.cli.progress import counted

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.sealing import SealingKey
    from guard.indexes.transform import Transform
    from guard.small.build import SmallReport
    from guard.sources.base import Source

__all__ = ["KeyOption", "SmallBuild", "measure_again", "named", "sealing_key", "show_small", "small_json"]

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar="MEMGUARD_INDEX_KEY_FILE",
        help="Key of sealed thumbnails: 32 random bytes, or 64 hexadecimal digits.",
    ),
]
SHOWN = 10  # pairs that are named


@dataclass(frozen=True, slots=True)
class SmallBuild:
    """A build of a small set."""

    transform: Transform | None
    note: str
    """What is not as it should be, in words."""

    @classmethod
    def choose(cls, wanted: bool | None, source: Source, embedder: Embedder, thumbnails: int) -> SmallBuild | None:
        """wanted: None decides by size: only where pictures can be counted without decoding any, and nothing lacks."""
        from guard.small.build import SIZE, small_transform
        from guard.sources.base import count_items

        if wanted is False:
            return None
        transform, why = small_transform(embedder.spec)
        lacking = [f"plain cosines are compared: {why}"] if why else []
        if not thumbnails:
            lacking.append("no thumbnails are stored, so that no pixels can be compared")
        if find_spec("cv2") is None:
            lacking.append("OpenCV is not installed (extra 'cpu'), so that no pixels can be compared")
        if wanted is None:
            if lacking or not source.survey().pixels:
                return None
            count = count_items(source, SIZE)
            if count is None or not 0 < count <= SIZE:
                return None
            err.print(f"at most {SIZE} pictures: built as a small set (--no-small for the usual way)", style="dim")
        return cls(transform, "; ".join(lacking))

    def measure(
        self, index: Path, embedder: Embedder, keep: int, *, key: SealingKey | None, quiet: bool
    ) -> SmallReport:
        """Look the set up in itself; what an unchanged build has found already is read and not done again."""
        from guard.small.build import known_report, measure_small

        known = known_report(index, note=self.note)
        if known is not None:
            return known
        with counted("comparing pairs", quiet=quiet) as on_progress:
            return measure_small(index, embedder, note=self.note, keep=keep, key=key, on_progress=on_progress)


def measure_again(
    index: Path, embedder: Embedder, keep: int, *, changed: bool, key: SealingKey | None, quiet: bool
) -> SmallReport | None:
    """After an addition; None if the index is of no small set. changed: whether anything was added."""
    from guard.indexes.layout import IndexFolder
    from guard.indexes.manifest import MANIFEST, Manifest
    from guard.small.build import known_report, measure_small
    from guard.small.record import read_small

    folder = IndexFolder(index)
    at = folder.version(folder.current())
    before = read_small(at, Manifest.read(at / MANIFEST))
    if before is None:
        return None
    known = None if changed else known_report(index, note=before.note)
    if known is not None:
        return known
    with counted("comparing pairs", quiet=quiet) as on_progress:
        return measure_small(index, embedder, note=before.note, keep=keep, key=key, on_progress=on_progress)


def sealing_key(file: Path | None) -> SealingKey | None:
    """Raises ConfigError for a file that is no key, MissingExtraError where nothing can be sealed."""
    if file is None:
        return None
    from guard.indexes.sealing import read_key

    key = read_key(file)
    key.seal(b"", "")  # now, and not after an hour of work
    return key


def named(source: Source, file: Path | None, key: SealingKey | None) -> tuple[Source, Callable[[], None]]:
    """The source with pseudonyms if a file for them is named, and what writes that file. Raises ConfigError."""
    if file is None:
        return source, lambda: None
    from guard.errors import ConfigError
    from guard.sources.private import PrivateSource

    if key is None:
        raise ConfigError("--pseudonyms needs a --key: without one anybody could find the names by trying")
    private = PrivateSource(source, key.pseudonym)

    def write() -> None:
        private.write_names(file)

    return private, write


def small_json(report: SmallReport | None) -> dict[str, Any] | None:
    """Plain JSON values."""
    if report is None:
        return None
    return {
        **report.small.model_dump(mode="json"),
        "warnings": report.small.warnings,
        "alike_pairs": [list(pair) for pair in report.alike],
    }


def show_small(report: SmallReport) -> None:
    small = report.small
    most = "" if small.strangers is None else f"two of its pictures have {small.strangers:.4f} at most, and "
    if small.count:
        out.print(
            f"small set: flag {small.flag:.4f}, block {small.block:.4f}; {most}one has {small.own:.4f} with itself; "
            "every candidate's pixels are compared",
            soft_wrap=True,
        )
    for warning in small.warnings:
        err.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    for one, other in report.alike[:SHOWN]:
        err.print(f"  {one} and {other}", style="yellow", markup=False, soft_wrap=True)
    if len(report.alike) > SHOWN:
        err.print(f"  and {len(report.alike) - SHOWN} more pairs", style="yellow")
