"""From encoded images to a report, off the event loop: admit, decode, batch, check. Knows threads and no HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from guard.config import override
from guard.decode import ImageFileError, decode, measure
from guard.errors import DeadlineError, InputError
from guard.guard import Call
from guard.types import Report, Verdict
from guard_server.admission import PixelRoom, Queue
from guard_server.batching import Batcher, Entry
from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.evidence import draw

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.pixels import RGBArray
    from guard_server.metrics import ServerMetrics

__all__ = ["Checked", "Engine", "Job"]

OTHER = "other"
Picture: TypeAlias = "RGBArray | InputError"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request for a check, its pictures still encoded."""

    images: Sequence[bytes]
    inputs: Sequence[bytes] = ()
    pipeline: str = "default"
    prompts: Sequence[str | None] | str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    clips: Sequence[int] | None = None
    """The images are frames: how many belong to each video."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A report, the pictures that it is about, and the guard that made it: by now another one may be in use."""

    report: Report
    pictures: Sequence[Picture]
    guard: Guard


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A job whose pictures are decoded."""

    job: Job
    pictures: Sequence[Picture]
    inputs: Sequence[Picture]
    context: Context = field(default_factory=copy_context)
    """Of the request, which a trace follows to the thread that checks."""

    @property
    def group(self) -> str | None:
        """What jobs have in common that can be one batch; None: this one is checked by itself."""
        alone = self.inputs or self.job.clips is not None
        return None if alone else repr(sorted(self.job.options.items()))


class Engine:
    """current: the guard. config: limits. One for a process; runs on one event loop."""

    def __init__(self, current: Current, config: ServerConfig, metrics: ServerMetrics) -> None:
        self._current = current
        self.config = config
        self._decoders = ThreadPoolExecutor(config.decode_threads or os.cpu_count() or 1, "memguard-decode")
        self._queue = Queue(config.queue_images, metrics.queue.inc)
        self._room = PixelRoom(int(config.max_decoded_megapixels * 1e6))
        self._max_bytes = int(config.max_image_mb * 1e6)
        self._max_pixels = int(config.max_megapixels * 1e6)
        self._batcher: Batcher[_Ready, Checked] = Batcher(
            self._run,
            most_images=config.batch_images,
            wait_s=config.batch_wait_ms / 1000,
            threads=config.batch_threads,
            coming=lambda: self._queue.requests - self._batcher.inside,
        )
        self._pipelines = set(config.pipelines)
        for name in config.pipelines:
            current.guard.metrics.add_pipeline(name)

    async def close(self) -> None:
        """End the threads when what they were given is done."""
        await self._batcher.close()
        self._decoders.shutdown()

    async def check(self, job: Job) -> Checked:
        """Check one request. Raises ConfigError for options that do not fit, FullError where too much waits already."""
        limit_s = override(self._current.guard.config, job.options).deadline_s
        try:
            with self._queue.admit(len(job.images) + len(job.inputs), limit_s):
                pixels = await self._in_threads(_measure_all, [*job.images, *job.inputs], self._max_pixels)
                async with self._room.hold(pixels):
                    pictures, inputs = await asyncio.gather(self._decoded(job.images), self._decoded(job.inputs))
                    return await self._batcher.submit(_Ready(job, pictures, inputs), len(pictures))
        finally:
            self._batcher.nudge()  # nobody shall wait for it any longer

    async def evidence(self, checked: Checked) -> list[str | None]:
        """For each verdict a PNG in base64: the image beside the reference that it was flagged for; None without, and
        where the version of the index that was checked against has been let go of by now."""
        pairs = zip(checked.pictures, checked.report, strict=True)
        work = (self._in_threads(self._draw, checked.guard, picture, verdict) for picture, verdict in pairs)
        return list(await asyncio.gather(*work))

    def _draw(self, guard: Guard, picture: Picture, verdict: Verdict) -> str | None:
        with self._current.again(guard) as held:
            return None if held is None else draw(held, picture, verdict)

    # -- decoding ---------------------------------------------------------------------------------

    async def _decoded(self, images: Sequence[bytes]) -> list[Picture]:
        return list(await asyncio.gather(*(self._decode(data, f"image {i}") for i, data in enumerate(images))))

    async def _decode(self, data: bytes, where: str) -> Picture:
        """The picture, or what is wrong with it. One that takes too long goes on alone: a thread cannot be stopped."""
        begun: list[float] = []
        work = asyncio.ensure_future(
            self._in_threads(_decode_one, data, where, self._max_bytes, self._max_pixels, begun)
        )
        seconds = self.config.decode_s
        while not (await asyncio.wait({work}, timeout=seconds))[0]:
            if begun and time.monotonic() - begun[0] >= seconds:  # it may also have waited for a thread
                text = f"{where} was not decoded within decode_s = {seconds:g} s; send a smaller one"
                return ImageFileError(text, reason="too_large")
        return work.result()  # type: ignore[no-any-return]

    async def _in_threads(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    # -- checking, on the batcher's thread --------------------------------------------------------

    def _run(self, entries: Sequence[Entry[_Ready, Checked]]) -> list[Checked | BaseException]:
        with self._current.use() as guard:  # one for the whole batch
            return self._run_with(guard, entries)

    def _run_with(self, guard: Guard, entries: Sequence[Entry[_Ready, Checked]]) -> list[Checked | BaseException]:
        results: dict[int, Checked | BaseException] = {}
        groups: dict[str | None, list[int]] = {}
        for i, entry in enumerate(entries):
            late = self._too_late(guard, entry)
            if late is not None:
                results[i] = late
            else:
                groups.setdefault(entry.work.group, []).append(i)
        for group, members in groups.items():
            for together in [members] if group is not None else [[i] for i in members]:
                try:
                    reports = self._check(guard, [entries[i].work for i in together])
                except Exception as exc:
                    results.update((i, exc) for i in together)
                else:
                    for i, report in zip(together, reports, strict=True):
                        results[i] = Checked(report, entries[i].work.pictures, guard)
        return [results[i] for i in range(len(entries))]

    def _too_late(self, guard: Guard, entry: Entry[_Ready, Checked]) -> Checked | None:
        """What waited for as long as a whole check may take is a failed check."""
        limit, job = guard.config.deadline_s, entry.work.job
        if limit is None or time.monotonic() - entry.arrived < limit:
            return None
        count = len(entry.work.pictures) if job.clips is None else len(job.clips)
        error = DeadlineError(stage="host", deadline_s=limit)
        label = self._label(job.pipeline)
        report = guard.fail(count, error, pipeline=label, prompts=job.prompts, options=job.options)
        return Checked(report, entry.work.pictures, guard)

    def _check(self, guard: Guard, ready: Sequence[_Ready]) -> list[Report]:
        first = ready[0]
        if first.group is not None:
            calls = [
                one.context.run(Call, one.pictures, self._label(one.job.pipeline), one.job.prompts) for one in ready
            ]
            return guard.check_together(calls, options=first.job.options)
        job = first.job
        named: dict[str, Any] = {
            "pipeline": self._label(job.pipeline),
            "inputs": [picture for picture in first.inputs if not isinstance(picture, InputError)] or None,
            "prompts": job.prompts,
        }
        if job.clips is None:
            return [first.context.run(partial(guard.check, first.pictures, options=job.options, **named))]
        clips, start = [], 0
        for frames in job.clips:
            clips.append(first.pictures[start : start + frames])
            start += frames
        options = {**job.options, "frame_stride": 1}
        return [first.context.run(partial(guard.check_videos, clips, options=options, **named))]

    def _label(self, pipeline: str) -> str:
        """The name itself while there are not too many: what clients send must not grow the metrics without end."""
        if pipeline not in self._pipelines:
            if len(self._pipelines) >= self.config.max_pipelines:
                return OTHER
            self._pipelines.add(pipeline)
        return pipeline


def _measure_all(images: Sequence[bytes], most: int) -> int:
    """Pixels of all that will be decoded; what is larger than `most` will not be."""
    return sum(pixels for pixels in map(measure, images) if pixels <= most)


def _decode_one(data: bytes, where: str, max_bytes: int, max_pixels: int, begun: list[float]) -> Picture:
    begun.append(time.monotonic())
    try:
        return decode(data, where=where, max_bytes=max_bytes, max_pixels=max_pixels).rgb
    except InputError as exc:
        return exc
