"""The dashboard for whoever is on call: is it safe, is it quick, has anything shifted. Names metrics; draws nothing."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.panels import JOB, PIPELINE, Query, Section, heat, lines, number, page, quantile, states

__all__ = ["TITLE", "UID", "overview"]

UID, TITLE = "memguard-overview", "memguard overview"
RATE = "[$__rate_interval]"
FIRING = 'ALERTS{alertname=~"Memguard.+", alertstate="firing"}'


def overview() -> Dashboard:
    return page(
        UID,
        TITLE,
        "What comes out of the pipelines, and whether it was checked. What to do: docs/runbook.md.",
        [_safe(), _flags(), _load(), _index()],
        other=("memguard-detail", "memguard detail"),
    )


def _safe() -> Section:
    return Section(
        "Is it safe",
        [
            number(
                "Released unchecked, 1 h",
                "Images whose check failed and that were released all the same. Anything but 0 is for now.",
                f'sum(increase(memguard_failures_total{{{PIPELINE}, outcome="open"}}[1h]))',
                bad=0.5,
            ),
            number(
                "Withheld for a failure, 1 h",
                "Images whose check failed and that were withheld: users got placeholders.",
                f'sum(increase(memguard_failures_total{{{PIPELINE}, outcome="closed"}}[1h]))',
                bad=0.5,
            ),
            number(
                "Not checked, 1 h",
                "Outputs that were skipped: previews, latents without a VAE, forms that are unknown.",
                f"sum(increase(memguard_skipped_total{{{PIPELINE}}}[1h]))",
            ),
            number("Alerts", "Alerts of the guard that are firing.", f"sum({FIRING}) or vector(0)", bad=1),
            number(
                "Instances",
                "Processes, or groups of workers, whose metrics Prometheus reads.",
                f"sum(memguard_build_info{{{JOB}}})",
            ),
            number(
                "Age of the index",
                "Of the oldest one in use.",
                f"max(time() - memguard_index_built_timestamp_seconds{{{JOB}}})",
                unit="s",
                bad=30 * 86400,
            ),
            states("Alerts", "Each alert while it fires.", [Query(FIRING, "{{alertname}} {{pipeline}}{{instance}}")]),
            lines(
                "Failed checks",
                "Images a second whose check failed, by what became of them: open is released, closed is withheld.",
                [Query(f"sum by (outcome) (rate(memguard_failures_total{{{PIPELINE}}}{RATE}))", "{{outcome}}")],
            ),
            lines(
                "Error budget",
                "How many times faster than an objective of 99.9 % allows images fail. The alerts need 14.4 over an "
                "hour, 6 over six, 3 over a day, 1 over three.",
                [
                    Query(f"max(job_pipeline:memguard_failed:ratio_rate{window}{{{PIPELINE}}}) / 0.001", window)
                    for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
                ],
            ),
            lines(
                "Share of outputs that are not checked",
                "Over half an hour.",
                [Query(f"job_pipeline:memguard_skipped:ratio_rate30m{{{PIPELINE}}}", "{{pipeline}}")],
                unit="percentunit",
                bounds=[0.1],
            ),
        ],
    )


def _flags() -> Section:
    return Section(
        "Flags",
        [
            lines(
                "Flag rate",
                "Share of images that are flagged or blocked, of the last hour and of the day before it; and the share "
                "of clean images that the calibration expects to be.",
                [
                    Query(f"job_pipeline:memguard_flagged:ratio1h{{{PIPELINE}}}", "{{pipeline}}"),
                    Query(f"job_pipeline:memguard_flagged:ratio1d_before{{{PIPELINE}}}", "{{pipeline}}, day before"),
                    Query(f"max by (index) (memguard_expected_flag_ratio{{{JOB}}})", "{{index}}, expected if clean"),
                ],
                unit="percentunit",
            ),
            lines(
                "Shift of the flag rate",
                "The last hour against the day before it, in standard deviations. Beyond 4 either way it is no chance.",
                [Query(f"job_pipeline:memguard_flagged:shift1h{{{PIPELINE}}}", "{{pipeline}}")],
                bounds=[4],
                least=None,
            ),
            lines(
                "Decisions",
                "Images a second.",
                [Query(f"sum by (decision) (rate(memguard_images_total{{{PIPELINE}}}{RATE}))", "{{decision}}")],
                stacked=True,
            ),
            lines(
                "Would have been blocked",
                "Images a second that the modes flag and shadow let pass.",
                [Query(f"sum by (pipeline) (rate(memguard_would_block_total{{{PIPELINE}}}{RATE}))", "{{pipeline}}")],
            ),
            lines(
                "Flags of a day",
                "Seen, and expected by the week before and by the calibration. None where ten are expected is an "
                "alarm.",
                [
                    Query(f"job_pipeline:memguard_flagged:increase1d{{{PIPELINE}}}", "{{pipeline}}"),
                    Query(
                        f"job_pipeline:memguard_flagged:expected1d_by_week{{{PIPELINE}}}", "{{pipeline}}, by the week"
                    ),
                    Query(
                        f"job_pipeline:memguard_flagged:expected1d_by_calibration{{{PIPELINE}}}",
                        "{{pipeline}}, by the calibration",
                    ),
                ],
            ),
            heat(
                "Similarity of the nearest reference",
                "How near images come to the reference set. A new bump at the top is a memorised picture; a whole "
                "distribution that moves is another embedder or index.",
                f"sum by (le) (increase(memguard_top1_similarity_bucket{{{PIPELINE}}}{RATE}))",
            ),
        ],
    )


def _load() -> Section:
    by_time = f"sum by (le) (rate(memguard_check_duration_seconds_bucket{{{PIPELINE}}}{RATE}))"
    return Section(
        "Speed and load",
        [
            lines(
                "Time of a check",
                "Half of the checks are quicker than the first line, 99 of 100 than the second. The deadline is 5 s by "
                "default.",
                [
                    Query(quantile(0.5, by_time), "half"),
                    Query(quantile(0.99, by_time), "99 of 100"),
                    Query(
                        f"job_pipeline:memguard_check_duration_seconds:p99_rate10m{{{PIPELINE}}}",
                        "{{pipeline}}, 10 min",
                    ),
                ],
                unit="s",
                bounds=[2],
            ),
            lines(
                "Images",
                "Checked images a second.",
                [Query(f"sum by (pipeline) (rate(memguard_images_total{{{PIPELINE}}}{RATE}))", "{{pipeline}}")],
                stacked=True,
            ),
            lines(
                "Images waiting",
                "Being checked now, and in the sidecar's queue.",
                [
                    Query(f"sum(memguard_inflight_images{{{PIPELINE}}})", "in check"),
                    Query(f"sum(memguard_queue_images{{{JOB}}})", "in the queue"),
                ],
            ),
            lines(
                "Turned away",
                "Requests a second that the sidecar refused or lost.",
                [Query(f"sum by (reason) (rate(memguard_rejected_total{{{JOB}}}{RATE}))", "{{reason}}")],
            ),
        ],
    )


def _index() -> Section:
    return Section(
        "Index",
        [
            lines(
                "Age",
                "Since it was built, of each instance's index. Instances of one job should agree.",
                [Query(f"time() - memguard_index_built_timestamp_seconds{{{JOB}}}", "{{index}} {{instance}}")],
                unit="s",
            ),
            lines(
                "Canaries",
                "Pictures whose verdict is known, checked in an hour. A miss means that copies may pass, or clean "
                "images be blocked.",
                [Query(f"sum by (result) (increase(memguard_canary_checks_total{{{JOB}}}[1h]))", "{{result}}")],
            ),
            lines(
                "New versions",
                "Of the index, met in an hour: taken, or refused because something was wrong with them.",
                [
                    Query(
                        f"sum by (index, result) (increase(memguard_index_reloads_total{{{JOB}}}[1h]))",
                        "{{index}} {{result}}",
                    )
                ],
            ),
            lines(
                "Calibration is stale",
                "1 if thresholds may not keep the false-alarm rates that they promise.",
                [Query(f"memguard_calibration_stale{{{JOB}}}", "{{index}} {{instance}}")],
            ),
        ],
    )
