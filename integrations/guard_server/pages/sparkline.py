"""A row of numbers -> the path of a small SVG. Knows geometry alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HEIGHT", "WIDTH", "Sparkline", "sparkline"]

WIDTH, HEIGHT = 240, 44
PAD = 2.0  # so that a line of some width is not cut at the edge


@dataclass(frozen=True, slots=True)
class Sparkline:
    line: str
    """The `d` of a path; gaps where there was no number."""
    area: str
    """The same, closed down to the ground."""
    width: int = WIDTH
    height: int = HEIGHT


def sparkline(values: Sequence[float | None], *, least: float = 0.0) -> Sparkline | None:
    """values: oldest first, none negative. least: the top of the picture stands for at least so much.

    The ground is 0; a number that stands alone is a dot. None if no number is known.
    """
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    top = max([least, *numbers]) or 1.0
    step = (WIDTH - 2 * PAD) / max(1, len(values) - 1)
    pieces: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((PAD + i * step, HEIGHT - PAD - (HEIGHT - 2 * PAD) * value / top))
    ground = f"{HEIGHT - PAD:g}"
    known = [piece for piece in pieces if piece]
    areas = [f"{_path(piece)} L{piece[-1][0]:.1f} {ground} L{piece[0][0]:.1f} {ground} Z" for piece in known]
    return Sparkline(" ".join(map(_path, known)), " ".join(areas))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("h0" if len(points) == 1 else "")
