"""The dashboard for whoever looks for a cause: what runs, where time goes, what fails. Names metrics; draws nothing."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import JOB, PIPELINE, Query, Section, heat, lines, page, quantile, states

__all__ = ["TITLE", "UID", "detail"]

UID, TITLE = "memguard-detail", "memguard detail"
RATE = "[$__rate_interval]"


def detail() -> Dashboard:
    return page(
        UID,
        TITLE,
        "What runs, where the time goes, and what fails.",
        [_runs(), _time(), _failures(), _similarity(), _log(), _sidecar()],
        other=("memguard-overview", "memguard overview"),
    )


def _runs() -> Section:
    each = "{{index}} {{instance}}"
    return Section(
        "What runs",
        [
            states("Version", "Of the guard.", [Query(f"memguard_build_info{{{JOB}}}", "{{instance}} {{version}}")]),
            states(
                "Embedder",
                "And where it runs. A bar that ends while another of the same instance begins is a change of provider.",
                [Query(f"memguard_embedder_info{{{JOB}}} == 1", "{{instance}} {{name}} {{provider}}")],
            ),
            lines(
                "Thresholds",
                "Similarity from which the action is taken.",
                [Query(f"memguard_threshold{{{JOB}}}", "{{action}} {{collection}} {{instance}}")],
            ),
            lines("References", "In the index.", [Query(f"memguard_index_vectors{{{JOB}}}", each)]),
            lines(
                "Index loaded",
                "Time since each instance loaded its index: it falls to 0 at a restart or a swap.",
                [Query(f"time() - memguard_index_loaded_timestamp_seconds{{{JOB}}}", each)],
                unit="s",
            ),
        ],
    )


def _time() -> Section:
    by_stage = f"sum by (le, stage) (rate(memguard_stage_duration_seconds_bucket{{{JOB}}}{RATE}))"
    batches = f"sum by (pipeline) (rate(memguard_batch_images_sum{{{PIPELINE}}}{RATE}))"
    return Section(
        "Where the time goes",
        [
            heat(
                "Time of a check",
                "All checks, by how long they took.",
                f"sum by (le) (increase(memguard_check_duration_seconds_bucket{{{PIPELINE}}}{RATE}))",
                unit="s",
            ),
            lines(
                "Time of a stage, 99 of 100",
                "Each stage by itself.",
                [Query(quantile(0.99, by_stage), "{{stage}}")],
                unit="s",
            ),
            lines(
                "Seconds spent in each stage",
                "In every second of the clock: what adds up to 2 keeps two cores, or two waiting checks, busy.",
                [Query(f"sum by (stage) (rate(memguard_stage_duration_seconds_sum{{{JOB}}}{RATE}))", "{{stage}}")],
                unit="s",
                stacked=True,
            ),
            lines(
                "Images a check",
                "The mean.",
                [
                    Query(
                        f"{batches} / (sum by (pipeline) (rate(memguard_batch_images_count{{{PIPELINE}}}{RATE})) > 0)",
                        "{{pipeline}}",
                    )
                ],
            ),
            lines(
                "In check",
                "Images being checked now, by instance.",
                [Query(f"sum by (instance) (memguard_inflight_images{{{PIPELINE}}})", "{{instance}}")],
            ),
        ],
    )


def _failures() -> Section:
    return Section(
        "What fails",
        [
            lines(
                f"Failures by {word}",
                "Images a second whose check failed.",
                [Query(f"sum by ({label}) (rate(memguard_failures_total{{{PIPELINE}}}{RATE}))", f"{{{{{label}}}}}")],
            )
            for word, label in (
                ("stage", "stage"),
                ("reason", "reason"),
                ("pipeline", "pipeline"),
                ("instance", "instance"),
            )
        ]
        + [
            lines(
                "Not checked",
                "Outputs a second that were skipped, by reason; and originals a second that could not be read, so that "
                "their pixels were not compared.",
                [
                    Query(f"sum by (reason) (rate(memguard_skipped_total{{{PIPELINE}}}{RATE}))", "{{reason}}"),
                    Query(f'sum(rate(memguard_originals_total{{{JOB},result!="read"}}{RATE}))', "originals"),
                ],
            )
        ],
    )


def _similarity() -> Section:
    nearest = f"sum by (le) (rate(memguard_top1_similarity_bucket{{{PIPELINE}}}{RATE}))"
    return Section(
        "Similarity and decisions",
        [
            lines(
                "Similarity of the nearest reference",
                "Half of the images are less similar than the first line, nine of ten than the second.",
                [Query(quantile(q, nearest), f"{q}") for q in (0.5, 0.9, 0.99)],
                least=None,
            ),
            lines(
                "Decisions by mode",
                "Images a second.",
                [
                    Query(
                        f"sum by (mode, decision) (rate(memguard_images_total{{{PIPELINE}}}{RATE}))",
                        "{{mode}} {{decision}}",
                    )
                ],
            ),
        ],
    )


def _log() -> Section:
    return Section(
        "Decision log",
        [
            lines(
                "Events lost",
                "Events a second that the log could not keep, by reason.",
                [Query(f"sum by (reason) (rate(memguard_events_dropped_total{{{JOB}}}{RATE}))", "{{reason}}")],
            ),
            lines(
                "Reviews",
                "In an hour, by outcome.",
                [Query(f"sum by (outcome) (increase(memguard_reviews_total{{{JOB}}}[1h]))", "{{outcome}}")],
            ),
        ],
    )


def _sidecar() -> Section:
    by_route = f"sum by (le, route) (rate(memguard_http_request_duration_seconds_bucket{{{JOB}}}{RATE}))"
    return Section(
        "Sidecar",
        [
            lines(
                "Requests",
                "Answered ones a second, by route and status.",
                [
                    Query(
                        f"sum by (route, code) (rate(memguard_http_requests_total{{{JOB}}}{RATE})) > 0",
                        "{{route}} {{code}}",
                    )
                ],
            ),
            lines(
                "Time of a request, 99 of 100",
                "From its arrival to the end of its answer.",
                [Query(quantile(0.99, by_route), "{{route}}")],
                unit="s",
            ),
            lines(
                "Failed requests",
                "Share of the requests that were answered with 5xx.",
                [Query("job:memguard_http_errors:ratio_rate5m{" + JOB + "}", "{{job}}")],
                unit="percentunit",
            ),
            lines(
                "Canaries",
                "Checks of pictures whose verdict is known, in ten minutes, by result.",
                [Query(f"sum by (result) (increase(memguard_canary_checks_total{{{JOB}}}[10m]))", "{{result}}")],
            ),
            lines(
                "New versions of the index",
                "In an hour, by result.",
                [
                    Query(
                        f"sum by (index, result) (increase(memguard_index_reloads_total{{{JOB}}}[1h]))",
                        "{{index}} {{result}}",
                    )
                ],
            ),
        ],
    )
