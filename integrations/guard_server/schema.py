"""The JSON of a check as OpenAPI shows it. Documents `Report.to_dict`; a test holds real reports against it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from guard_server.uploads import CheckBody, CheckFields

__all__ = ["BODY", "EXAMPLES", "CheckReport"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MaskOut(_Model):
    height: int
    width: int
    runs: list[int] = Field(description="Lengths of the runs of equal cells, row by row; the first is of unset cells.")


class EvidenceOut(_Model):
    kind: Literal["near_identical", "edited", "partial", "same_template", "none"]
    transform: list[float] | None = Field(description="Reference to image, in shares of width and height.")
    mirrored: bool
    inliers: int
    copied_area_query: float
    copied_area_reference: float
    tiled_l2: float | None
    agreement: float
    strength: float = Field(description="How far beyond the limits of a copy, in [-1, 1]; below 0 it is none.")
    keypoints: list[int] | None
    mask: MaskOut | None


class MatchOut(_Model):
    id: int
    similarity: float
    pdq_bits: int | None = Field(description="Of 256 bits, how many differ; null beyond 31.")
    evidence: EvidenceOut | None = Field(description="Null where pixels were not compared.")
    uri: str
    sha256: str
    caption: str
    collections: list[str]
    cluster_size: int


class VerdictOut(_Model):
    status: Literal["success", "error", "skipped"] = Field(description="How the check itself went.")
    decision: Literal["allow", "flag", "block"] | None = Field(description="Null unless the status is `success`.")
    collection: str | None = Field(description="Of a flag or block: the collection that brought it about.")
    action: Literal["released", "replaced", "blurred", "dropped", "raised"] = Field(
        description="What shall happen to the pixels: anything but `released` means that they are withheld."
    )
    matches: list[MatchOut]
    reasons: list[str]
    frame: int | None
    input_similarity: float | None
    verified: bool | None
    stage: str | None
    reason: str | None


class CheckReport(_Model):
    """One verdict an image, in the order of the request."""

    pipeline: str
    mode: Literal["enforce", "flag", "shadow"]
    index_version: str
    seconds: dict[str, float] = Field(description="Of each stage, of the batch in which the images were checked.")
    verdicts: list[VerdictOut]
    evidence_pictures: list[str | None] = Field(
        default=[], description="With `evidence`: for each verdict a PNG in base64, or null."
    )


def _of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model, complete in itself."""
    schema = model.model_json_schema()
    schema.pop("title", None)
    return schema


def _form() -> dict[str, Any]:
    files = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "description": "Encoded pictures: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM or ICO.",
    }
    fields = _of(CheckFields)["properties"]
    inputs = {**files, "description": "The caller's own input pictures: an image that echoes one is told apart."}
    return {"type": "object", "required": ["images"], "properties": {"images": files, "inputs": inputs, **fields}}


BODY: dict[str, Any] = {
    "required": True,
    "content": {"multipart/form-data": {"schema": _form()}, "application/json": {"schema": _of(CheckBody)}},
}
"""The requestBody of POST /v1/check."""

_BLOCKED = {
    "status": "success",
    "decision": "block",
    "collection": "training",
    "action": "replaced",
    "matches": [
        {
            "id": 3,
            "similarity": 0.987654,
            "pdq_bits": 2,
            "evidence": None,
            "uri": "photos/0003.jpg",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "caption": "a lighthouse at dusk",
            "collections": ["training"],
            "cluster_size": 4,
        }
    ],
    "reasons": ["similarity 0.988 to photos/0003.jpg (training) reaches block 0.750"],
    "frame": None,
    "input_similarity": None,
    "verified": None,
    "stage": None,
    "reason": None,
}
_UNREADABLE = {
    **_BLOCKED,
    "status": "error",
    "decision": None,
    "collection": None,
    "matches": [],
    "reasons": ["image 1 is a damaged JPEG (OSError: image file is truncated); fetch or export it again"],
    "stage": "pixels",
    "reason": "input",
}
EXAMPLES: dict[str, Any] = {
    "a copy and a broken file": {
        "summary": "Two images: a copy of a training picture, and a file that cannot be read",
        "value": {
            "pipeline": "web",
            "mode": "enforce",
            "index_version": "0003",
            "seconds": {"pixels": 0.0004, "embed": 0.0051, "search": 0.0017, "decide": 0.0001},
            "verdicts": [_BLOCKED, _UNREADABLE],
        },
    }
}
