"""A whole audit of a model made of arrays, against an index on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.audit.compare import compare
from guard.audit.plan import Plan, Told
from guard.audit.prompts import Prompt, Repeats, from_repeats
from guard.audit.report import AuditReport, read_report
from guard.audit.run import audit
from guard.audit.state import opened
from guard.errors import CheckError, ConfigError
from guard.indexes.store import OpenIndex, open_index
from tests.support.audits import CopyingModel, training_pictures, write_training_index
from tests.support.toys import ToyEmbedder

PICTURES = training_pictures(60)
COPIES = {"caption 0": 40, "caption 1": 12, "caption 2": 5}
MEMORISED = {"caption 0": 1.0, "caption 1": 0.6, "caption 2": 0.1}
PLAN = Plan(generations=24, batch=7)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIndex]:
    with open_index(write_training_index(tmp_path_factory.mktemp("run"), PICTURES, COPIES)) as opened_index:
        yield opened_index


def run(
    index: OpenIndex,
    folder: Path,
    plan: Plan = PLAN,
    model: CopyingModel | None = None,
    prompts: int = 6,
    **more: object,
) -> AuditReport:
    model = model or CopyingModel(PICTURES, MEMORISED)
    chosen = from_repeats(Repeats(index.reader.all()), most=prompts)
    with opened(folder, {}) as state:
        return audit(chosen, [model], state, index, ToyEmbedder(), plan=plan, model="toy", **more)  # type: ignore[arg-type]


def test_the_memorised_are_found_and_no_others(index: OpenIndex, tmp_path: Path) -> None:
    told: list[Told] = []
    report = run(index, tmp_path / "state", on_progress=told.append)
    by_text = {row.text: row for row in report.prompts}
    assert [row.text for row in report.prompts[:3]] == ["caption 0", "caption 1", "caption 2"]
    assert {text for text, row in by_text.items() if row.memorised} == {"caption 0", "caption 1"}
    first = by_text["caption 0"]
    assert (first.duplicates, first.generations, first.clique, first.clique_at_most) == (40, 24, 24, 24)
    assert first.finding is not None
    assert first.finding.caption == "caption 0"
    assert (first.finding.copies.hits, first.finding.copies.of) == (24, 24)
    second = by_text["caption 1"].finding
    assert second is not None
    assert 10 <= second.copies.hits < 24
    assert second.copies.low < second.copies.hits / 24 < second.copies.high
    s = report.summary
    assert (s.prompts, s.generations, s.likely.hits, s.memorised.hits, s.pictures) == (6, 144, 2, 2, 2)
    assert (s.clique_precision.hits, s.clique_precision.of) == (2, 2)
    assert [(g.low, g.high, g.memorised.hits, g.memorised.of) for g in s.by_duplicates] == [
        (1, 1, 0, 3), (5, 5, 0, 1), (12, 12, 1, 1), (40, 40, 1, 1),
    ]  # fmt: skip
    assert s.left_out.never_looked_at == s.left_out.fewer_generations == 0
    assert told[0] == Told("generating", 0, 144, 0)
    assert Told("generating", 144, 144, 2) in told
    assert told[-1] == Told("confirming", 2, 2, 2)
    assert report.peak_memory_mib > 10


def test_the_document_comes_back_from_its_file(index: OpenIndex, tmp_path: Path) -> None:
    report = run(index, tmp_path / "state", prompts=2)
    report.write(tmp_path / "audit.json")
    assert read_report(tmp_path / "audit.json") == report
    (tmp_path / "audit.json").write_text('{"format": 7}')
    with pytest.raises(ConfigError, match="no report of an audit of format 1"):
        read_report(tmp_path / "audit.json")
    with pytest.raises(ConfigError, match="memguard audit --json"):
        read_report(tmp_path / "absent.json")


def test_what_is_there_is_not_made_again(index: OpenIndex, tmp_path: Path) -> None:
    first, second = CopyingModel(PICTURES, MEMORISED), CopyingModel(PICTURES, MEMORISED)
    before = run(index, tmp_path / "state", Plan(generations=10, batch=7), first)
    after = run(index, tmp_path / "state", PLAN, second)
    assert sum(n for _, n in first.calls) == 60
    assert sum(n for _, n in second.calls) == 84
    whole = run(index, tmp_path / "whole")
    assert after.prompts == whole.prompts
    assert before.summary.generations == 60


def test_two_devices_make_the_same_pictures(index: OpenIndex, tmp_path: Path) -> None:
    models = [CopyingModel(PICTURES, MEMORISED) for _ in range(2)]
    chosen = from_repeats(Repeats(index.reader.all()), most=6)
    with opened(tmp_path / "two", {}) as state:
        both = audit(chosen, models, state, index, ToyEmbedder(), plan=PLAN)
    assert both.prompts == run(index, tmp_path / "one").prompts
    assert sum(n for model in models for _, n in model.calls) == 144


def test_a_budget_is_kept_and_says_what_it_left_out(index: OpenIndex, tmp_path: Path) -> None:
    slow = CopyingModel(PICTURES, MEMORISED)
    plan = Plan(generations=500, batch=4, budget_s=1.5)
    report = run(index, tmp_path / "state", plan, slow, prompts=60)
    left = report.summary.left_out
    assert report.summary.generations < 60 * 500
    assert left.never_looked_at + report.summary.prompts == 60
    assert left.fewer_generations == sum(not row.likely and row.generations < 500 for row in report.prompts)
    assert left.never_looked_at + left.fewer_generations > 0
    assert len(left.examples) == min(10, left.never_looked_at)
    assert report.settings.budget_s == 1.5


def test_each_generation_is_confirmed_where_it_is_asked_for(index: OpenIndex, tmp_path: Path) -> None:
    """As for CIFAR-10: without prompts, copies of many pictures come one by one and never crowd."""

    class Unconditional(CopyingModel):
        def _draw(self, text: str, seed: int):  # type: ignore[no-untyped-def]
            del text
            captions = sorted(self.pictures)
            return super()._draw(captions[seed % len(captions)], seed)

    model = Unconditional(PICTURES, {f"caption {i}": 1.0 for i in range(0, 60, 2)})
    with opened(tmp_path / "state", {}) as state:
        plan = Plan(generations=120, each=True)
        report = audit([Prompt()], [model], state, index, ToyEmbedder(), plan=plan, model="toy")
    assert report.prompts[0].likely is False
    copies = report.summary.copies
    assert copies is not None
    assert copies.of == 120
    assert 40 <= copies.hits <= 80
    extracted = report.summary.extracted
    assert sum(e.generations for e in extracted) == copies.hits
    even = {caption: i for i, caption in enumerate(PICTURES) if i % 2 == 0}
    records = index.records([e.id for e in extracted])
    assert {r.caption for r in records} <= set(even)
    assert all(e.ratio is not None and e.ratio < 1 for e in extracted)


def test_a_model_that_fails_is_told_of_and_costs_nothing(index: OpenIndex, tmp_path: Path) -> None:
    class Failing(CopyingModel):
        def __call__(self, prompt, seeds):  # type: ignore[no-untyped-def]
            if len(self.calls) == 3:
                raise RuntimeError("CUDA out of memory")
            return super().__call__(prompt, seeds)

    with pytest.raises(CheckError, match=r"'caption 0' failed \(RuntimeError: CUDA out of memory\).*smaller --batch"):
        run(index, tmp_path / "state", PLAN, Failing(PICTURES, MEMORISED))
    model = CopyingModel(PICTURES, MEMORISED)
    assert run(index, tmp_path / "state", PLAN, model).prompts == run(index, tmp_path / "whole").prompts
    assert sum(n for _, n in model.calls) == 144 - 21

    class Short(CopyingModel):
        def __call__(self, prompt, seeds):  # type: ignore[no-untyped-def]
            return super().__call__(prompt, seeds)[1:]

    with pytest.raises(ConfigError, match="made 6 pictures of 7 seeds"):
        run(index, tmp_path / "short", PLAN, Short(PICTURES, {}))


def test_two_audits_compared(index: OpenIndex, tmp_path: Path) -> None:
    before = run(index, tmp_path / "before")
    after = run(index, tmp_path / "after", model=CopyingModel(PICTURES, {}))
    found = compare(before, after)
    assert (found.shared, found.both, found.a_alone, found.b_alone, found.neither) == (6, 0, 2, 0, 4)
    assert found.difference.value == pytest.approx(2 / 6)
    assert found.difference.low < found.difference.value < found.difference.high
    assert [(c.text, c.memorised_by) for c in found.changes] == [("caption 0", "a"), ("caption 1", "a")]
    assert [(g.low, g.a.hits, g.b.hits, g.a.of) for g in found.by_duplicates][-1] == (40, 1, 0, 1)
    assert found.notes == ()
    fewer = run(index, tmp_path / "fewer", Plan(generations=12), prompts=4)
    other = compare(before, fewer)
    assert (other.shared, other.only_a, other.only_b) == (4, 2, 0)
    assert "more generations" in other.notes[0]
    with pytest.raises(ConfigError, match=r"different rules \(threshold: 0.15 and 0.2\)"):
        compare(before, run(index, tmp_path / "threshold", Plan(generations=12, threshold=0.2), prompts=1))


def test_plans_and_prompts_that_make_no_sense(index: OpenIndex, tmp_path: Path) -> None:
    for wrong in ({"generations": 0}, {"least_clique": 1}, {"threshold": 0.0}, {"threshold": 1.1}, {"budget_s": 0.0}):
        with pytest.raises(ConfigError):
            Plan(**wrong)  # type: ignore[arg-type]
    with opened(tmp_path / "state", {}) as state, pytest.raises(ConfigError, match="no prompt"):
        audit([], [CopyingModel(PICTURES, {})], state, index, ToyEmbedder())
    with opened(tmp_path / "state", {}) as state, pytest.raises(ConfigError, match="needs a model"):
        audit([Prompt("a")], [], state, index, ToyEmbedder())
