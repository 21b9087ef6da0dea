"""A report from its JSON: the way back from `Report.to_dict`. Knows the words of both; decides nothing.

Similarities come back rounded to six digits, and what `to_dict` leaves out (descriptors, sizes of files) does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from guard.types import Action, Decision, Evidence, EvidenceKind, Mask, Match, Mode, Record, Report, Status, Verdict

__all__ = ["report_from"]


def report_from(value: Any) -> Report:
    """Raises ValueError, naming what does not fit, for what is no report. Members that are not known are ignored."""
    try:
        return Report(
            verdicts=tuple(map(_verdict, value["verdicts"])),
            pipeline=str(value["pipeline"]),
            mode=Mode(value["mode"]),
            index_version=str(value["index_version"]),
            seconds={str(stage): float(seconds) for stage, seconds in value["seconds"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise ValueError(f"this is no report: {type(exc).__name__}: {exc}") from exc


def _verdict(value: Mapping[str, Any]) -> Verdict:
    status, decision = Status(value["status"]), value["decision"]
    if (decision is not None) != (status is Status.SUCCESS):
        raise ValueError(f"decision {decision!r} with status {status.value!r}")
    return Verdict(
        status=status,
        decision=None if decision is None else Decision(decision),
        matches=tuple(map(_match, value["matches"])),
        reasons=tuple(map(str, value["reasons"])),
        action=Action(value["action"]),
        frame=value["frame"],
        input_similarity=value["input_similarity"],
        verified=value["verified"],
        stage=value["stage"] or "",
        collection=value["collection"] or "",
        reason=value["reason"] or "",
    )


def _match(value: Mapping[str, Any]) -> Match:
    record = Record(
        id=int(value["id"]),
        uri=str(value["uri"]),
        sha256=str(value["sha256"]),
        caption=str(value["caption"]),
        collections=tuple(map(str, value["collections"])),
        cluster_size=int(value["cluster_size"]),
    )
    evidence = value["evidence"]
    return Match(record, float(value["similarity"]), value["pdq_bits"], _evidence(evidence) if evidence else None)


def _evidence(value: Mapping[str, Any]) -> Evidence:
    return Evidence(
        kind=EvidenceKind(value["kind"]),
        transform=tuple(map(float, value["transform"])) if value["transform"] else None,  # type: ignore[arg-type]
        inliers=int(value["inliers"]),
        copied_area_query=float(value["copied_area_query"]),
        copied_area_reference=float(value["copied_area_reference"]),
        mask=_mask(value["mask"]) if value["mask"] else None,
        tiled_l2=value["tiled_l2"],
        agreement=float(value["agreement"]),
        keypoints=tuple(value["keypoints"]) if value["keypoints"] else None,
        strength=float(value["strength"]),
    )


def _mask(value: Mapping[str, Any]) -> Mask:
    height, width, runs = int(value["height"]), int(value["width"]), value["runs"]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"a mask of {height} x {width} cells whose runs hold {sum(runs)}")
    cells = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Mask.pack(cells.reshape(height, width))
