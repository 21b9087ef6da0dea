"""What an index says of itself, as manifest.json. Knows fields, checks and the embedder's identity; no vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from guard.embedders.base import EmbedderSpec, Thresholds
from guard.errors import IndexLoadError
from guard.indexes.faissfile import ORIGINALS
from guard.indexes.rivals import Rivals

__all__ = [
    "CALIBRATION",
    "FORMAT_VERSION",
    "MANIFEST",
    "SMALL",
    "TRANSFORM",
    "ClustersEntry",
    "FileEntry",
    "HashesEntry",
    "Manifest",
    "NormalisationEntry",
    "RivalsEntry",
    "SealedEntry",
    "TransformEntry",
    "VectorKind",
    "WhiteningEntry",
    "vector_kind",
]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TRANSFORM = "transform.safetensors"
SMALL = "small.json"  # guard.small.record
CALIBRATION = "calibration.json"  # guard.calibration.record; its sha256 among `files` is the calibration's id

VectorKind = Literal["float32", "bits"]
"""float32: rows of a faiss flat index. bits: the signs of the rows, packed eight a byte (metric hamming)."""


def vector_kind(spec: EmbedderSpec) -> VectorKind:
    return "bits" if spec.metric == "hamming" else "float32"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Model):
    """One file of a version."""

    bytes: int = Field(ge=0)
    sha256: str


class ThresholdsEntry(_Model):
    flag: float = Field(ge=-1, le=1)
    block: float = Field(ge=-1, le=1)
    source: str
    whitened: ThresholdsEntry | None = None
    windows: ThresholdsEntry | None = None
    rivals: ThresholdsEntry | None = None
    regions: ThresholdsEntry | None = None

    def plain(self) -> Thresholds:
        further = (one.plain() if one else None for one in (self.whitened, self.windows, self.rivals, self.regions))
        return Thresholds(self.flag, self.block, self.source, *further)


class EmbedderEntry(_Model):
    """The fields of EmbedderSpec.identity()."""

    name: str
    dim: int = Field(gt=0)
    input_size: int
    preprocessing: str
    weights_sha256: str
    metric: Literal["cosine", "hamming"]


class HashesEntry(_Model):
    """The PDQ hashes beside the vectors."""

    method: str
    """How they were made: guard.embedders.pdq.METHOD."""
    usable: int = Field(ge=0)
    """References that have one; the others carry too little detail, or came as embeddings without pixels."""


class ClustersEntry(_Model):
    """Near-duplicates among the references: records.sqlite says of each one which cluster it is in."""

    references: int = Field(ge=0)
    """How many were looked at; the others stand alone."""
    clusters: int = Field(ge=0)
    """Of two or more."""
    members: int = Field(ge=0)
    """References in these."""
    largest: int = Field(ge=0)
    method: str
    """By what they were found, in words."""
    found_at: AwareDatetime
    """UTC."""


class SealedEntry(_Model):
    """How the thumbnails are sealed; see guard.indexes.sealing."""

    cipher: Literal["aes-256-gcm"]
    key_id: str


class WhiteningEntry(_Model):
    """How the whitening was fitted; see guard.indexes.transform."""

    shrinkage: float = Field(ge=0, le=1)
    chosen_by: Literal["ledoit_wolf", "user"]
    references: int = Field(ge=2)
    """How many it was fitted on."""
    power: float = Field(1.0, gt=0, le=1)


class NormalisationEntry(_Model):
    """What is subtracted from each similarity; see guard.indexes.transform."""

    beta: float = Field(gt=0, le=10)
    nearest: int = Field(ge=1)
    background: int = Field(ge=0)
    """Pictures in the background."""
    source: str
    """Where they came from, in words."""


class RivalsEntry(_Model):
    """How checks weigh similarities beside those of other references; see guard.indexes.rivals."""

    nearest: int = Field(ge=1)
    beta: float = Field(gt=0, le=10)
    alike: float = Field(gt=-1, le=1)
    usual: float = Field(ge=-1, le=1)

    def plain(self) -> Rivals:
        return Rivals(**self.model_dump())


class TransformEntry(_Model):
    """The index's transform: its kinds, their parameters, and the checksum of its file."""

    dim: int = Field(gt=0)
    """Of the vectors in the index."""
    whitening: WhiteningEntry | None = None
    normalisation: NormalisationEntry | None = None
    rivals: RivalsEntry | None = None
    sha256: str

    @model_validator(mode="after")
    def _does_something(self) -> TransformEntry:
        if self.whitening is None and self.normalisation is None and self.rivals is None:
            raise ValueError("a transform is a whitening, a normalisation, rivals, or some of these")
        return self


class Manifest(_Model):
    """A version of an index: what made it, from what, how much of it, and its files."""

    format_version: int
    embedder: EmbedderEntry
    thresholds: ThresholdsEntry | None = None
    vectors: VectorKind
    count: int = Field(ge=0)
    """Of references; their ids are 0 .. count - 1 in this version."""
    regions: int = Field(1, ge=1)
    """Vectors of each reference: 1, or with those of its crops, and of its equalised copy if it was built since there
    are any (guard.embedders.views.REGION_KINDS)."""
    region_handicap: float = Field(0, ge=0, le=1)
    """By how much less the similarity of a crop counts than that of the picture itself, in the overlay too, which may
    hold crops where this version does not (of an index that was merged into it)."""
    built_at: AwareDatetime
    """UTC."""
    tool_version: str
    sources: tuple[str, ...] = ()
    """Where the references came from, in words: "folder photos", "2 shards of train-{000..001}.tar"."""
    folders: tuple[str, ...] = ()
    """Absolute folders in which the uris of references were names of files when these were indexed (guard.originals);
    none for sources of another kind, pseudonyms, or sealed thumbnails."""
    collections: dict[str, int] = Field(default_factory=dict)
    """References in each collection."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Pictures of the sources that the index lacks, by reason; each one is a line of skipped.jsonl."""
    notes: dict[str, int] = Field(default_factory=dict)
    """What decoding did, and to how many: first_frame, rotated, cmyk, 16_bit, alpha."""
    hashes: HashesEntry | None = None
    """None: the version holds no hashes."""
    clusters: ClustersEntry | None = None
    """None: nobody has looked for near-duplicates."""
    sealed: SealedEntry | None = None
    """None: thumbnails, if there are any, are plain JPEGs."""
    transform: TransformEntry | None = None
    """None: vectors and queries are compared as the embedder made them."""
    settings_sha256: str = ""
    """Of the settings of the build, by which an interrupted publication is told from another build."""
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _transform_fits(self) -> Manifest:
        if self.transform is None:
            return self
        white = self.transform.whitening is not None
        if self.vectors != "float32" or (not white and self.transform.dim != self.embedder.dim):
            raise ValueError("transform: it does not fit the vectors")
        file = self.files.get(TRANSFORM)
        if file is None or file.sha256 != self.transform.sha256 or white != (ORIGINALS in self.files):
            raise ValueError(f"transform: files lacks {TRANSFORM} or {ORIGINALS}, or lists others")
        return self

    @property
    def dim(self) -> int:
        """Of the vectors in the index: the embedder's, unless a transform keeps fewer."""
        return self.transform.dim if self.transform else self.embedder.dim

    @property
    def spec(self) -> EmbedderSpec:
        """The embedder that made the vectors."""
        advice = self.thresholds.plain() if self.thresholds else None
        return EmbedderSpec(**self.embedder.model_dump(), thresholds=advice)

    @property
    def built_timestamp(self) -> float:
        """Seconds since the epoch."""
        return self.built_at.timestamp()

    def require(self, spec: EmbedderSpec, *, index: str = "") -> None:
        """Raise IndexLoadError, naming the field, if this embedder's queries do not compare with the vectors."""
        name, built = f"index {index}" if index else "the index", self.embedder.model_dump()
        for field, used in spec.identity().items():
            if built[field] != used:
                raise IndexLoadError(
                    f"{name} does not fit the embedder in use: {field} is {built[field]!r} in the index and "
                    f"{used!r} in the embedder; open it with embedder {self.embedder.name!r}, or rebuild the index"
                )

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raise IndexLoadError, naming the file and the field, if it is damaged or of another format."""
        try:
            fields: Any = json.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise IndexLoadError(f"{path} cannot be read ({exc.strerror}); rebuild the index") from exc
        except ValueError as exc:
            raise IndexLoadError(f"{path} is damaged (not JSON: {exc}); rebuild the index") from exc
        if not isinstance(fields, dict):
            raise IndexLoadError(f"{path} is damaged (not a JSON object); rebuild the index")
        found = fields.get("format_version")
        if found != FORMAT_VERSION:
            raise IndexLoadError(
                f"{path}: format_version {found!r} is unknown; this version of memorization-guard reads "
                f"{FORMAT_VERSION}: rebuild the index, or use the version that wrote it ({fields.get('tool_version')})"
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise IndexLoadError(f"{path} is damaged: {where}: {first['msg']}; rebuild the index") from exc
