"""A multipart form -> its files and its texts, bounded, in memory alone. Knows parts; no request and no picture.

A file's name is thrown away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from guard_server.problems import Problem

__all__ = ["Form", "read_form"]

FIELD_BYTES = 1_000_000  # of one field that is no file
HEADER_FIELDS = 8  # headers of one part


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    files: dict[str, list[bytes]]
    """Every name that was asked for, with what came under it, in order."""
    texts: dict[str, str]
    """What came alone."""


async def read_form(
    chunks: AsyncIterator[bytes],
    boundary: bytes,
    *,
    files: Collection[str],
    texts: Collection[str],
    most_files: int,
) -> Form:
    """files, texts: names of the fields that are known. Raises Problem for others, for too much, or for no form."""
    form = _Parts(files, texts, most_files)
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
    return Form(form.files, form.texts)


@dataclass(slots=True)
class _Part:
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""


class _Parts:
    """Receives the parser's calls; holds each part as soon as it is complete."""

    def __init__(self, files: Collection[str], texts: Collection[str], most_files: int) -> None:
        self._known, self._most = texts, most_files
        self.files: dict[str, list[bytes]] = {name: [] for name in files}
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
            if sum(map(len, self.files.values())) >= self._most:
                raise Problem("too-large", f"a request may hold {self._most} images; split it", reason="too_large")
        elif self._part.name not in self._known:
            known = ", ".join([*self.files, *self._known])
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
