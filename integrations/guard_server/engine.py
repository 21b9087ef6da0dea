"""From encoded images to a report, off the event loop: decode, check, draw. Knows threads; no HTTP and no token."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guard.decode import ImageFileError, decode
from guard.errors import GuardError, InputError
from guard.types import Decision, Report, Verdict
from guard_server.config import ServerConfig

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.pixels import RGBArray

__all__ = ["Engine", "Job"]

OTHER = "other"


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


class Engine:
    """guard: open. config: limits."""

    def __init__(self, guard: Guard, config: ServerConfig) -> None:
        self.guard = guard
        self.config = config
        self._decoders = ThreadPoolExecutor(config.decode_threads or os.cpu_count() or 1, "memguard-decode")
        self._checkers = ThreadPoolExecutor(1, "memguard-batch")
        self._pipelines = set(config.pipelines)
        for name in config.pipelines:
            guard.metrics.add_pipeline(name)

    def close(self) -> None:
        """End the threads when they are done."""
        self._decoders.shutdown()
        self._checkers.shutdown()

    async def check(self, job: Job) -> tuple[Report, list[RGBArray | InputError]]:
        """The report, and the pictures that it is about. Raises ConfigError for options that do not fit."""
        pictures, inputs = await asyncio.gather(self._decoded(job.images), self._decoded(job.inputs))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._checkers, self._check, job, pictures, inputs), pictures

    def _check(self, job: Job, pictures: list[RGBArray | InputError], inputs: list[RGBArray | InputError]) -> Report:
        named: dict[str, Any] = {
            "pipeline": self._label(job.pipeline),
            "inputs": [picture for picture in inputs if not isinstance(picture, InputError)] or None,
            "prompts": job.prompts,
            "options": job.options,
        }
        if job.clips is None:
            return self.guard.check(pictures, **named)
        clips, start = [], 0
        for frames in job.clips:
            clips.append(pictures[start : start + frames])
            start += frames
        return self.guard.check_videos(clips, **{**named, "options": {**job.options, "frame_stride": 1}})

    def _label(self, pipeline: str) -> str:
        """The name itself while there are not too many: what clients send must not grow the metrics without end."""
        if pipeline not in self._pipelines:
            if len(self._pipelines) >= self.config.max_pipelines:
                return OTHER
            self._pipelines.add(pipeline)
        return pipeline

    async def _decoded(self, images: Sequence[bytes]) -> list[RGBArray | InputError]:
        return list(await asyncio.gather(*(self._decode(data, f"image {i}") for i, data in enumerate(images))))

    async def _decode(self, data: bytes, where: str) -> RGBArray | InputError:
        """The picture, or what is wrong with it. One that takes too long goes on alone: a thread cannot be stopped."""
        loop = asyncio.get_running_loop()
        config = self.config
        work = loop.run_in_executor(
            self._decoders, decode_one, data, where, int(config.max_image_mb * 1e6), int(config.max_megapixels * 1e6)
        )
        try:
            return await asyncio.wait_for(work, config.decode_s)
        except TimeoutError:
            text = f"{where} was not decoded within decode_s = {config.decode_s:g} s; send a smaller one"
            return ImageFileError(text, reason="too_large")

    async def evidence(self, pictures: Sequence[RGBArray | InputError], report: Report) -> list[str | None]:
        """For each verdict a PNG in base64: the image beside the reference that it was flagged for; None without."""
        pairs = zip(pictures, report, strict=True)
        loop = asyncio.get_running_loop()
        work = (loop.run_in_executor(self._decoders, draw, self.guard, picture, verdict) for picture, verdict in pairs)
        return list(await asyncio.gather(*work))


def decode_one(data: bytes, where: str, max_bytes: int, max_pixels: int) -> RGBArray | InputError:
    try:
        return decode(data, where=where, max_bytes=max_bytes, max_pixels=max_pixels).rgb
    except InputError as exc:
        return exc


def draw(guard: Guard, picture: RGBArray | InputError, verdict: Verdict) -> str | None:
    from guard.verification.picture import evidence_strip

    match = next((m for m in verdict.matches if m.evidence and m.evidence.is_copy), verdict.nearest)
    if match is None or isinstance(picture, InputError) or verdict.decision in (None, Decision.ALLOW):
        return None
    try:
        found = guard.examiner.explain(picture, match)
    except GuardError:
        return None
    if found is None:
        return None
    buffer = io.BytesIO()
    evidence_strip(picture, *found, title=f"similarity {match.similarity:.3f}").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
