"""The body of a check -> encoded images and fields, bounded. Knows multipart and JSON; decodes no picture.

Nothing is written to disk, no URL is fetched, and a file's name is thrown away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from guard_server.config import PIPELINE, ServerConfig
from guard_server.problems import Problem, invalid

__all__ = ["CheckBody", "CheckFields", "Upload", "UploadBudget", "read_upload"]

FIELD_BYTES = 1_000_000  # of one field that is no image
LABEL = f"^{PIPELINE.pattern}$"
HEADER_FIELDS = 8  # headers of one part


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
    try:
        async with asyncio.timeout(config.body_s):
            chunks = _bounded(request, int(config.max_body_mb * 1_000_000), more)
            if kind == b"multipart/form-data":
                return await _read_form(chunks, parameters.get(b"boundary", b""), config)
            if kind == b"application/json":
                body = b"".join([chunk async for chunk in chunks])
            else:
                raise Problem("media-type", "send multipart/form-data with files named `images`, or application/json")
    except TimeoutError:
        detail = f"the request was not complete after {config.body_s:g} s"
        raise Problem("too-slow", detail, reason="too_slow") from None
    return await asyncio.to_thread(_from_json, body, config)


async def _bounded(request: Request, most: int, more: Callable[[int], None]) -> AsyncIterator[bytes]:
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


# -- multipart --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""


class _Form:
    """Receives the parser's calls; holds each part as soon as it is complete."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.files: dict[str, list[bytes]] = {"images": [], "inputs": []}
        self.texts: dict[str, str] = {}
        self.ended = False
        self._part = _Part()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        if self._part.header.lower() == b"content-disposition":
            self._part.disposition = bytes(self._part.value)
        self._part.header.clear()
        self._part.value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.disposition)
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        self._part.is_file = self._part.name in self.files
        if self._part.is_file:
            _count(1 + sum(map(len, self.files.values())), self.config)
        elif self._part.name not in CheckFields.model_fields:
            known = ", ".join([*self.files, *CheckFields.model_fields])
            raise Problem("invalid", f"the form has a field {self._part.name[:64]!r}; known: {known}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._part.data += memoryview(data)[start:end]
        if not self._part.is_file and len(self._part.data) > FIELD_BYTES:
            raise Problem("too-large", f"field {self._part.name} has more than {FIELD_BYTES} bytes", reason="too_large")

    def _end(self) -> None:
        part = self._part
        if part.is_file:
            self.files[part.name].append(bytes(part.data))
        else:
            if part.name in self.texts:
                raise Problem("invalid", f"the form has two fields {part.name}; give lists as JSON")
            self.texts[part.name] = part.data.decode("utf-8", "replace")
        self._part = _Part()

    def _all(self) -> None:
        self.ended = True


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, config: ServerConfig) -> Upload:
    form = _Form(config)
    try:
        if not boundary:
            raise FormParserError("the header Content-Type names no boundary")
        parser = MultipartParser(boundary, form.callbacks(), max_header_count=HEADER_FIELDS)  # type: ignore[arg-type]
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as exc:
        raise Problem("malformed", f"this is no multipart form: {exc}") from None
    if not form.ended:
        raise Problem("malformed", "the multipart form breaks off before its last boundary")
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
