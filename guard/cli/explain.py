"""The evidence of `memguard check --explain`: one strip a picture, one PNG in all. Decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from guard.cli.console import err
from guard.errors import ConfigError, IndexLoadError, InputError
from guard.types import Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

    from guard.guard import Guard
    from guard.pixels import RGBArray

__all__ = ["MOST", "Strips"]

MOST = 64  # strips in one PNG: some 20,000 px high


class Strips:
    """Collects strips and writes them. Raises ConfigError at once if the file cannot be a PNG or has no folder."""

    def __init__(self, file: Path) -> None:
        if file.suffix.lower() != ".png":
            raise ConfigError(f"--explain {file}: evidence is drawn as a PNG; name a file that ends in .png")
        if not file.parent.is_dir():
            raise ConfigError(f"--explain {file}: there is no folder {file.parent}; make it first")
        self.file = file
        self._strips: list[Image] = []
        self._left_out = 0
        self._without = 0

    def add(self, guard: Guard, path: Path, pixels: RGBArray, verdict: Verdict) -> None:
        """Draw the nearest reference of a picture; pixels are compared now if the check did not."""
        from guard.verification.picture import evidence_strip

        if len(self._strips) >= MOST:
            self._left_out += 1
            return
        match = verdict.telling
        try:
            found = guard.examiner.explain(pixels, match, originals=True) if match else None
        except (InputError, IndexLoadError) as exc:
            err.print(f"not drawn: {path}: {exc}", style="yellow", soft_wrap=True)
            return
        if match is None or found is None:
            self._without += 1
            return
        word = verdict.decision.value if verdict.decision else verdict.status.value
        title = f"{word}: {path.name} | {match.record.uri}, similarity {match.similarity:.3f}"
        self._strips.append(evidence_strip(pixels, *found, title=title))

    def write(self) -> None:
        """Save the PNG, and say what is not in it."""
        from guard.verification.picture import sheet

        if self._without:
            err.print(f"{self._without} without a reference's thumbnail: not drawn", style="yellow")
        if self._left_out:
            err.print(f"{self._left_out} more than {MOST} pictures: not drawn", style="yellow")
        if not self._strips:
            err.print(f"nothing to draw: {self.file} is not written", style="yellow")
            return
        try:
            sheet(self._strips).save(self.file)
        except OSError as exc:
            raise ConfigError(f"{self.file} cannot be written ({exc.strerror}); name another with --explain") from exc
        err.print(f"evidence of {len(self._strips)} in {self.file}", style="dim", soft_wrap=True)
