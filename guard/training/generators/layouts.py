"""Pages and screens: panels, frames, charts, controls and blocks of invented writing. Knows boxes; no photographs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from guard.training.generators import expressions, leaves, scenes, spectra, stills
from guard.training.generators.base import Canvas, Sources
from guard.training.generators.colours import palette
from guard.training.generators.glyphs import Script, make_script, write_block, write_line
from guard.training.generators.shapes import OUTLINES, Painter, ellipse, outline, rectangle

__all__ = ["draw"]

PICTURES = (leaves.draw, expressions.draw, spectra.draw, scenes.draw, stills.draw)
Box = tuple[float, float, float, float]
"""left, top, right, bottom in px."""


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    dice: Sources
    painter: Painter
    colours: Canvas
    ink: Canvas
    script: Script
    pictures: tuple[Canvas, ...]
    height: float
    """Of running text, px."""
    gap: float


def draw(dice: Sources, size: int) -> Canvas:
    program, content = dice.program, dice.content
    colours = palette(program, 7)
    if program.chance(0.6):  # mostly paper, or mostly a dark screen
        ground = program.pick((0.98, 0.93, 0.12, 0.2))
        colours[:4] = np.clip(ground + 0.025 * program.normals(4, 3), 0, 1)
    ink = np.clip(1 - colours[0].mean().round() + 0.1 * program.normals(3), 0, 1).astype(np.float32)
    page = _Page(
        dice,
        Painter.plain(size, colours[0]),
        colours,
        ink,
        make_script(program),
        tuple(
            PICTURES[program.integer(0, len(PICTURES))](dice, max(64, size // 2)) for _ in range(program.integer(1, 3))
        ),
        size * program.log_uniform(0.018, 0.09),
        program.pick((0.0, 0.0, 1.5, 3.0, 6.0)) * size / 176,
    )
    margin = program.pick((0.0, 0.0, 0.04, 0.08)) * size
    whole = (margin, margin, size - margin, size - margin)
    if program.chance(0.45):
        whole = _window(page, whole)
    _split(page, whole, program.integer(1, 5))
    if program.chance(0.15):  # a dialogue over it
        cx, cy = dice.layout.uniforms(0.3, 0.7, 2) * size
        w, h = dice.layout.uniforms(0.2, 0.6, 2) * size
        page.painter.fill(rectangle(cx + 3, cy + 4, w, h), page.colours[0] * 0.4)
        page.painter.fill(rectangle(cx, cy, w, h), page.colours[content.integer(0, 7)])
        _text(page, (cx - w / 2 + 4, cy - h / 2 + 4, cx + w / 2 - 4, cy + h / 2 - 4))
    return page.painter.canvas()


def _window(page: _Page, box: Box) -> Box:
    """A title bar with its knobs, and a status line."""
    left, top, right, bottom = box
    bar = page.dice.program.uniform(0.05, 0.12) * page.painter.size
    page.painter.fill(_points((left, top, right, top + bar)), page.colours[5])
    for i in range(page.dice.program.integer(0, 4)):
        page.painter.fill(ellipse(right - (i + 0.6) * bar, top + bar / 2, bar * 0.25, bar * 0.25), page.colours[6 - i])
    corner = (left + bar * 0.4, top + bar * 0.25)
    write_line(page.painter, page.dice.content, page.script, corner, bar * 0.5, 14, page.ink, right - 3 * bar)
    return left, top + bar, right, bottom


def _split(page: _Page, box: Box, depth: int) -> None:
    layout = page.dice.layout
    left, top, right, bottom = box
    w, h = right - left, bottom - top
    cut = layout.uniform(0.2, 0.8)
    upright = layout.chance(0.5) if 0.6 < w / max(h, 1) < 1.6 else w > h
    if depth == 0 or max(w, h) < 0.17 * page.painter.size or layout.chance(0.12):
        _fill(page, (left + page.gap, top + page.gap, right - page.gap, bottom - page.gap))
    elif upright:
        _split(page, (left, top, left + cut * w, bottom), depth - 1)
        _split(page, (left + cut * w, top, right, bottom), depth - 1)
    else:
        _split(page, (left, top, right, top + cut * h), depth - 1)
        _split(page, (left, top + cut * h, right, bottom), depth - 1)


def _fill(page: _Page, box: Box) -> None:
    if box[2] - box[0] < 5 or box[3] - box[1] < 5:
        return
    content = page.dice.content
    page.painter.fill(_points(box), page.colours[content.integer(0, 7)])
    kinds = (_picture, _text, _headline, _chart, _plot, _table, _icons, _nothing)
    content.pick(kinds, (3, 3, 1.2, 0.8, 0.8, 0.7, 1, 0.6))(page, box)


def _nothing(page: _Page, box: Box) -> None:
    del page, box


def _picture(page: _Page, box: Box) -> None:
    left, top, right, bottom = (round(v) for v in box)
    picture = page.pictures[page.dice.content.integer(0, len(page.pictures))]
    fitted = cv2.resize(picture, (max(1, right - left), max(1, bottom - top)), interpolation=cv2.INTER_AREA)
    part = page.painter.picture[top:bottom, left:right]
    part[:] = (np.clip(fitted, 0, 1) * 255).astype(np.uint8)[: part.shape[0], : part.shape[1]]


def _text(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    height = page.height * page.dice.content.pick((0.7, 1.0, 1.0, 1.5))
    inner = (left + 0.5 * height, top + 0.5 * height, right - 0.5 * height, bottom - 0.3 * height)
    write_block(page.painter, page.dice.content, page.script, inner, height, page.ink)


def _headline(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    height = min(0.6 * (bottom - top), 0.25 * page.painter.size)
    colour = page.colours[page.dice.content.integer(0, 7)] * 0.4 + page.ink * 0.6
    write_line(page.painter, page.dice.content, page.script, (left + 3, top + 0.2 * height), height, 12, colour, right)


def _chart(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    count = page.dice.content.integer(3, 14)
    step = (right - left) / count
    for i, share in enumerate(page.dice.layout.uniforms(0.05, 0.95, count)):
        x = left + i * step
        page.painter.fill(
            _points((x, bottom - share * (bottom - top), x + 0.7 * step, bottom)), page.colours[4 + i % 3]
        )


def _plot(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    for k in range(page.dice.content.integer(1, 4)):
        walk = np.cumsum(page.dice.layout.normals(30))
        share = (walk - walk.min()) / (np.ptp(walk) + 1e-6)
        points = np.stack([np.linspace(left, right, 30), bottom - (0.1 + 0.8 * share) * (bottom - top)], axis=-1)
        page.painter.line(points, page.colours[4 + k], 1.5)
    page.painter.line(np.array([[left, top], [left, bottom], [right, bottom]]), page.ink, 1)


def _table(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    rows, columns = page.dice.content.integer(2, 7), page.dice.content.integer(2, 5)
    for y in np.linspace(top, bottom, rows + 1)[:-1]:
        page.painter.line(np.array([[left, y], [right, y]]), page.ink, 1)
        for x in np.linspace(left, right, columns + 1)[:-1]:
            height = min(page.height, 0.6 * (bottom - top) / rows)
            stop = x + (right - left) / columns
            write_line(page.painter, page.dice.content, page.script, (x + 2, y + 2), height, 5, page.ink, stop)


def _icons(page: _Page, box: Box) -> None:
    left, top, right, bottom = box
    content, side = page.dice.content, page.painter.size * page.dice.content.uniform(0.05, 0.16)
    for y in np.arange(top + side / 2, bottom - side / 3, side * 1.2):
        for x in np.arange(left + side / 2, right - side / 3, side * 1.2):
            kind = OUTLINES[content.integer(0, len(OUTLINES))]
            page.painter.fill(outline(content, kind, x, y, side * 0.4), page.colours[content.integer(3, 7)])


def _points(box: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
