"""When two references are copies of one another: by similarity, bits and what their pixels say. Compares nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guard.embedders.base import Thresholds
from guard.errors import ConfigError
from guard.types import EvidenceKind
from guard.verification.weigh import KEYPOINTS_TO_REFUTE

__all__ = ["MARGIN", "STRANGE_BITS", "Comparison", "Pixels", "Rule", "same_frame"]

MARGIN = 0.06  # below the flag threshold: pixels are compared from there
STRANGE_BITS = 64  # of 256: half way from the same picture to any other one
LIKE_BITS = 40  # of 256: what a caption or a change of tone costs; a scene drawn again costs more
SURE_AGREEMENT = 0.93  # of structure: most scenes drawn again lie below, most edits above
FRAME_SLACK = 0.06  # of a side: how far corners may move in frames that coincide


Pixels = tuple[EvidenceKind | None, int | None, bool, float]
"""What a Comparison says of them: kind, keypoints, same_frame, agreement."""


def same_frame(transform: Sequence[float] | None) -> bool:
    """transform: of an Evidence, six numbers in shares of the sides."""
    if transform is None:
        return False
    a, b, c, d, e, f = transform
    upright = (a - 1, b, c, d, e - 1, f)
    mirrored = (a + 1, b, c - 1, d, e - 1, f)
    return min(max(map(abs, upright)), max(map(abs, mirrored))) <= FRAME_SLACK


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of a pair."""

    similarity: float
    """Cosine of the descriptors."""
    bits: int | None = None
    """By how many of 256 the PDQ hashes differ; None where either has none."""
    kind: EvidenceKind | None = None
    """What the pixels say; None: they were not compared."""
    keypoints: int | None = None
    """Of the picture that has fewer; None if they were not needed."""
    same_frame: bool = False
    """Both show the same section, as it is or mirrored."""
    agreement: float = 0.0
    """Of their structure; see Evidence."""

    @classmethod
    def of(cls, similarity: float, bits: int | None, pixels: Pixels | None) -> Comparison:
        return cls(similarity, bits, *(pixels or ()))


@dataclass(frozen=True, slots=True)
class Rule:
    """Bounds are inclusive."""

    look: float
    """Cosine from which a pair's pixels are compared."""
    flag: float
    """Cosine that identical hashes need where no pixels say more."""
    block: float
    """Cosine that is enough where no pixels say more."""
    bits: int
    """PDQ bits up to which two hashes count as identical."""

    @classmethod
    def of(cls, thresholds: Thresholds | None, bits: int, *, similarity: float | None = None) -> Rule:
        """thresholds: of the embedder. similarity: in place of its block threshold; the others move with it.

        Raises ConfigError if neither is there, or similarity is no cosine.
        """
        if similarity is None and thresholds is None:
            raise ConfigError("the index's embedder comes without thresholds: say from which similarity two are copies")
        if similarity is not None and not -1 <= similarity <= 1:
            raise ConfigError(f"similarity is {similarity:g}; it lies in [-1, 1]")
        flag, block = (thresholds.flag, thresholds.block) if thresholds else (similarity or 0.0, similarity or 0.0)
        moved = 0.0 if similarity is None else similarity - block
        return cls(flag + moved - MARGIN, flag + moved, block + moved, bits)

    def worth_a_look(self, similarity: float, bits: int | None) -> bool:
        return similarity >= self.look or (bits is not None and bits <= self.bits)

    def copies(self, pair: Comparison) -> bool:
        """Pixels decide where they can: a whole copy is one, a part or a template is none.

        Pages of one layout can be laid on one another, and so can two drawings of one scene, and much of them agrees.
        Where frames coincide, a copy's hash is never a stranger's, and unless nearly all structure agrees, hash and
        descriptor must both be near, or without a hash the descriptor sure. Where frames do not coincide, stripes and
        waves of one picture can be laid on those of another: without such agreement the descriptor must be sure, or
        the hash. A board of squares can be laid on any other: with a stranger's hash the descriptor must be near enough
        to be flagged; and rings on rings agree in nearly all, so that without keypoints to speak for it the
        descriptor must be sure then. Where nothing was found for want of keypoints, both must be. Where
        no pixels were compared, either of them must be, and a hash needs a similarity that would be flagged.
        """
        if not self.worth_a_look(pair.similarity, pair.bits):
            return False
        same_hash = pair.bits is not None and pair.bits <= self.bits
        if pair.kind is None:
            return pair.similarity >= self.block or (same_hash and pair.similarity >= self.flag)
        if pair.kind in (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED):
            strange = pair.bits is not None and pair.bits > STRANGE_BITS
            sure = pair.similarity >= self.block
            if strange and (pair.same_frame or pair.similarity < self.flag):
                return False
            if strange and _few(pair.keypoints):
                return sure
            if pair.agreement >= SURE_AGREEMENT:
                return True
            if not pair.same_frame:
                return pair.kind is EvidenceKind.NEAR_IDENTICAL or sure or same_hash
            return sure if pair.bits is None else pair.bits <= LIKE_BITS and pair.similarity >= self.look
        return pair.kind is EvidenceKind.NONE and _few(pair.keypoints) and pair.similarity >= self.block and same_hash


def _few(keypoints: int | None) -> bool:
    """None: a dense alignment was enough."""
    return keypoints is None or keypoints < KEYPOINTS_TO_REFUTE
