"""What is written to the log is read back, whatever its texts and numbers are; reviews against a plain stack."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Action, Decision, Match, Mode, Record, Report, Status, Verdict
from guard.events import EventLog, Outcome
from guard.types import Evidence, EvidenceKind
from tests.support.events import blocked, recorder, used

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
SHARE = st.floats(0, 1)
RECORD = st.builds(Record, st.integers(0, 2**62), TEXT, TEXT, TEXT, st.tuples(TEXT), st.integers(1, 9))
EVIDENCE = st.none() | st.builds(Evidence, st.sampled_from(EvidenceKind), copied_area_query=SHARE, agreement=SHARE)
MATCH = st.builds(Match, RECORD, st.floats(-1, 1), st.none() | st.integers(0, 31), EVIDENCE)
VERDICT = st.builds(
    Verdict,
    st.sampled_from(Status),
    st.none() | st.sampled_from(Decision),
    st.lists(MATCH, max_size=3).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    st.sampled_from(Action),
    st.none() | st.integers(0, 100),
    st.none() | SHARE,
    st.none() | st.booleans(),
    TEXT,
    TEXT,
    TEXT,
    st.none() | st.binary(max_size=16),
)
REPORT = st.builds(
    Report,
    st.lists(VERDICT, max_size=4).map(tuple),
    TEXT,
    st.sampled_from(Mode),
    TEXT,
    st.dictionaries(TEXT, st.floats(0, 9), max_size=2),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(max_examples=40, deadline=None)
@given(report=REPORT, prompt=st.none() | TEXT)
def test_what_is_written_is_read_back(folder: Path, report: Report, prompt: str | None) -> None:
    path = folder / "log.sqlite"
    dropped: dict[str, int] = {}
    events = recorder(path, dropped, allow_sample=1, prompts="plain", prompt_key="a key of 16 bytes")
    before = EventLog(path).count()
    events.record(report, used, prompts=prompt)
    assert events.close(30)
    log = EventLog(path)
    found = log.read(limit=4)[: log.count() - before][::-1]
    assert not dropped
    assert len(found) == len(report)
    for i, (event, verdict) in enumerate(zip(found, report, strict=True)):
        assert event.detail["verdict"] == json.loads(json.dumps(verdict.to_dict()))
        assert (event.status, event.decision, event.action) == (verdict.status, verdict.decision, verdict.action)
        assert event.mode is report.mode
        assert event.pipeline == _storable(report.pipeline)
        assert event.detail["index_version"] == report.index_version
        assert (event.detail["position"], event.detail["images"]) == (i, len(report))
        assert event.descriptor == verdict.descriptor
        assert event.prompt == (None if prompt is None else _storable(prompt))
        assert event.prompt_hash == (None if prompt is None else log.hash_prompt(prompt, b"a key of 16 bytes"))
        assert json.loads(json.dumps(event.to_dict(blobs=True)))["seq"] == event.seq


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.none() | st.sampled_from(Outcome), max_size=8))
def test_undo_takes_the_newest_outcome_that_stands(folder: Path, steps: list[Outcome | None]) -> None:
    path = folder / "reviews.sqlite"
    events = recorder(path)
    events.record(blocked(), used)
    assert events.close(30)
    log = EventLog(path)
    event = log.read(limit=1)[0].id
    stack: list[Outcome] = []
    for step in steps:
        if step is not None:
            log.review(event, step, who="kim")
            stack.append(step)
        elif stack:
            stack.pop()
            assert log.undo(event, who="kim") == (stack[-1] if stack else None)
        assert log.get(event).outcome == (stack[-1] if stack else None)  # type: ignore[union-attr]
