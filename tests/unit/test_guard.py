"""The whole path of an image, with a real embedder and an exact index."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Action, ConfigError, Decision, Guard, GuardConfig, GuardMetrics, Mode, Policy, Status
from guard.config import load_config
from guard.errors import InputError
from guard.guard import Call
from guard.indexes.best import best_of_each
from guard.videos import sample_frames
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.waiting import WAIT_S, until

TRAINING = {f"train/{i}.png": picture(i) for i in range(20)}


def make_guard(embedder: ToyEmbedder | None = None, **settings: object) -> Guard:
    settings.setdefault("deadline_s", WAIT_S)
    config = load_config(None, **settings)
    return Guard(MemoryIndex(ToyEmbedder(), TRAINING), embedder or ToyEmbedder(), config=config)


def sample(guard: Guard, name: str, **labels: str) -> float:
    value = guard.metrics.registry.get_sample_value(f"memguard_{name}", labels)
    assert value is not None, f"no series memguard_{name} {labels}"
    return value


def test_a_copy_is_blocked_and_a_stranger_is_not() -> None:
    guard = make_guard()
    report = guard.check([picture(3), picture(99)], pipeline="p")
    assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW]
    assert [v.action for v in report] == [Action.REPLACED, Action.RELEASED]
    assert report[0].nearest is not None
    assert report[0].nearest.record.uri == "train/3.png"
    assert set(report.seconds) == {"pixels", "embed", "search", "decide"}
    assert sample(guard, "images_total", pipeline="p", decision="block", mode="enforce") == 1
    assert sample(guard, "images_total", pipeline="p", decision="allow", mode="enforce") == 1
    assert sample(guard, "images_total", pipeline="p", decision="flag", mode="enforce") == 0
    assert sample(guard, "batch_images_count", pipeline="p") == 1
    assert sample(guard, "inflight_images", pipeline="p") == 0


@pytest.mark.parametrize("mode", [Mode.FLAG, Mode.SHADOW])
def test_other_modes_never_touch_pixels_and_count_what_they_let_pass(mode: Mode) -> None:
    guard = make_guard(mode=mode)
    images = [picture(3)]
    report = guard.check(images, pipeline="p")
    assert report[0].decision is Decision.BLOCK
    assert guard.apply(images, report) is images
    assert sample(guard, "would_block_total", pipeline="p") == 1


def test_forms_agree() -> None:
    guard = make_guard()
    array = np.stack([np.asarray(picture(3)), np.asarray(picture(99))])
    tensor = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    for form in (array, array.astype(np.float32) / 255, tensor, list(tensor), [picture(3), picture(99)]):
        report = guard.check(form)
        assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW]
        assert report[0].nearest.similarity == pytest.approx(1, abs=1e-4)


def test_an_index_of_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    embedder = ToyEmbedder()
    Guard(MemoryIndex(embedder, {"a.png": picture(1)}), embedder)
    assert not caplog.records
    Guard(MemoryIndex(embedder, {}), embedder, name="training")
    assert [one.getMessage() for one in caplog.records] == ["training holds no reference: every image is allowed"]


def test_no_images_give_an_empty_report() -> None:
    assert len(make_guard().check([])) == 0
    assert len(make_guard().check(np.zeros((0, 64, 64, 3), np.uint8))) == 0


@pytest.mark.parametrize(("on_error", "action"), [("closed", Action.REPLACED), ("open", Action.RELEASED)])
def test_one_bad_image_does_not_spoil_its_batch(on_error: str, action: Action) -> None:
    guard = make_guard(on_error=on_error)
    bad = np.full((64, 64, 3), np.nan, np.float32)
    report = guard.check([picture(3), bad, picture(99)], pipeline="p")
    assert [v.status for v in report] == [Status.SUCCESS, Status.ERROR, Status.SUCCESS]
    assert [v.decision for v in report] == [Decision.BLOCK, None, Decision.ALLOW]
    assert report[1].action is action
    assert "image 1" in report[1].reasons[0]
    outcome = "open" if on_error == "open" else "closed"
    assert sample(guard, "failures_total", pipeline="p", stage="pixels", reason="input", outcome=outcome) == 1


def test_one_image_that_the_runtime_cannot_take_does_not_spoil_its_batch() -> None:
    guard = make_guard(ToyEmbedder(fail_on=(200,)))
    report = guard.check([picture(3), np.full((64, 64, 3), 200, np.uint8), picture(4)], pipeline="p")
    assert [v.decision for v in report] == [Decision.BLOCK, None, Decision.BLOCK]
    assert (report[1].stage, report[1].reason) == ("embed", "runtime")
    assert "cannot take" in report[1].reasons[0]
    assert sample(guard, "failures_total", pipeline="p", stage="embed", reason="runtime", outcome="closed") == 1


def test_a_file_that_breaks_off_when_it_is_decoded_does_not_spoil_its_batch() -> None:
    buffer = io.BytesIO()
    picture(3).save(buffer, "PNG")
    broken = Image.open(io.BytesIO(buffer.getvalue()[:-200]))  # opened; decoded only when it is checked
    report = make_guard().check([picture(3), broken, picture(99)])
    assert [v.decision for v in report] == [Decision.BLOCK, None, Decision.ALLOW]
    assert (report[1].stage, report[1].reason) == ("pixels", "input")
    assert "image 1 cannot be decoded" in report[1].reasons[0]


def test_an_input_that_cannot_be_read_excuses_nothing_and_costs_no_verdict() -> None:
    guard = make_guard()
    for inputs in ("a path", ["a path", np.full((64, 64, 3), np.nan, np.float32)], [4, picture(50)]):
        assert [v.decision for v in guard.check([picture(3), picture(99)], inputs=inputs)] == [
            Decision.BLOCK,
            Decision.ALLOW,
        ]
    assert guard.check([picture(3)], inputs=["a path", picture(3)])[0].decision is Decision.ALLOW


class BrokenEmbedder(ToyEmbedder):
    """Returns what is no descriptor, without a word."""

    def __init__(self, rows: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.rows = rows

    def embed(self, batch):
        return self.rows(super().embed(batch))


@pytest.mark.parametrize(
    "rows",
    [
        lambda x: x * np.nan,
        lambda x: x * 0,
        lambda x: x * 0.1,
        lambda x: x[:, :-1],
        lambda x: x[:-1],
        lambda x: x * np.inf,
    ],
    ids=["nan", "zero", "short", "narrow", "too few", "infinite"],
)
@pytest.mark.parametrize("tensor", [False, True])
def test_rows_that_are_no_descriptors_are_an_error_and_not_a_pass(rows, tensor: bool) -> None:
    guard = make_guard(BrokenEmbedder(lambda x: torch.from_numpy(rows(x)) if tensor else rows(x)))
    with np.errstate(invalid="ignore"):
        report = guard.check([picture(3)])
    assert (report[0].status, report[0].stage, report[0].action) == (Status.ERROR, "embed", Action.REPLACED)


@pytest.mark.parametrize("deadline_s", [float("inf"), 1e12])
def test_a_deadline_beyond_what_a_thread_can_wait_for_is_none(deadline_s: float) -> None:
    assert make_guard(deadline_s=deadline_s).check([picture(3)])[0].decision is Decision.BLOCK


def test_a_form_that_nobody_knows_is_an_error_and_not_a_pass() -> None:
    report = make_guard().check("a path")
    assert [v.status for v in report] == [Status.ERROR]
    assert report[0].action is Action.REPLACED


class SlowEmbedder(ToyEmbedder):
    """Takes as long as it is told to: the real thing under load."""

    def __init__(self, release: threading.Event) -> None:
        super().__init__()
        self.release = release

    def embed(self, batch):
        self.release.wait(WAIT_S)
        return super().embed(batch)


def test_a_stage_that_hangs_costs_at_most_the_deadline() -> None:
    release = threading.Event()
    guard = make_guard(SlowEmbedder(release), deadline_s=0.1)

    def stage() -> str | None:
        report = guard.check([picture(3), picture(4)], pipeline="p")
        assert [(v.status, v.reason) for v in report] == [(Status.ERROR, "deadline")] * 2
        return report[0].stage

    until(lambda: stage() == "embed")  # a busy machine may not even come to it
    assert not release.is_set()
    release.set()
    assert sample(guard, "failures_total", pipeline="p", stage="embed", reason="deadline", outcome="closed") == 2


def test_out_of_memory_has_a_reason_of_its_own() -> None:
    class Full(ToyEmbedder):
        def embed(self, batch):
            raise MemoryError

    assert make_guard(Full()).check([picture(1)])[0].reason == "memory"


def test_the_callers_own_input_is_told_apart() -> None:
    guard = make_guard()
    echoed = guard.check([picture(3)], inputs=[picture(3)])
    assert echoed[0].decision is Decision.ALLOW
    assert echoed[0].input_similarity == pytest.approx(1, abs=1e-4)
    memorised = guard.check([picture(3)], inputs=[picture(50)])
    assert memorised[0].decision is Decision.BLOCK
    assert guard.check([picture(3)], inputs=[picture(3)], options={"own_input": "ignore"})[0].decision is Decision.BLOCK
    assert guard.check([picture(3)], inputs=[picture(3)], options={"own_input": "flag"})[0].decision is Decision.FLAG


def test_a_video_gets_one_verdict_and_the_frame() -> None:
    guard = make_guard()
    clip = [picture(100 + i) for i in range(10)]
    clip[8] = picture(3)
    report = guard.check_videos([clip, [picture(200 + i) for i in range(5)]], pipeline="v")
    assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW]
    assert report[0].frame == 8
    assert sample(guard, "images_total", pipeline="v", decision="block", mode="enforce") == 1
    assert guard.check_videos([clip], options={"frame_stride": 3})[0].decision is Decision.ALLOW  # 0 3 6 9
    assert guard.check_videos([])[:] == ()
    empty = guard.check_videos([[]])[0]
    assert (empty.status, empty.decision, empty.reason) == (Status.SKIPPED, None, "form")


def test_frames_sampled_include_the_last() -> None:
    assert sample_frames(10, 4) == [0, 4, 8, 9]
    assert sample_frames(9, 4) == [0, 4, 8]
    assert sample_frames(1, 4) == [0]
    assert sample_frames(0, 4) == []


def test_disable_holds_for_this_thread_alone() -> None:
    guard = make_guard()
    elsewhere = []
    with guard.disable():
        report = guard.check([picture(3)], pipeline="p")
        thread = threading.Thread(target=lambda: elsewhere.append(guard.check([picture(3)])))
        thread.start()
        thread.join()
        with guard.enable():
            assert guard.check([picture(3)])[0].decision is Decision.BLOCK
        assert make_guard().check([picture(3)])[0].decision is Decision.BLOCK  # another guard
    assert (report[0].status, report[0].decision, report[0].action) == (Status.SKIPPED, None, Action.RELEASED)
    assert sample(guard, "skipped_total", pipeline="p", reason="disabled") == 1
    assert elsewhere[0][0].decision is Decision.BLOCK
    assert guard.check([picture(3)])[0].decision is Decision.BLOCK


def test_threads_get_their_own_verdicts() -> None:
    guard = make_guard()
    wrong = []

    def work(i: int) -> None:
        for _ in range(5):
            nearest = guard.check([picture(i)])[0].nearest
            if nearest is None or nearest.record.id != i:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_thresholds_must_come_from_somewhere() -> None:
    index = MemoryIndex(ToyEmbedder(), TRAINING)
    with pytest.raises(ConfigError, match=r"policy\.flag"):
        Guard(index, ToyEmbedder(thresholds=None))
    config = GuardConfig(policy={"flag": 0.5, "block": 0.6}, deadline_s=WAIT_S)
    guard = Guard(index, ToyEmbedder(thresholds=None), config=config)
    assert guard.check([picture(3)])[0].decision is Decision.BLOCK


def test_options_of_one_call() -> None:
    guard = make_guard()
    report = guard.check([picture(3)], options={"policy": Policy(flag=0.999, block=1.0), "mode": "flag"})
    assert report.mode is Mode.FLAG
    with pytest.raises(ConfigError, match="guard_options"):
        guard.check([picture(3)], options={"nonsense": 1})


def test_two_guards_share_metrics_but_not_by_accident() -> None:
    metrics = GuardMetrics()
    index = MemoryIndex(ToyEmbedder(), TRAINING)
    Guard(index, ToyEmbedder(), metrics=metrics, name="a")
    Guard(index, ToyEmbedder(), metrics=metrics, name="b")
    text = metrics.text()
    assert 'memguard_index_vectors{index="a"} 20.0' in text
    assert 'memguard_index_vectors{index="b"} 20.0' in text
    with pytest.raises(ConfigError, match="share"):
        GuardMetrics(metrics.registry)


def test_views_of_one_image_merge_to_its_best_rows() -> None:
    ids = np.array([[1, 2], [2, 3], [5, -1], [5, 6]])
    similarity = np.array([[0.5, 0.4], [0.9, 0.1], [0.2, -np.inf], [0.3, 0.1]], np.float32)
    merged, best = best_of_each(ids.reshape(2, -1), similarity.reshape(2, -1), 3)
    assert merged.tolist() == [[2, 1, 3], [5, 6, -1]]
    np.testing.assert_allclose(best, [[0.9, 0.5, 0.1], [0.3, 0.1, -np.inf]])


def test_calls_checked_together_get_the_reports_that_each_would_get_alone() -> None:
    together, alone = make_guard(), make_guard()
    unreadable = InputError("image 1 cannot be decoded")
    calls = [
        Call([picture(3), unreadable], pipeline="a"),
        Call([], pipeline="b"),
        Call([picture(99), picture(5), np.zeros((4, 4, 3), np.uint8)], pipeline="b"),
    ]
    reports = together.check_together(calls, options={"mode": "shadow"})
    for call, report in zip(calls, reports, strict=True):
        expected = alone.check(call.images, pipeline=call.pipeline, options={"mode": "shadow"})
        assert [v.to_dict() | {"reasons": 0} for v in report] == [v.to_dict() | {"reasons": 0} for v in expected]
        assert (report.pipeline, report.mode) == (call.pipeline, Mode.SHADOW)
    assert reports[0][1].reasons == (str(unreadable),)
    for name in ("a", "b"):
        for guard in (together, alone):
            assert sample(guard, "inflight_images", pipeline=name) == 0
        labels = {"pipeline": name, "decision": "block", "mode": "shadow"}
        assert sample(together, "images_total", **labels) == sample(alone, "images_total", **labels) == 1
