"""The settings of the sidecar: table `[server]` of the guard's file, `MEMGUARD_SERVER__…`, flags. Opens nothing."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from guard.config import load_table
from guard_server.tokens import Token

__all__ = ["CALL_OPTIONS", "PIPELINE", "ServerConfig", "is_loopback", "load_server_config"]

CallOption = Literal["mode", "on_block", "on_error", "own_input"]
CALL_OPTIONS: tuple[CallOption, ...] = ("mode", "on_block", "on_error", "own_input")
"""Settings of the guard that a request may choose. None of them makes a check dearer, or moves a threshold."""
PIPELINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,63}")
"""What a pipeline may be called: its name is a label of metrics."""


class ServerConfig(BaseModel):
    """Frozen; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: Path | None = Field(None, description="Index directory made by `memguard index build`.")
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. One that others can reach needs tokens: without any the server refuses to "
        "start on it.",
    )
    port: int = Field(8750, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1, ge=1, le=64, description="Processes. They share the port and, mapped from its file, the memory of the index."
    )
    tokens: tuple[Token, ...] = Field((), description="Named tokens, stored as hashes (`memguard token` makes them).")
    tokens_file: Path | None = Field(None, description="TOML file with further tokens, as `memguard token` writes it.")
    session_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_hex(32)),
        min_length=32,
        description="Signs the cookies of the pages; unset: a random one, with which a restart signs everybody out.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names under which the server is called, as in the header Host; empty: any with tokens, and the "
        "names of this machine's loopback without.",
    )
    pipelines: tuple[str, ...] = Field(
        ("default",), description="Names of pipelines whose metrics shall be there, at 0, from the start."
    )
    max_pipelines: int = Field(
        32, ge=1, le=1000, description="Names of pipelines that get metrics of their own; beyond: `other`."
    )
    call_options: tuple[CallOption, ...] = Field(
        CALL_OPTIONS, description="Settings of the guard that a request may choose for itself."
    )
    max_images: int = Field(
        32, ge=1, le=1024, description="Images of one request, the caller's own inputs and frames among them."
    )
    max_body_mb: float = Field(64.0, gt=0, description="Size of one request, in units of 1,000,000 bytes.")
    max_image_mb: float = Field(32.0, gt=0, description="Size of one encoded image, in units of 1,000,000 bytes.")
    max_upload_mb: float = Field(
        512.0, gt=0, description="Bytes of all requests that a worker holds at a time, in units of 1,000,000."
    )
    max_megapixels: float = Field(
        50.0, gt=0, le=178, description="Size of one image in units of 1,000,000 px; nothing larger is decoded."
    )
    max_decoded_megapixels: float = Field(
        200.0, gt=0, description="Pixels that a process holds decoded at a time, in units of 1,000,000; others wait."
    )
    queue_images: int = Field(
        256,
        ge=1,
        description="Images that a process has accepted and not answered; beyond, requests are turned away with 429.",
    )
    batch_images: int = Field(16, ge=1, le=256, description="Images that are checked together, of several requests.")
    batch_wait_ms: float = Field(
        5.0,
        ge=0,
        le=1000,
        description="Milliseconds that a batch waits for requests on their way; a client that is alone never waits.",
    )
    batch_threads: int = Field(1, ge=1, le=64, description="Batches that are checked at a time.")
    head_s: float = Field(10.0, gt=0, description="Seconds that a client may take to send the head of a request.")
    body_s: float = Field(30.0, gt=0, description="Seconds that a client may take to send a request.")
    send_s: float = Field(30.0, gt=0, description="Seconds that a client may take to read an answer.")
    decode_s: float = Field(10.0, gt=0, description="Seconds that decoding may take for one image.")
    decode_threads: int = Field(0, ge=0, le=256, description="Threads that decode; 0: one a core.")
    watch_s: float = Field(
        2.0, ge=0, le=3600, description="Seconds between two looks for a new version of the index; 0: none."
    )
    checksums: bool = Field(
        True,
        description="Compare every file of a version with the checksums in its manifest before it is used, which reads "
        "all of it once.",
    )
    canary_s: float = Field(
        60.0, ge=0, le=86_400, description="Seconds between two checks of the canaries; 0: none are kept."
    )
    canaries: int = Field(
        3, ge=1, le=24, description="References that are canaries, encoded anew from their thumbnails."
    )
    canary_pictures: Path | None = Field(
        None,
        description="Folder of pictures that must be found, in place of references; their originals are in the index.",
    )
    meaning: Path | None = Field(
        None,
        description="Index of the same pictures that a CLIP built: words are compared with them. Unset: the served "
        "one, if a CLIP built it.",
    )
    text_model: str | None = Field(
        None, description="The text tower of that CLIP: a name, onnx:FILE or a folder. Unset: by the index's embedder."
    )
    shutdown_s: int = Field(30, ge=1, description="Seconds that requests get to end when the server is told to stop.")

    @field_validator("call_options", "hosts", "pipelines", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """The environment knows text alone: "a, b"."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("pipelines")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not PIPELINE.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a label: letters, digits and _ . : / + - only, at most 64")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ServerConfig:
        if len(set(self.pipelines)) > self.max_pipelines:
            raise ValueError("pipelines names more than max_pipelines")
        names = [token.name for token in self.tokens]
        if len(names) != len(set(names)):
            raise ValueError("tokens: two have the same name")
        return self


def load_server_config(
    source: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    called: Mapping[str, str] = MappingProxyType({}),
    **flags: Any,
) -> ServerConfig:
    """File < environment < flags, where None counts as not given. Raises ConfigError naming what does not fit.

    called: see guard.config.load_config.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    return load_table("server", ServerConfig, source, environ=environ, called=called, **given)


def is_loopback(host: str) -> bool:
    """True if only this machine reaches an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
