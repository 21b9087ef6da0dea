"""What holds for everything that plays the guard for a host, wherever it makes its checks.

A subclass says how to open one over the pictures of seeds 0 to 19; it adds no copies of tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Action, BlockedError, ConfigError, Decision, Mode, Status
from guard.hosted import HostGuard
from tests.support.toys import ToyEmbedder, picture

__all__ = ["HostGuardContract"]

BROKEN_LEVEL = 3  # mean of a picture that the embedder "cannot take"


class HostGuardContract:
    """Finds copies, acts on them, and fails as its settings say."""

    def open(self, embedder: ToyEmbedder | None = None, **settings: Any) -> AbstractContextManager[HostGuard]:
        """settings: mode, on_block, on_error, own_input, allow_unchecked, frame_stride, deadline_s."""
        raise NotImplementedError

    def broken(self) -> AbstractContextManager[HostGuard]:
        """One that cannot check anything, and is quick to know it."""
        raise NotImplementedError

    @pytest.fixture
    def guard(self) -> Iterator[HostGuard]:
        with self.open() as guard:
            yield guard

    def test_verdicts_come_in_the_order_of_the_images(self, guard: HostGuard) -> None:
        report = guard.check([picture(3), picture(99), picture(5)], pipeline="p")
        assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW, Decision.BLOCK]
        assert [v.action for v in report] == [Action.REPLACED, Action.RELEASED, Action.REPLACED]
        assert [v.nearest.record.uri for v in report if v.nearest][::2] == ["train/3.png", "train/5.png"]
        assert (report.pipeline, report.mode, report.index_version) == ("p", Mode.ENFORCE, "0001")
        assert {"embed", "search", "decide"} <= set(report.seconds)
        assert all(v.reasons for v in report)

    @pytest.mark.parametrize("form", ["pil", "array", "float", "tensor", "gray"])
    def test_every_form_of_an_image(self, guard: HostGuard, form: str) -> None:
        images: Any = [picture(3), picture(99)]
        arrays = np.stack([np.asarray(image) for image in images])
        if form == "array":
            images = arrays
        elif form == "float":
            images = (arrays / 255).astype(np.float32)
        elif form == "tensor":
            images = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255
        elif form == "gray":
            images = [image.convert("L").convert("RGB") for image in images]
        report = guard.check(images)
        assert len(report) == 2
        assert report[1].decision is Decision.ALLOW
        assert form == "gray" or report[0].decision is Decision.BLOCK

    def test_one_picture_alone_and_none(self, guard: HostGuard) -> None:
        assert [v.decision for v in guard.check(picture(3))] == [Decision.BLOCK]
        assert len(guard.check([])) == 0

    def test_more_images_than_one_request_takes(self, guard: HostGuard) -> None:
        prompts = [f"prompt {i}" for i in range(40)]
        report = guard.check([picture(3 if i % 3 == 0 else 100 + i) for i in range(40)], prompts=prompts)
        assert [v.decision is Decision.BLOCK for v in report] == [i % 3 == 0 for i in range(40)]

    def test_an_image_that_cannot_be_read_costs_no_other_its_verdict(self, guard: HostGuard) -> None:
        images = [picture(3), Image.new("RGB", (4, 4)), np.full((20, 20, 3), np.nan), picture(99), "no image"]
        report = guard.check(images)
        assert [v.decision for v in report] == [Decision.BLOCK, None, None, Decision.ALLOW, None]
        assert [v.status for v in report][1:3] == [Status.ERROR, Status.ERROR]
        assert all(v.withheld for i, v in enumerate(report) if i != 3)
        assert (report[1].stage, report[1].reason) == ("pixels", "input")
        assert "4" in report[1].reasons[0]
        assert "str" in report[4].reasons[0]
        assert guard.check(Image.new("RGB", (4, 4)))[0].status is Status.ERROR

    @pytest.mark.parametrize("mode", list(Mode))
    def test_modes(self, mode: Mode) -> None:
        with self.open(mode=mode) as guard:
            report = guard.check([picture(3)])
            assert (report.mode, report[0].decision) == (mode, Decision.BLOCK)
            assert report[0].withheld == (mode is Mode.ENFORCE)
            once = guard.check([picture(3)], options={"mode": "shadow"})
            assert (once.mode, once[0].withheld) == (Mode.SHADOW, False)

    @pytest.mark.parametrize("form", ["pil", "array", "tensor"])
    @pytest.mark.parametrize("on_block", ["replace", "blur", "drop", "raise", "callable"])
    def test_what_a_block_does_to_the_pixels(self, on_block: str, form: str) -> None:
        setting: Any = (lambda image, verdict: image) if on_block == "callable" else on_block
        images: Any = [picture(3), picture(99)]
        if form != "pil":
            images = np.stack([np.asarray(image) for image in images])
        if form == "tensor":
            images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        with self.open(on_block=setting) as guard:
            report = guard.check(images)
            if on_block == "raise":
                with pytest.raises(BlockedError) as blocked:
                    guard.apply(images, report)
                assert len(blocked.value.allowed) == 1
                return
            if on_block == "drop" and form != "pil":
                with pytest.raises(ConfigError, match="drop"):
                    guard.apply(images, report)
                return
            out = guard.apply(images, report)
        assert type(out) is type(images)
        assert len(out) == 2
        assert np.array_equal(np.asarray(out[1]), np.asarray(images[1]))
        if on_block == "drop":
            assert out[0] is None
        else:
            assert np.array_equal(np.asarray(out[0]), np.asarray(images[0])) == (on_block == "callable")

    def test_what_is_not_withheld_is_the_same_object(self, guard: HostGuard) -> None:
        images = [picture(99)]
        assert guard.apply(images, guard.check(images)) is images

    @pytest.mark.parametrize(("own_input", "decision"), [("allow", "allow"), ("flag", "flag"), ("ignore", "block")])
    def test_the_callers_own_input(self, own_input: str, decision: str) -> None:
        with self.open(own_input=own_input) as guard:
            report = guard.check([picture(3)], inputs=[picture(50), picture(3)])
            assert report[0].decision == decision
            assert (report[0].input_similarity is None) == (own_input == "ignore")
            assert guard.check([picture(3)], inputs=["no picture"])[0].decision is Decision.BLOCK

    def test_a_video_gets_one_verdict_and_the_frame(self) -> None:
        with self.open(frame_stride=4) as guard:
            clip = [picture(100 + i) for i in range(10)]
            copied = [*clip[:8], picture(3), clip[9]]
            unseen = [clip[0], picture(3), *clip[2:]]  # its copy is between two sampled frames
            report = guard.check_videos([clip, copied, unseen, []], prompts=["a", "b", "c", "d"])
            assert [v.decision for v in report] == [Decision.ALLOW, Decision.BLOCK, Decision.ALLOW, None]
            assert report[1].frame == 8
            assert report[3].status is Status.SKIPPED
            damaged = guard.check_videos([[clip[0], *[Image.new("RGB", (4, 4))] * 5]])
            assert (damaged[0].status, damaged[0].frame) == (Status.ERROR, 4)
            assert len(guard.check_videos([])) == 0

    def test_a_long_video(self) -> None:
        with self.open(frame_stride=1) as guard:
            clip = [picture(100 + i) for i in range(70)]
            clip[66] = picture(3)
            report = guard.check_videos([clip])
            assert [(v.decision, v.frame) for v in report] == [(Decision.BLOCK, 66)]

    @pytest.mark.parametrize(("on_error", "withheld"), [("closed", True), ("open", False)])
    def test_a_check_that_fails_is_no_pass(self, on_error: str, withheld: bool) -> None:
        embedder = ToyEmbedder(fail_on=(BROKEN_LEVEL,))
        dark = Image.new("RGB", (64, 64), (BROKEN_LEVEL,) * 3)
        with self.open(embedder, on_error=on_error) as guard:
            report = guard.check([picture(99), dark, picture(3)])
            assert [v.decision for v in report] == [Decision.ALLOW, None, Decision.BLOCK]
            assert (report[1].status, report[1].stage, report[1].withheld) == (Status.ERROR, "embed", withheld)

    @pytest.mark.parametrize(("on_error", "withheld"), [("closed", True), ("open", False)])
    def test_a_guard_that_is_broken_is_no_pass(self, on_error: str, withheld: bool) -> None:
        with self.broken() as guard:
            options = {"on_error": on_error}
            for report in (
                guard.check([picture(99), picture(3)], pipeline="p", options=options),
                guard.check_videos([[picture(99)], [picture(3)]], pipeline="p", options=options),
            ):
                assert [(v.status, v.decision, v.withheld) for v in report] == [(Status.ERROR, None, withheld)] * 2
                assert all(v.stage and v.reason and v.reasons for v in report)
            value = 0.0
            outcome = "closed" if withheld else "open"
            for metric in guard.metrics.registry.collect():
                for sample in metric.samples:
                    labels = sample.labels
                    if sample.name == "memguard_failures_total" and labels["outcome"] == outcome:
                        value += sample.value
            assert value == 4

    def test_skip_and_fail_are_reported_and_counted_here(self, guard: HostGuard) -> None:
        skipped = guard.skip(2, "latent", pipeline="p", action=Action.RAISED)
        assert [(v.status, v.reason, v.action) for v in skipped] == [(Status.SKIPPED, "latent", Action.RAISED)] * 2
        failed = guard.fail(3, RuntimeError("broke"), pipeline="p")
        assert [(v.status, v.stage, v.withheld) for v in failed] == [(Status.ERROR, "host", True)] * 3
        assert "broke" in failed[0].reasons[0]
        get = guard.metrics.registry.get_sample_value
        assert get("memguard_skipped_total", {"pipeline": "p", "reason": "latent"}) == 2
        labels = {"pipeline": "p", "stage": "host", "reason": "runtime", "outcome": "closed"}
        assert get("memguard_failures_total", labels) == 3

    def test_disable_holds_for_this_thread_alone(self, guard: Any) -> None:
        seen: list[bool] = []
        with guard.disable():
            thread = threading.Thread(target=lambda: seen.append(guard.disabled))
            thread.start()
            thread.join()
            report = guard.check([picture(3)])
            assert (report[0].status, report[0].reason, report[0].withheld) == (Status.SKIPPED, "disabled", False)
            assert guard.check_videos([[picture(3)]])[0].reason == "disabled"
            with guard.enable():
                assert guard.check([picture(3)])[0].withheld
        assert seen == [False]

    def test_options_that_do_not_fit_raise(self, guard: HostGuard) -> None:
        for options in ({"mode": "loud"}, {"nothing": 1}, "flag"):
            with pytest.raises(ConfigError):
                guard.check([picture(3)], options=options)  # type: ignore[arg-type]

    def test_threads_get_their_own_verdicts(self, guard: HostGuard) -> None:
        reports: dict[int, Any] = {}

        def check(i: int) -> None:
            reports[i] = guard.check([picture(i), picture(100 + i)], pipeline=f"p{i}")

        threads = [threading.Thread(target=check, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, report in reports.items():
            assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW]
            assert report[0].nearest.record.uri == f"train/{i}.png"
            assert report.pipeline == f"p{i}"

    def test_a_deadline_bounds_the_check(self, tmp_path: Path) -> None:
        from tests.support.served import HeldEmbedder

        embedder = HeldEmbedder(gate=threading.Semaphore(0))
        with self.open(embedder, deadline_s=0.3) as guard:
            report = guard.check([picture(99), picture(3)])
            embedder.gate.release(100)
        assert [(v.status, v.reason, v.withheld) for v in report] == [(Status.ERROR, "deadline", True)] * 2
