"""A report survives its own JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Action, Decision, Match, Mode, Record, Report, Status, Verdict
from guard.report_json import report_from
from guard.types import Evidence, EvidenceKind, Mask

TEXT = st.text(max_size=20)
SHARE = st.floats(0, 1).map(lambda x: round(x, 4))
MASKS = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**36 - 1)).map(
    lambda t: Mask.pack(np.array([(t[2] >> i) & 1 for i in range(t[0] * t[1])], np.bool_).reshape(t[0], t[1]))
)
EVIDENCE = st.builds(
    Evidence,
    kind=st.sampled_from(EvidenceKind),
    transform=st.none() | st.tuples(*[SHARE] * 6),
    inliers=st.integers(0, 500),
    copied_area_query=SHARE,
    copied_area_reference=SHARE,
    mask=st.none() | MASKS,
    tiled_l2=st.none() | SHARE,
    agreement=SHARE,
    keypoints=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    strength=SHARE,
)
MATCHES = st.builds(
    Match,
    record=st.builds(
        Record,
        id=st.integers(0, 2**50),
        uri=TEXT,
        sha256=TEXT,
        caption=TEXT,
        collections=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
        cluster_size=st.integers(1, 9),
    ),
    similarity=st.floats(-1, 1).map(lambda x: round(x, 6)),
    bits=st.none() | st.integers(0, 31),
    evidence=st.none() | EVIDENCE,
)
VERDICTS = st.builds(
    Verdict,
    status=st.just(Status.SUCCESS),
    decision=st.sampled_from(Decision),
    matches=st.lists(MATCHES, max_size=3).map(tuple),
    reasons=st.lists(TEXT, max_size=3).map(tuple),
    action=st.sampled_from(Action),
    frame=st.none() | st.integers(0, 99),
    input_similarity=st.none() | SHARE,
    verified=st.sampled_from([None, True, False]),
    collection=TEXT,
) | st.builds(
    Verdict,
    status=st.sampled_from([Status.ERROR, Status.SKIPPED]),
    reasons=st.lists(TEXT, max_size=2).map(tuple),
    action=st.sampled_from(Action),
    stage=TEXT,
    reason=TEXT,
)
REPORTS = st.builds(
    Report,
    verdicts=st.lists(VERDICTS, max_size=4).map(tuple),
    pipeline=TEXT,
    mode=st.sampled_from(Mode),
    index_version=TEXT,
    seconds=st.dictionaries(st.sampled_from(["embed", "search"]), st.floats(0, 9).map(lambda x: round(x, 6))),
)


@settings(max_examples=25)
@given(REPORTS)
def test_there_and_back(report: Report) -> None:
    assert report_from(json.loads(json.dumps(report.to_dict()))) == report


GOOD: dict[str, Any] = Report((Verdict(Status.SUCCESS, Decision.ALLOW),)).to_dict()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "report",
        {},
        {**GOOD, "mode": "loud"},
        {**GOOD, "verdicts": None},
        {**GOOD, "verdicts": [{}]},
        {**GOOD, "verdicts": [{**GOOD["verdicts"][0], "decision": None}]},
        {**GOOD, "verdicts": [{**GOOD["verdicts"][0], "status": "error"}]},
        {**GOOD, "verdicts": [{**GOOD["verdicts"][0], "matches": [{"id": "x"}]}]},
        {**GOOD, "seconds": 3},
    ],
)
def test_what_is_no_report_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="no report"):
        report_from(value)


def test_a_mask_that_does_not_add_up_is_refused() -> None:
    evidence = Evidence(EvidenceKind.PARTIAL, mask=Mask.pack(np.ones((2, 2), np.bool_)))
    match = Match(Record(0, "a", ""), 0.5, evidence=evidence)
    value = Report((Verdict(Status.SUCCESS, Decision.BLOCK, (match,)),)).to_dict()
    value["verdicts"][0]["matches"][0]["evidence"]["mask"]["runs"] = [0, 5]
    with pytest.raises(ValueError, match="mask"):
        report_from(value)
