"""The settings of the decision log. Reads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = ["EventsConfig", "Prompts"]

Prompts = Literal["hash", "plain", "none"]


class EventsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = Field(None, description="SQLite file of the decision log; unset: no log is kept.")
    allow_sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of the allowed and skipped images that are logged; all that is flagged, blocked, failed or "
        "withheld is.",
    )
    max_age_days: float | None = Field(90.0, gt=0, description="Older events are deleted; none: no bound.")
    max_mb: float | None = Field(
        512.0,
        ge=1,
        description="Size of the file, in units of 1,000,000 bytes, beyond which the oldest go; none: no bound.",
    )
    prompts: Prompts = Field(
        "hash", description="What is kept of a prompt: hash (HMAC-SHA256 with a key), plain (its text), or none."
    )
    prompt_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key of the prompts' hashes; unset: a random one, made at the first use in the file PATH.key.",
    )
    thumbnails: int = Field(
        0, ge=0, le=1024, description="Longer side in px of a JPEG of each logged image; 0 (the default): none."
    )
    descriptors: bool = Field(
        True, description="Keep the descriptors of flagged and blocked images, which a reviewer's exemption needs."
    )
    queue: int = Field(
        1024, ge=1, le=100_000, description="Events that may wait to be written; beyond, they are dropped."
    )
    wait_ms: float = Field(
        0.0,
        ge=0,
        le=60_000,
        description="Milliseconds that a check may wait in all for room in the queue; 0: not at all.",
    )

    @field_validator("prompts", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        return "none" if value is None else value  # the environment's "none" arrives as None
