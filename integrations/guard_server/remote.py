"""A guard whose checks another process makes: what is sent, how answers become one report, and what if none comes.

Tells requests as a story: a generator that yields one request after the other and is sent their answers, so that the
client that waits and the one that awaits share every word of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guard.config import GuardConfig, load_config, override
from guard.errors import ConfigError, InputError, RemoteError
from guard.hosted import Hosted, Prompts, acted
from guard.intake import convert, count_images, readable
from guard.metrics import GuardMetrics
from guard.report_json import report_from
from guard.types import Report, Verdict
from guard.videos import fold, sample_frames
from guard_server.exchange import Encoding, Outgoing, check_form, encode

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["LOCAL", "RemoteGuard", "Story"]

LOCAL = frozenset({"mode", "on_block", "on_error", "own_input", "allow_unchecked", "frame_stride", "deadline_s"})
"""Settings of the guard that are this side's; all others are the server's."""
SENT = ("mode", "on_block", "on_error", "own_input")
"""Those of them that the server has to know; only what was chosen here is sent, else the server's own hold."""
BYTES = 48_000_000  # of one request; a server takes 64 by default

Story = Generator[Outgoing, Any, Report]


class RemoteGuard(Hosted):
    """What both clients share. See guard.hosted.HostGuard for what a host uses of it."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        config: GuardConfig | str | os.PathLike[str] | None = None,
        metrics: GuardMetrics | None = None,
        registry: CollectorRegistry | None = None,
        encoding: Encoding = "ppm",
        max_images: int = 32,
        **settings: Any,
    ) -> None:
        """url: where `memguard serve` listens. token: with the scopes of what will be asked.

        settings: single fields of GuardConfig that are this side's (LOCAL); config: the same from a file. `deadline_s`
        bounds a check as a whole, encoding and network included. What was not chosen here, the server's settings say.
        metrics, registry: as of Guard.open; only what never reached the server is counted here.
        max_images: of one request, as the server allows; more are sent in several.
        Raises ConfigError for a setting that is the server's.
        """
        _require_local(settings)
        self.url = url.rstrip("/")
        self.config = load_config(config, environ=os.environ, **settings)
        self.metrics = metrics or GuardMetrics(registry)
        self.encoding: Encoding = encoding
        self.max_images = max(2, max_images)
        self.index_version = ""
        """Of the last report that came."""
        self._headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}

    def _settings(self, options: Mapping[str, Any] | None) -> GuardConfig:
        if isinstance(options, Mapping):
            _require_local(options)
        return override(self.config, options)

    def _check_story(self, images: Any, pipeline: str, inputs: Any, prompts: Prompts, config: GuardConfig) -> Story:
        """The requests of a check, and its report."""
        pictures, broken = self._encoded(images)
        own = self._inputs(inputs, config)
        each = prompts if isinstance(prompts, list | tuple) and len(prompts) == len(pictures) else None
        reports: list[Report] = []
        for start, end in self._cuts([len(p) for p in pictures], own):
            said = list(each[start:end]) if each is not None else prompts if isinstance(prompts, str) else None
            answer = yield self._form(pictures[start:end], own, pipeline, said, config)
            reports.append(self._report(answer, end - start))
        joined = self._joined(reports, pipeline, config)
        return replace(joined, verdicts=_with_reasons(joined.verdicts, broken))

    def _videos_story(
        self, videos: Sequence[Any], pipeline: str, inputs: Any, prompts: Prompts, config: GuardConfig
    ) -> Story:
        """The requests of a check of videos: the frames that are sampled here, a video a request, cut if it is long."""
        own = self._inputs(inputs, config)
        each = list(prompts) if isinstance(prompts, list | tuple) and len(prompts) == len(videos) else None
        reports: list[Report] = []
        verdicts: list[Verdict] = []
        for i, clip in enumerate(videos):
            sampled = sample_frames(len(clip), config.frame_stride)
            pictures, broken = self._encoded([clip[frame] for frame in sampled])
            said = each[i : i + 1] if each is not None else prompts if isinstance(prompts, str) else None
            found: list[tuple[int, Verdict]] = []
            for start, end in self._cuts([len(p) for p in pictures], own) if pictures else [(0, 0)]:
                if start == end:
                    break
                answer = yield self._form(pictures[start:end], own, pipeline, said, config, clips=[end - start])
                reports.append(self._report(answer, 1))
                verdict = reports[-1].verdicts[0]
                frame = start + (verdict.frame or 0)
                found.append(
                    (sampled[frame], _with_reasons((verdict,), {0: broken[frame]} if frame in broken else {})[0])
                )
            verdicts.append(fold(found))
        return replace(self._joined(reports, pipeline, config), verdicts=tuple(verdicts))

    def _form(
        self,
        pictures: Sequence[bytes],
        own: Sequence[bytes],
        pipeline: str,
        prompts: Any,
        config: GuardConfig,
        clips: list[int] | None = None,
    ) -> Outgoing:
        chosen = {name: getattr(config, name) for name in SENT if name in config.model_fields_set}
        options = {name: "replace" if callable(value) else str(value) for name, value in chosen.items()}
        return check_form(
            pictures, inputs=own, pipeline=pipeline, prompts=prompts, options=options or None, clips=clips
        )

    def _encoded(self, images: Any) -> tuple[list[bytes], dict[int, InputError]]:
        """Each image as a file; of one that does not convert none, and what is wrong with it."""
        count = count_images(images)
        try:
            batch, broken = convert(images)
        except InputError as exc:
            return [b""] * count, dict.fromkeys(range(count), exc)
        files = [encode(picture, self.encoding) for picture in batch.as_arrays()]
        for position in sorted(broken):
            files.insert(position, b"")
        return files, broken

    def _inputs(self, inputs: Any, config: GuardConfig) -> list[bytes]:
        """The caller's own pictures; those beyond half of what a request takes excuse nothing."""
        own = readable(inputs) if inputs is not None and config.own_input != "ignore" else None
        return [encode(picture, self.encoding) for picture in own.as_arrays()][: self.max_images // 2] if own else []

    def _cuts(self, sizes: Sequence[int], own: Sequence[bytes]) -> list[tuple[int, int]]:
        """Where to cut, so that every request fits the server's limits. sizes: bytes of each picture."""
        cuts: list[tuple[int, int]] = []
        spare_bytes, spare_images = BYTES - sum(map(len, own)), self.max_images - len(own)
        start = total = 0
        for i, size in enumerate(sizes):
            if i > start and (i - start >= spare_images or total + size > spare_bytes):
                cuts.append((start, i))
                start, total = i, 0
            total += size
        return [*cuts, (start, len(sizes))] if sizes else []

    def _report(self, answer: Any, count: int) -> Report:
        try:
            report = report_from(answer)
        except ValueError as exc:
            raise RemoteError(f"{self.url} answered with something else: {exc}") from exc
        if len(report) != count:
            raise RemoteError(f"{self.url} answered with {len(report)} verdicts for {count} images")
        self.index_version = report.index_version
        return report

    def _joined(self, reports: Sequence[Report], pipeline: str, config: GuardConfig) -> Report:
        if not reports:
            return Report((), pipeline, config.mode, self.index_version, {})
        seconds: dict[str, float] = {}
        for report in reports:
            for stage, value in report.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
        return replace(reports[-1], verdicts=tuple(v for report in reports for v in report), seconds=seconds)

    def _finish(
        self,
        verdicts: Sequence[Verdict],
        seconds: Mapping[str, float],
        config: GuardConfig,
        pipeline: str,
        prompts: Prompts = None,
        picture: Callable[[int], Any] | None = None,
    ) -> Report:
        """A report that was made here: counted here, since the server knows nothing of it. No log is kept of it."""
        del prompts, picture
        report = Report(acted(verdicts, config), pipeline, config.mode, self.index_version, dict(seconds))
        self.metrics.count(report)
        return report


def _require_local(settings: Mapping[str, Any]) -> None:
    others = sorted(set(settings) & set(GuardConfig.model_fields) - LOCAL)
    if others:
        raise ConfigError(f"{others[0]} is a setting of the server; a client may choose {', '.join(sorted(LOCAL))}")


def _with_reasons(verdicts: Sequence[Verdict], broken: Mapping[int, InputError]) -> tuple[Verdict, ...]:
    """What this side knows of a picture that could not be read, in place of the server's word on an empty file."""
    return tuple(replace(v, reasons=(str(broken[i]),)) if i in broken else v for i, v in enumerate(verdicts))
