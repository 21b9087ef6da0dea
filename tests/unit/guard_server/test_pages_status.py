"""The status page says what the metrics say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from guard import GuardMetrics
from guard_server.pages.rendering import age, compact, milliseconds, percent, when
from guard_server.pages.sparkline import HEIGHT, WIDTH, sparkline
from guard_server.pages.trends import POINTS, Counts, Trends, counts_of, quantile
from tests.support.events import blocked
from tests.support.pages import checked, paged_guard
from tests.support.served import client_of, toy_guard


def counts(at: float, allow: float, block: float, seconds: tuple[tuple[float, float], ...] = ()) -> Counts:
    return Counts(at, {"allow": allow, "block": block}, seconds=seconds)


def test_the_page_shows_the_metrics_of_its_guard(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard, pipelines=["web", "quiet"]) as client:
        checked(client, guard, 3, 99, 4)
        page = client.get("/status").text
    rows = re.findall(r'<th scope="row">(\w+)</th>((?:<td[^>]*>[^<]*</td>)+)', page)
    assert {name: re.findall(r">(\d+)<", cells) for name, cells in rows} == {
        "web": ["1", "0", "2", "0", "0"],
        "quiet": ["0", "0", "0", "0", "0"],
    }
    assert "Ready" in page
    assert "mode enforce" in page
    assert "an.index, version 0001" in page
    assert "flag 0.800, block 0.950" in page
    assert "67%" in page


def test_it_says_what_is_wrong() -> None:
    guard = toy_guard()
    guard.index._rows = guard.index._rows[:0]  # type: ignore[attr-defined]
    guard.index.manifest.count = 0
    with client_of(guard) as client:
        page = client.get("/status").text
        review = client.get("/review").text
    assert "Not ready" in page
    assert "the index is empty" in page
    assert "No decision log is kept" in review


def test_counts_are_read_off_the_registry() -> None:
    metrics = GuardMetrics()
    metrics.count(blocked(3))
    with metrics.check("p", 1):
        pass
    found = counts_of(metrics.collect(), 5.0)
    assert (found.at, found.decisions["block"], found.decisions["allow"], found.failures) == (5.0, 3, 0, 0)
    assert found.seconds[-1] == (math.inf, 1)


def test_intervals_are_what_happened_between_samples() -> None:
    trends = Trends()
    assert trends.intervals(counts(0, 0, 0)) == []
    assert trends.whole(counts(0, 0, 0)) is None
    trends.add(counts(0, 10, 0))
    trends.add(counts(60, 20, 10))
    first, second = trends.intervals(counts(90, 20, 10))
    assert (first.images, first.marked, first.per_minute, first.marked_share) == (20, 10, 20, 0.5)
    assert (second.images, second.marked_share, second.p50_s) == (0, None, None)
    whole = trends.whole(counts(120, 30, 20))
    assert whole is not None
    assert (whole.images, whole.marked_share, whole.per_minute) == (40, 0.5, 20)


def test_the_ring_is_bounded_and_begins_anew_when_counters_go_back() -> None:
    trends = Trends(kept=200)
    for i in range(1000):
        trends.add(counts(i, i, 0))
    found = trends.intervals(counts(1000, 1000, 0))
    assert len(found) <= POINTS
    assert found[-1].end == 1000
    assert found[0].start >= 800
    assert all(interval.images == interval.end - interval.start for interval in found)
    trends.add(counts(1001, 5, 0))
    assert trends.intervals() == []


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ([], 0.5, None),
        ([(0.1, 0), (math.inf, 0)], 0.5, None),
        ([(0.1, 4), (0.2, 8), (math.inf, 8)], 0.5, 0.1),
        ([(0.1, 4), (0.2, 8), (math.inf, 8)], 0.75, 0.15),
        ([(0.1, 4), (0.2, 4), (math.inf, 8)], 0.99, 0.2),
        ([(0.1, 4), (math.inf, 4)], 0.5, 0.05),
    ],
)
def test_quantiles_are_those_of_histogram_quantile(
    buckets: list[tuple[float, float]], q: float, expected: float | None
) -> None:
    found = quantile(buckets, q)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_sparkline_stays_in_its_frame_and_leaves_gaps() -> None:
    assert sparkline([]) is None
    assert sparkline([None, None]) is None
    line = sparkline([0.0, 5.0, None, 2.0, None, 1.0, 1.0])
    assert line is not None
    assert line.line.count("M") == 3
    assert "h0" in line.line, "a number that stands alone is a dot"
    numbers = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", line.line)]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in numbers)
    assert min(y for _, y in numbers) == numbers[1][1], "the largest number is on top"


def test_numbers_for_people() -> None:
    assert [compact(x) for x in (None, math.nan, 0, 0.44, 9.96, 12.4, 3400)] == [
        "–",
        "–",
        "0",
        "0.4",
        "10.0",
        "12",
        "3,400",
    ]
    assert [percent(x) for x in (None, 0, 0.0001, 0.0123, 0.5)] == ["–", "0%", "< 0.1%", "1.2%", "50%"]
    assert [milliseconds(x) for x in (None, 0.0123, 0.999, 2.5)] == ["–", "12 ms", "999 ms", "2.5 s"]
    assert [age(0, now) for now in (-5, 5, 60, 7200, 86400, 864000)] == [
        "in the future", "just now", "1 minute ago", "2 hours ago", "1 day ago", "10 days ago",
    ]  # fmt: skip
    assert when(0) == "1970-01-01 00:00 UTC"
