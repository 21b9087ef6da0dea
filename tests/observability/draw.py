"""Pictures of the panels, drawn from what their own queries answer. Knows matplotlib; not what Grafana looks like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.observability import panels
from tests.observability.panels import Panel
from tests.observability.prometheus import Series
from tests.observability.scenario import Recorded

__all__ = ["draw"]

WIDE, HIGH, NUMBERS = 7.0, 2.5, 3  # inches of a panel, and how many numbers stand in the place of one
BARS = 14  # in the height of one panel
MOST = 10  # series that a legend names
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


def _values(panel: Panel, recorded: Recorded) -> list[tuple[str, Series]]:
    """What a panel shows: legend and series, of each of its queries."""
    found = []
    for target in panel.targets:
        expr = target.concrete(recorded.pace)
        answer = recorded.prometheus.range(expr, recorded.began, recorded.ended)
        found += [(_legend(target.legend, series), series) for series in answer]
    return found


def draw(recorded: Recorded, folder: Path) -> list[Path]:
    """One PNG a section into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (dashboard, section), members in groupby(panels.read(), key=lambda panel: (panel.dashboard, panel.section)):
        shown = list(members)
        numbers = [panel for panel in shown if panel.kind == "stat"]
        graphs = [panel for panel in shown if panel.kind != "stat"]
        tall = [HIGH * max(1.0, _bars_of(panel, recorded) / BARS) for panel in graphs]
        rows = [max(pair) for pair in zip_longest(tall[::2], tall[1::2], fillvalue=HIGH)]
        heights = ([1.3] if numbers else []) + rows
        figure = Figure(figsize=(2 * WIDE, sum(heights)), layout="constrained", dpi=80)
        grid = figure.add_gridspec(len(heights), 2 * NUMBERS, height_ratios=heights)
        for place, panel in enumerate(numbers):
            _number(figure.add_subplot(grid[0, place]), panel, recorded)
        for place, panel in enumerate(graphs):
            row, column = divmod(place, 2)
            cells = slice(column * NUMBERS, (column + 1) * NUMBERS)
            axes = figure.add_subplot(grid[row + bool(numbers), cells])
            _graph(axes, panel, recorded)
        path = folder / panels.picture_of(dashboard, section)
        figure.savefig(path)
        written.append(path)
    return written


def _legend(text: str, series: Series) -> str:
    if text in ("", "__auto"):
        named = ", ".join(value for label, value in sorted(series.labels.items()) if not label.startswith("__"))
    else:
        named = re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), text)
    return named.replace("127.0.0.1", "").strip()


def _bars_of(panel: Panel, recorded: Recorded) -> int:
    return len({legend for legend, _ in _values(panel, recorded)}) if panel.kind == "state-timeline" else 0


def _number(axes: Axes, panel: Panel, recorded: Recorded) -> None:
    axes.axis("off")
    axes.set_title(panel.title, fontsize=9)
    for _, series in _values(panel, recorded):
        last = series.values[-1]
        text = f"{last / 86400:.0f} d" if panel.title.startswith("Age") else f"{last:.0f}"
        axes.text(0.5, 0.4, text, fontsize=22, ha="center", va="center", transform=axes.transAxes)


def _graph(axes: Axes, panel: Panel, recorded: Recorded) -> None:
    found = _values(panel, recorded)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.axvline(recorded.ill - recorded.began, color="#888888", linestyle=":", linewidth=1)
    axes.set_xlim(0, recorded.ended - recorded.began)
    axes.tick_params(labelsize=8)
    if panel.kind == "heatmap":
        _heat(axes, [series for _, series in found], recorded)
        return
    if panel.kind == "state-timeline":
        _bars(axes, found, recorded)
        return
    largest = sorted(found, key=lambda pair: -max(pair[1].values))[:MOST]
    for place, (legend, series) in enumerate(largest):
        x, y = _gaps(series, recorded)
        colour, style = COLOURS[place % len(COLOURS)], "-" if place < len(COLOURS) else "--"
        axes.plot(x, y, linewidth=1.2, label=legend or panel.title, color=colour, linestyle=style)
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False)


def _gaps(series: Series, recorded: Recorded) -> tuple[Any, Any]:
    """x in seconds since the beginning; NaN where the series was away."""
    x, y = np.asarray(series.times) - recorded.began, np.asarray(series.values)
    step_s = recorded.pace.step_s
    away = np.nonzero(np.diff(x) > step_s + 0.5)[0] + 1
    return np.insert(x, away, x[away - 1] + step_s), np.insert(y, away, np.nan)


def _heat(axes: Axes, found: Sequence[Series], recorded: Recorded) -> None:
    ordered = sorted(found, key=lambda series: float(series.labels["le"]))
    times = sorted({time for series in ordered for time in series.times})
    cumulative = np.zeros((len(ordered) + 1, len(times)))
    for row, series in enumerate(ordered, 1):
        cumulative[row] = np.interp(times, series.times, series.values)
    counts = np.clip(np.diff(cumulative, axis=0), 0, None)
    axes.pcolormesh(np.asarray(times) - recorded.began, range(len(ordered)), counts, cmap="turbo", shading="nearest")
    labels = [series.labels["le"] for series in ordered]
    step = max(1, len(labels) // 10)
    axes.set_yticks(range(0, len(labels), step), labels[::step], fontsize=7)


def _bars(axes: Axes, found: Sequence[tuple[str, Series]], recorded: Recorded) -> None:
    names = sorted({legend for legend, _ in found}, reverse=True)
    step_s = recorded.pace.step_s
    for legend, series in found:
        spans: list[tuple[float, float]] = []
        for time in series.times:
            began = time - recorded.began
            if spans and began - (spans[-1][0] + spans[-1][1]) < step_s + 0.5:
                spans[-1] = (spans[-1][0], began - spans[-1][0] + step_s)
            else:
                spans.append((began, step_s))
        row = names.index(legend)
        axes.broken_barh(spans, (row - 0.4, 0.8), color=COLOURS[row % len(COLOURS)])
    axes.set_yticks(range(len(names)), names, fontsize=7)
