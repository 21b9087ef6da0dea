"""The few kinds of panel that the dashboards are made of, in the words of grafana-foundation-sdk. Knows no metric.

A panel is drawn from queries; `$job` and `$pipeline` are what its reader has chosen at the top of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as dashboards
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = ["JOB", "PIPELINE", "Panel", "Query", "Section", "heat", "lines", "number", "page", "quantile", "states"]

JOB = 'job=~"$job"'
PIPELINE = f'{JOB}, pipeline=~"$pipeline"'
"""Matchers for what the reader has chosen."""

Panel = Builder[dashboards.Panel]
SOURCE = dashboards.DataSourceRef(type_val="prometheus", uid="$datasource")
NUMBER_WIDTH, WIDTH = 4, 12  # of 24


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = "__auto"
    """In Grafana's form: "{{stage}}"."""


@dataclass(frozen=True, slots=True)
class Section:
    """A row and the panels under it."""

    title: str
    panels: Sequence[Panel]


def number(title: str, text: str, expr: str, *, unit: str = "short", bad: float | None = None) -> Panel:
    """One large number of now. bad: red from there on, green below; None: no colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .span(NUMBER_WIDTH)
        .height(4)
        .graph_mode(models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(prometheus.Dataquery().expr(expr).instant().ref_id("A").datasource(SOURCE))
    )
    steps = [dashboards.Threshold(value=None, color="green" if bad is not None else "text")]
    if bad is not None:
        steps.append(dashboards.Threshold(value=bad, color="red"))
    return panel.thresholds(ThresholdsConfig().mode(dashboards.ThresholdsMode.ABSOLUTE).steps(steps))


def lines(
    title: str,
    text: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    bounds: Sequence[float] = (),
    stacked: bool = False,
    least: float | None = 0,
) -> Panel:
    """Series over time. bounds: values at which a dashed line is drawn. least: bottom of the axis."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .span(WIDTH)
        .height(8)
        .line_width(1)
        .fill_opacity(40 if stacked else 5)
        .show_points(models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(models.LegendDisplayMode.TABLE)
            .placement(models.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING))
    )
    if least is not None:
        panel = panel.min(least)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(models.StackingMode.NORMAL).group("A"))
    if bounds:
        steps = [dashboards.Threshold(value=None, color="transparent")]
        steps += [dashboards.Threshold(value=bound, color="red") for bound in bounds]
        panel = panel.thresholds(ThresholdsConfig().mode(dashboards.ThresholdsMode.ABSOLUTE).steps(steps))
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(models.GraphThresholdsStyleMode.DASHED))
    for target in _targets(queries):
        panel = panel.with_target(target)
    return panel


def heat(title: str, text: str, expr: str, *, unit: str = "short") -> Panel:
    """A histogram over time; the expression keeps the label `le`."""
    query = (
        prometheus.Dataquery()
        .expr(expr)
        .range()
        .format(PromQueryFormat.HEATMAP)
        .legend_format("{{le}}")
        .ref_id("A")
        .datasource(SOURCE)
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(WIDTH)
        .height(8)
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Turbo").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .with_target(query)
    )


def states(title: str, text: str, queries: Sequence[Query]) -> Panel:
    """One bar a series, as long as the series is there."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(WIDTH)
        .height(8)
        .show_value(models.VisibilityMode.NEVER)
        .merge_values(True)
    )
    for target in _targets(queries):
        panel = panel.with_target(target)
    return panel


def page(uid: str, title: str, text: str, sections: Sequence[Section], *, other: tuple[str, str]) -> Dashboard:
    """A dashboard. other: uid and title of the one that is a click away."""
    link = DashboardLink(other[1]).type(dashboards.DashboardLinkType.LINK).url(f"/d/{other[0]}")
    built = (
        Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["memorization-guard"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .readonly()
        .tooltip(dashboards.DashboardCursorSync.CROSSHAIR)
        .link(link.include_vars(True).keep_time(True))
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_choice("job", "label_values(memguard_build_info, job)"))
        .with_variable(_choice("pipeline", f"label_values(memguard_images_total{{{JOB}}}, pipeline)"))
    )
    for section in sections:
        built = built.with_row(Row(section.title))
        for panel in section.panels:
            built = built.with_panel(panel)
    return built


def quantile(share: float, buckets: str) -> str:
    """The value that so many stay below. Absent, and not NaN, where nothing was counted."""
    return f"histogram_quantile({share}, {buckets}) >= 0"


def _targets(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(q.expr).range().legend_format(q.legend).ref_id(chr(65 + i)).datasource(SOURCE)
        for i, q in enumerate(queries)
    ]


def _choice(name: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .query(query)
        .datasource(SOURCE)
        .refresh(dashboards.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboards.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboards.VariableOption(text="All", value="$__all", selected=True))
    )
