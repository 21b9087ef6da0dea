"""The folder of an audit, or of the generations of a calibration: its settings and every generation. Knows files.

What was killed goes on where it was.

state/
  settings.json                          what must not change from one run to the next
  LOCK                                   held by the one audit that writes
  generations/<prompt>/<number>.webp     lossless; each is there whole or not at all
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from guard.audit.distance import Pictures
from guard.audit.prompts import Prompt
from guard.decode import ImageFileError, decode
from guard.errors import ConfigError
from guard.indexes.layout import LOCK, lock_folder
from guard.pixels import RGBArray
from guard.wholefile import whole_file

__all__ = ["State", "opened"]

SETTINGS, GENERATIONS = "settings.json", "generations"
SUFFIX = ".webp"


class State:
    """Generations of an audit on disk; see `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers: dict[str, set[int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def numbers(self, prompt: Prompt) -> list[int]:
        """Numbers of the generations that are there, ascending."""
        return sorted(self._known(prompt))

    def missing(self, prompt: Prompt, generations: int) -> list[int]:
        """Numbers below `generations` that are not there, ascending."""
        known = self._known(prompt)
        return [number for number in range(generations) if number not in known]

    def count(self) -> int:
        """How many generations are there, of whatever prompts."""
        return sum(1 for _ in (self.folder / GENERATIONS).glob(f"*/*{SUFFIX}"))

    def write(self, prompt: Prompt, number: int, picture: RGBArray) -> None:
        """Raises ConfigError if there is no room."""
        from PIL import Image

        path = self._path(prompt, number)
        new = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(new, "WEBP", lossless=True, method=0, quality=20)
            new.replace(path)
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written ({exc.strerror or exc}); make room, or name another --state; "
                              "the same command goes on") from exc  # fmt: skip
        self._known(prompt).add(number)

    def read(self, prompt: Prompt, numbers: Sequence[int]) -> tuple[Pictures, list[int]]:
        """Generations of these numbers, as (n, h, w, 3), and the numbers of those that can be read.

        One that a power cut damaged is deleted, to be made again. Pictures of another size than the first of all are
        left out: they cannot be compared.
        """
        found: list[tuple[int, RGBArray]] = []
        for number in numbers:
            picture = self._one(prompt, number)
            if picture is not None:
                shape = self._shapes.setdefault(prompt.key, picture.shape)
                if picture.shape == shape:
                    found.append((number, picture))
        if not found:
            return np.zeros((0, 1, 1, 3), np.uint8), []
        return np.stack([picture for _, picture in found]), [number for number, _ in found]

    def _one(self, prompt: Prompt, number: int) -> RGBArray | None:
        if number not in self._known(prompt):
            return None
        try:
            return decode(self._path(prompt, number)).rgb
        except ImageFileError:
            self._known(prompt).discard(number)
            self._path(prompt, number).unlink(missing_ok=True)
            return None

    def _known(self, prompt: Prompt) -> set[int]:
        key = prompt.key
        if key not in self._numbers:
            folder = self.folder / GENERATIONS / key
            stems = [path.stem for path in folder.glob(f"*{SUFFIX}")] if folder.is_dir() else []
            self._numbers[key] = {int(stem) for stem in stems if stem.isdecimal()}
        return self._numbers[key]

    def _path(self, prompt: Prompt, number: int) -> Path:
        return self.folder / GENERATIONS / prompt.key / f"{number:06d}{SUFFIX}"


@contextmanager
def opened(folder: Path, settings: Mapping[str, Any], *, restart: bool = False) -> Iterator[State]:
    """Open or begin the state of an audit or a calibration, and hold its lock.

    settings: plain JSON values that generations depend on; `clean` is true of a calibration's. restart: drop what is
    there. Raises IndexLockedError if another process holds it, ConfigError if it was begun with other settings, or if
    the folder is not one.
    """
    _check_ours(folder)
    with lock_folder(folder):
        if restart:
            shutil.rmtree(folder / GENERATIONS, ignore_errors=True)
            (folder / SETTINGS).unlink(missing_ok=True)
        _agree(folder / SETTINGS, settings)
        yield State(folder)


def _check_ours(folder: Path) -> None:
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be read ({exc.strerror}); name another folder with --state") from exc
    foreign = {
        name
        for name in names - {SETTINGS, LOCK, GENERATIONS}
        if not (name.startswith(SETTINGS) and name.endswith(".new"))
    }
    if foreign:
        raise ConfigError(f"{folder} holds other files ({min(foreign)}, ...); name a new folder with --state")


def _agree(path: Path, settings: Mapping[str, Any]) -> None:
    if not path.exists():
        with whole_file(path) as new:
            new.write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read ({exc}); begin anew with --restart") from exc
    if bool(before.get("clean")) != bool(settings.get("clean")):
        there = "a calibration (memguard calibrate --pipeline)" if before.get("clean") else "an audit (memguard audit)"
        raise ConfigError(f"{path.parent} holds the generations of {there}; name another folder with --state")
    differing = [name for name in sorted({*settings, *before}) if before.get(name) != settings.get(name)]
    if differing:
        said = ", ".join(f"{name} was {before.get(name)!r} and is {settings.get(name)!r}" for name in differing)
        raise ConfigError(_other(path.parent, said, clean=bool(settings.get("clean"))))


def _other(folder: Path, said: str, *, clean: bool) -> str:
    """What to do with generations that were made with other settings, in words."""
    if not clean:
        return f"{folder} belongs to another audit ({said}); name another --state, or begin anew with --restart"
    return (
        f"the clean pictures in {folder} were made with other settings ({said}): name another --state for new ones, "
        f"drop these with --restart, or calibrate with them as they are: --clean {folder / GENERATIONS}"
    )
