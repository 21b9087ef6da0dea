"""The body of a check -> encoded images and fields, bounded. Knows forms and JSON; decodes no picture.

Nothing is written to disk, no URL is fetched, and a file's name is thrown away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from guard_server.config import PIPELINE, ServerConfig
from guard_server.multipart import read_form
from guard_server.problems import Problem, invalid

__all__ = ["CheckBody", "CheckFields", "Upload", "UploadBudget", "bounded", "in_time", "read_upload"]

LABEL = f"^{PIPELINE.pattern}$"


class CheckFields(BaseModel):
    """What a request may say beside its images. In a multipart form each is a field; all but `pipeline` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipeline: str = Field("default", pattern=LABEL, description="Label of its metrics.", examples=["web"])
    prompts: list[str | None] | str | None = Field(
        None, description="One for each image, or one for all; only the decision log sees them.", examples=["a prompt"]
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the guard for this request alone: those that the server's `call_options` names.",
        examples=[{"mode": "flag"}],
    )
    evidence: bool = Field(
        False,
        description="Add a picture of the evidence for each flagged or blocked image. It shows a training picture, so "
        "that the token needs the scope `review`.",
    )
    clips: list[int] | None = Field(
        None,
        description="The images are frames of videos, in order: how many belong to each. One verdict a video.",
        examples=[None],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    images: list[bytes]
    """Encoded, in the order of the request."""
    inputs: list[bytes]
    """The caller's own input pictures, encoded."""
    fields: CheckFields


class UploadBudget:
    """How many bytes of requests one process holds at a time, so that slow or large uploads cannot fill its memory."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Yield what is told of every further byte; all are given back at the end.

        It raises a Problem where there is no room; a request that is alone always finds some.
        """
        mine = 0

        def more(count: int) -> None:
            nonlocal mine
            if self.held + count > self.most and self.held > mine:
                raise Problem("busy", "the requests that arrive now fill the memory for them", retry_after_s=1,
                              reason="uploads_full")  # fmt: skip
            mine += count
            self.held += count

        try:
            yield more
        finally:
            self.held -= mine


async def read_upload(request: Request, config: ServerConfig, more: Callable[[int], None]) -> Upload:
    """Read a request within its time. more: told of every byte before it is kept.

    Raises Problem for whatever is too slow, too large or malformed, ClientDisconnect if the client went away.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    async with in_time(config):
        chunks = bounded(request, int(config.max_body_mb * 1_000_000), more)
        if kind == b"multipart/form-data":
            return await _read_form(chunks, parameters.get(b"boundary", b""), config)
        if kind == b"application/json":
            body = b"".join([chunk async for chunk in chunks])
        else:
            raise Problem("media-type", "send multipart/form-data with files named `images`, or application/json")
    return await asyncio.to_thread(_from_json, body, config)


@asynccontextmanager
async def in_time(config: ServerConfig) -> AsyncIterator[None]:
    """Raises Problem where what is within takes longer than a client may take to send a request."""
    try:
        async with asyncio.timeout(config.body_s):
            yield
    except TimeoutError:
        detail = f"the request was not complete after {config.body_s:g} s"
        raise Problem("too-slow", detail, reason="too_slow") from None


async def bounded(request: Request, most: int, more: Callable[[int], None] = lambda _: None) -> AsyncIterator[bytes]:
    """The body of a request as it comes. more: told of every byte before it is kept. Raises Problem beyond `most`."""
    declared = request.headers.get("content-length", "")
    problem = Problem("too-large", f"a request may have {most} bytes", reason="too_large")
    if declared.isdecimal() and int(declared) > most:
        raise problem
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise problem
        more(len(chunk))
        yield chunk


def _count(images: int, config: ServerConfig) -> None:
    if images > config.max_images:
        raise Problem("too-large", f"a request may hold {config.max_images} images; split it", reason="too_large")


def _fields(values: dict[str, Any]) -> CheckFields:
    try:
        return CheckFields.model_validate(values)
    except ValidationError as exc:
        raise invalid(exc.errors()) from None


# -- JSON -------------------------------------------------------------------------------------


class CheckBody(CheckFields):
    """The same with the images in base64; for programs that send no forms."""

    images: list[str] = Field(
        description="Encoded pictures (JPEG, PNG, WebP, ...) in base64.", examples=[["/9j/4AAQ…"]]
    )
    inputs: list[str] = Field(
        default_factory=list,
        description="The caller's own input pictures (img2img, inpainting), in base64: an image that echoes one is "
        "told apart.",
        examples=[[]],
    )


def _from_json(body: bytes, config: ServerConfig) -> Upload:
    try:
        asked = CheckBody.model_validate_json(body)
    except ValidationError as exc:
        raise invalid(exc.errors(include_url=False, include_input=False)) from None
    _count(len(asked.images) + len(asked.inputs), config)
    images = [_base64(text, f"images.{i}") for i, text in enumerate(asked.images)]
    inputs = [_base64(text, f"inputs.{i}") for i, text in enumerate(asked.inputs)]
    return Upload(images, inputs, _fields(asked.model_dump(exclude={"images", "inputs"})))


def _base64(text: str, where: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Problem("invalid", f"{where} is no base64: {exc}") from None


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, config: ServerConfig) -> Upload:
    form = await read_form(
        chunks, boundary, files=("images", "inputs"), texts=CheckFields.model_fields, most_files=config.max_images
    )
    values = {name: text if name == "pipeline" else _json(name, text) for name, text in form.texts.items()}
    if not form.files["images"]:
        raise Problem("invalid", "the form holds no file named `images`")
    return Upload(form.files["images"], form.files["inputs"], _fields(values))


def _json(name: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if name != "prompts":
            raise Problem("invalid", f"field {name} is no JSON") from None
        value = None
    # A form that is written by hand holds the prompt as it is.
    return text if name == "prompts" and not isinstance(value, str | list) else value
