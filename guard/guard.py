"""Guard: one index with its settings, and what happens to every report: counted, traced, logged, explained.

Knows which settings are in force for a call; how an image comes to its verdict is guard/checking.py.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guard.calibration.watch import CalibrationWatch
from guard.checking import Checking
from guard.comparing import InForce, in_force
from guard.config import GuardConfig, load_config, override
from guard.decision import Reasoning
from guard.decision_lines import log_decisions
from guard.embedders.base import Embedder
from guard.embedders.views import require_views
from guard.errors import IndexLoadError
from guard.events.record import Circumstances
from guard.hosted import Hosted, Prompts, acted
from guard.indexes.sealing import require_open
from guard.intake import convert, count_images, image_at
from guard.metrics import GuardMetrics
from guard.originals import Originals
from guard.policy import Policy
from guard.rules import Rules
from guard.small.record import small_of
from guard.stages import Clock, Lap
from guard.thresholds import compared_pixels, rules_of
from guard.tracing import caller, trace
from guard.types import Report, Verdict
from guard.verification.examiner import Examiner
from guard.videos import fold, sample_frames

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from guard.calibration.calibrated import Calibrated
    from guard.events.config import EventsConfig
    from guard.events.recorder import EventRecorder
    from guard.explanation import Explanation
    from guard.indexes.base import Index
    from guard.originals import OriginalResult
    from guard.verification.verifier import Verifier

__all__ = ["Call", "Guard"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What one of several callers hands to `Guard.check_together`."""

    images: Sequence[Any]
    """One element an image, in any form that `check` takes; an InputError where one could not be decoded."""
    pipeline: str = "default"
    prompts: Prompts = None
    context: Any = field(default_factory=caller)
    """Of OpenTelemetry, in which the call was made: its check may run on another thread."""


class Guard(Hosted):
    """Checks images against one index. Thread-safe; one is enough for a process.

    index: an open index. embedder: the one that it was built with. config: all settings; the attribute of that name
    holds them as they are in force, `asked` as they were given, and `uncompared` says why pixels are not compared, or
    only of what counts anyway, where `verify` leaves that to the guard.
    metrics: where to count; None makes metrics on the registry, or on one of their own.
    verifier: compares pixels where the setting `verify` asks for it; None: `PixelVerifier` with its own limits.
    calibration: the index's, for thresholds that are given as false-positive rates.
    events: the decision log to write to; None opens the one of the setting `events.path`, if there is one.
    Raises ConfigError if no thresholds are set and the embedder advises none; MissingExtraError if `verify` is true
    and OpenCV is not installed.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        *,
        config: GuardConfig | None = None,
        metrics: GuardMetrics | None = None,
        registry: CollectorRegistry | None = None,
        name: str = "index",
        verifier: Verifier | None = None,
        events: EventRecorder | None = None,
        calibration: Calibrated | None = None,
    ) -> None:
        self.index = index
        self.embedder = embedder
        self.small = small_of(index)
        self.calibration = calibration
        self.name = name
        self._verifier = verifier
        self.asked = config or GuardConfig()
        originals = Originals.of(index, self._count_original) if self.asked.originals else None
        self.examiner = Examiner(index, verifier, originals=originals)
        settings = self._in_force(None)
        self.config, self.uncompared = settings.config, settings.why
        if self.config.verify is True:
            self.examiner.ready()
            require_open(index, name)
        self.rules = self._resolved(self.config)
        self.metrics = metrics or GuardMetrics(registry, thresholds=self.rules.of_the_policy)
        self.metrics.set_index(name, index, loaded_at=time.time())
        self.metrics.set_embedder(embedder.spec, getattr(embedder, "provider", "cpu"))
        self.metrics.set_thresholds(self.rules)
        self._watch = self._watched(calibration)
        if not len(index):
            _log.warning("%s holds no reference: every image is allowed", name)
        if self.uncompared and self.metrics.shown:
            level = logging.WARNING if settings.to_mend else logging.INFO
            said = "" if self.config.verify else " are not compared"
            _log.log(level, "pixels of %s%s: %s", name, said, self.uncompared)
        self.events = events if events is not None else self._open_events()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        policy: Policy | None = None,
        config: GuardConfig | str | os.PathLike[str] | None = None,
        embedder: Embedder | str | None = None,
        metrics: GuardMetrics | None = None,
        registry: CollectorRegistry | None = None,
        events: EventRecorder | EventsConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> Guard:
        """Open an index directory and the embedder that it was built with.

        policy: thresholds; unset ones are the embedder's. config: a GuardConfig or a TOML file.
        settings: single fields of GuardConfig, which win over file and environment (`MEMGUARD_…`).
        embedder: one that is loaded already, or the setting of that name: "onnx:FILE", "torchscript:FILE", a model.
        registry: Prometheus registry for the metrics; `metrics` shares another guard's.
        events: the file of a decision log, its settings, or another guard's `events`.
        Raises ConfigError, IndexLoadError or MissingExtraError; the text says what to do.
        """
        from guard.events.recorder import EventRecorder
        from guard.opening import open_parts

        if policy is not None:
            settings["policy"] = policy
        if isinstance(embedder, str):
            settings["embedder"], embedder = embedder, None
        recorder = None
        if isinstance(events, str | os.PathLike):
            settings["events"] = {"path": os.fspath(events)}
        elif isinstance(events, EventRecorder):
            recorder = events
        elif events is not None:
            settings["events"] = events
        checked = load_config(config, environ=os.environ, **settings)
        parts = open_parts(Path(path), checked, embedder)
        return cls(
            parts.index,
            parts.embedder,
            config=checked,
            metrics=metrics,
            registry=registry,
            name=parts.name,
            events=recorder,
            calibration=parts.calibration,
        )

    def check(
        self,
        images: Any,
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """Check images and return one verdict each, in order. Never touches the pixels.

        images: any form that `guard.pixels.to_batch` takes. inputs: the caller's own input
        images, in any such form; an output that echoes one is told apart. prompts: one for each
        image, or one for all; only the decision log sees them, as its settings say. options: settings
        for this call alone. A verdict's `action` says what `guard.actions.apply` will do.
        Raises ConfigError for a wrong option, and nothing when the check itself fails: that is
        status ERROR, and `on_error` decides its action.
        """
        config = self._for_call(options)
        count = count_images(images)
        if self.disabled:
            return self.skip(count, "disabled", pipeline=pipeline, options=options)
        with self.metrics.check(pipeline, count):
            verdicts, clock = self._checked(config, count, images, inputs)
        return self._finish(
            verdicts, clock.by_stage(), config, pipeline, prompts, lambda i: image_at(images, i), laps=clock.laps
        )

    def check_together(self, calls: Sequence[Call], *, options: Mapping[str, Any] | None = None) -> list[Report]:
        """Check what several callers handed in as one batch; each gets the report that `check` would give it.

        The deadline is for the batch, and `report.seconds` are the batch's. Events and metrics are each call's own.
        """
        config = self._for_call(options)
        images = [image for call in calls for image in call.images]
        with ExitStack() as timed:
            for call in calls:
                timed.enter_context(self.metrics.check(call.pipeline, len(call.images)))
            verdicts, clock = self._checked(config, len(images), images, None)
        reports, start = [], 0
        for call in calls:
            own = verdicts[start : start + len(call.images)]
            seconds, picture = clock.by_stage(), call.images.__getitem__
            reports.append(
                self._finish(
                    own, seconds, config, call.pipeline, call.prompts, picture, laps=clock.laps, context=call.context
                )
            )
            start += len(call.images)
        return reports

    def check_videos(
        self,
        videos: Sequence[Any],
        *,
        pipeline: str = "default",
        inputs: Any = None,
        prompts: Prompts = None,
        options: Mapping[str, Any] | None = None,
    ) -> Report:
        """Check videos: one verdict each, of its worst sampled frame, which `verdict.frame` names.

        videos: a sequence of clips; a clip is a list of PIL images, an array (frames, h, w, 3) or
        a tensor (frames, 3, h, w). Every `frame_stride`-th frame is checked, and the last.
        """
        config = self._for_call(options)
        if self.disabled:
            return self.skip(len(videos), "disabled", pipeline=pipeline, options=options)
        sampled = [(v, f) for v, clip in enumerate(videos) for f in sample_frames(len(clip), config.frame_stride)]
        frames = [videos[v][f] for v, f in sampled]
        with self.metrics.check(pipeline, len(videos)):
            verdicts, clock = self._checked(config, len(frames), frames, inputs)
        of_clip: list[list[tuple[int, Verdict]]] = [[] for _ in videos]
        for (clip, frame), verdict in zip(sampled, verdicts, strict=True):
            of_clip[clip].append((frame, verdict))
        folded = [fold(clip) for clip in of_clip]
        seconds, worst = clock.by_stage(), lambda i: videos[i][folded[i].frame or 0]
        return self._finish(folded, seconds, config, pipeline, prompts, worst, laps=clock.laps)

    def explain(self, image: Any, *, inputs: Any = None, options: Mapping[str, Any] | None = None) -> Explanation:
        """Check one image and say how its decision came about. Counts, logs and withholds nothing.

        image, inputs, options: as `check` takes them. Raises InputError for an image that cannot be read.
        """
        from guard.explanation import explanation_of

        settings = self._in_force(options)
        config = settings.config
        picture = convert(image)[0].as_arrays()[0]
        reasoned: list[Reasoning] = []
        verdicts, clock = self._checked(config, 1, image, inputs, reasoned)
        (verdict,) = acted(verdicts, config)
        reasoning = next(iter(reasoned), None)
        return explanation_of(self, config, picture, reasoning, verdict, clock.by_stage(), settings.why)

    def _watched(self, calibration: Calibrated | None) -> CalibrationWatch | None:
        if calibration is None:
            return None
        rule, pixels = self.rules.others, compared_pixels(self.config, self._verifier)
        expected = partial(calibration.expected, rule.flag, strength=rule.flag_strength, pixels=pixels)
        watch = CalibrationWatch(
            calibration,
            self.metrics,
            max_age_days=self.config.calibration_max_age_days,
            expected=lambda count: expected(count=count),
        )
        with suppress(IndexLoadError):  # of a damaged overlay, of which the checks tell
            watch.look(len(self.index))
        return watch

    def _count_original(self, result: OriginalResult) -> None:
        self.metrics.count_original(self.name, result)

    def _circumstances(self, config: GuardConfig) -> Circumstances:
        rules, spec = self._rules(config), self.embedder.spec
        of_collections = {rule.collection: (rule.flag, rule.block) for rule in rules}
        return Circumstances(
            *rules.of_the_policy, self.name, spec.name, spec.weights_sha256, spec.preprocessing, of_collections
        )

    def _open_events(self) -> EventRecorder | None:
        if self.config.events.path is None:
            return None
        from guard.events.recorder import EventRecorder

        return EventRecorder(self.config.events, on_drop=self.metrics.drop_events)

    def _in_force(self, options: Mapping[str, Any] | None) -> InForce:
        """What the settings come to, with the options of one call. Raises ConfigError for a wrong option."""
        config = override(self.asked, options)
        settings = in_force(
            config, self.index, self.examiner, self.embedder, calibration=self.calibration, small=self.small
        )
        require_views(self.embedder, settings.config.views)
        return settings

    def _for_call(self, options: Mapping[str, Any] | None) -> GuardConfig:
        return self._in_force(options).config if options else self.config

    def _rules(self, config: GuardConfig) -> Rules:
        if config is self.config:
            return self.rules
        return self._resolved(config)

    def _resolved(self, config: GuardConfig) -> Rules:
        pixels = compared_pixels(config, self._verifier)
        return rules_of(config, self.index, self.embedder, self.calibration, self.name, pixels, self.small)

    def _checked(
        self, config: GuardConfig, count: int, images: Any, inputs: Any, traced: list[Reasoning] | None = None
    ) -> tuple[list[Verdict], Clock]:
        """traced: gets how each verdict came about."""
        look = None if self._watch is None else self._watch.look
        rules = partial(self._rules, config)
        checking = Checking(self.index, self.embedder, self.examiner, config, rules, self.events, look)
        return checking.verdicts(count, images, inputs, traced)

    def _finish(
        self,
        verdicts: Sequence[Verdict],
        seconds: Mapping[str, float],
        config: GuardConfig,
        pipeline: str,
        prompts: Prompts = None,
        picture: Callable[[int], Any] | None = None,
        *,
        laps: Sequence[Lap] = (),
        context: Any = None,
    ) -> Report:
        """Say what happens to each image, count, trace and log. picture: gives the image at a position."""
        report = Report(acted(verdicts, config), pipeline, config.mode, self.index.version, dict(seconds))
        self.metrics.count(report)
        span = trace(report, laps, context)
        logged: Mapping[int, str] = {}
        if self.events is not None:
            logged = self.events.record(report, partial(self._circumstances, config), prompts=prompts, picture=picture)
        if config.log_decisions is not None:
            log_decisions(report, config.log_decisions, index=self.name, events=logged, span=span)
        return report
