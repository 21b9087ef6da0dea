"""Requests to a server as bytes, and its answers as values: the client's half of the interface. Opens no connection."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from guard.errors import RemoteError
from guard.pixels import RGBArray

__all__ = ["Encoding", "Outgoing", "ServerInfo", "check_form", "encode", "form", "read_answer"]

Encoding = Literal["ppm", "png"]
"""How pictures travel, both without loss. ppm: as they are, at no cost for either side. png: half the bytes, for slow
networks, at a hundred times the work."""


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What runs on the other side."""

    memguard: str
    index: str
    index_version: str
    references: int
    embedder: str
    provider: str
    mode: str

    @classmethod
    def of(cls, answer: Any) -> ServerInfo:
        """Raises RemoteError for an answer of something else."""
        try:
            return cls(**{name: answer[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as exc:
            raise RemoteError(f"this is no memguard server: its /version lacks {exc}") from exc


def encode(picture: RGBArray, encoding: Encoding) -> bytes:
    """(h, w, 3) uint8 -> a file."""
    if encoding == "ppm":
        return b"P6 %d %d 255\n" % (picture.shape[1], picture.shape[0]) + picture.tobytes()
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_form(images: Sequence[bytes], *, inputs: Sequence[bytes] = (), **fields: Any) -> Outgoing:
    """POST /v1/check. fields: those of guard_server.uploads.CheckFields; None is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    texts = {name: value if name == "pipeline" else json.dumps(value) for name, value in given.items()}
    return form("/v1/check", {"images": images, "inputs": inputs}, texts)


def form(path: str, files: Mapping[str, Sequence[bytes]], texts: Mapping[str, str]) -> Outgoing:
    """POST of a multipart form."""
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for name, several in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'.encode()
        for file in several:
            parts += [head, file, b"\r\n"]
    for name, text in texts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        parts += [head, text.encode("utf-8", "replace"), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Outgoing("POST", path, b"".join(parts), kind)


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The JSON of an answer. Raises RemoteError for any but a success, with what the problem details say."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if 200 <= status < 300 and value is not None:
        return value
    problem = value if isinstance(value, dict) else {}
    said = problem.get("detail") or problem.get("title") or body[:200].decode("utf-8", "replace")
    wait = headers.get("retry-after", "")
    raise RemoteError(
        f"the server answered {status}: {said}",
        status=status,
        code=str(problem.get("type", "")).rpartition(":")[2],
        retry_after_s=float(wait) if wait.isdecimal() else None,
    )
