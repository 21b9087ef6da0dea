"""What the settings `verify` and `query_views` come to where they are left to the guard. Compares no pixels itself.

Evidence of what counts anyway is had for little and adds nothing to a rate. Looking at the nearest references of every
image finds more; that goes without saying only where it is quick and, for rates, where a calibration has measured it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guard.calibration.target import FalsePositiveRate
from guard.embedders.views import usual_views
from guard.errors import IndexLoadError, MissingExtraError
from guard.indexes.base import SupportsThumbnails
from guard.indexes.records import KEYPOINTS, THUMBNAILS, BlobReader
from guard.thresholds import compared_pixels
from guard.verification.examiner import KEPT

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder
    from guard.embedders.views import ViewKind
    from guard.indexes.manifest import Manifest
    from guard.policy import Policy
    from guard.small.record import SmallSet
    from guard.verification.examiner import Examiner

__all__ = ["InForce", "by_default", "in_force", "slow_for"]

NO_THUMBNAILS = "the index holds no thumbnails"
NOT_THERE = f"{NO_THUMBNAILS}, and the folders of its originals are not there"
NOT_READ = f"{NO_THUMBNAILS}, and its originals are not to be read (originals)"
FROM_ORIGINALS = (
    f"{NO_THUMBNAILS}, so that originals are read, which takes long (verify = true looks at the nearest ones of every "
    "image all the same)"
)


@dataclass(frozen=True, slots=True)
class InForce:
    """Settings of which nothing is open."""

    config: GuardConfig
    """Whose `query_views` is not "auto", and whose `verify` is a bool. With a `verify_margin` of 0 pixels only confirm:
    what reaches no threshold and has no identical hash is not compared."""
    why: str = ""
    """Of `verify`: why pixels are not compared, or only to confirm. "": all candidates are, or it was not left open."""
    to_mend: bool = False
    """Whether that is something missing, and not how the index was meant to be."""


def in_force(
    config: GuardConfig,
    index: Any,
    examiner: Examiner,
    embedder: Embedder,
    *,
    calibration: Calibrated | None = None,
    small: SmallSet | None = None,
) -> InForce:
    """What "auto" comes to for one open index. Settings that say something else stay as they are.

    examiner: of that index. small: of a small set, which has an opinion of its own. Raises nothing.
    """
    config = small.applied(config, embedder) if small is not None else config
    if config.query_views == "auto":
        config = config.model_copy(update={"query_views": _views(config.policy.build(), embedder, index, calibration)})
    if config.verify != "auto":
        return InForce(config)
    missing, to_mend = _missing(index, examiner)
    if missing:
        return InForce(config.model_copy(update={"verify": False}), missing, to_mend)
    compares = config.model_copy(update={"verify": True})
    confirms = compares.model_copy(update={"verify_margin": 0.0})
    own_margin = "verify_margin" in config.model_fields_set
    if _none(index) and not own_margin:
        return InForce(confirms, f"only what counts anyway is compared: {FROM_ORIGINALS}")
    unknown = _unknown(compares, examiner, calibration)
    if unknown:
        return InForce(confirms, f"only what counts anyway is compared: {unknown}", to_mend=True)
    slow = slow_for(index.manifest)
    if slow and not own_margin:
        return InForce(confirms, f"only what counts anyway is compared: {slow}")
    return InForce(compares)


def slow_for(manifest: Manifest) -> str:
    """Why looking at the nearest references of every image takes long, in words; "" if it does not.

    Keypoints of a reference that was not met before are dear, unless they are stored or all references fit in memory.
    """
    if manifest.count <= KEPT or KEYPOINTS in manifest.files:
        return ""
    return (
        f"{manifest.count} references without stored keypoints (`memguard index build --keypoints` stores them; "
        "verify = true looks at the nearest ones of every image all the same)"
    )


def by_default(manifest: Manifest, folder: Path) -> str:
    """What "auto" does with an index, as far as its version in folder tells, in words."""
    if THUMBNAILS not in manifest.files or _empty(folder / THUMBNAILS):
        if not manifest.folders:
            return f"not compared: {NO_THUMBNAILS}"
        if not any(Path(named).is_dir() for named in manifest.folders):
            return f"not compared: {NOT_THERE}"
        return f"only what counts anyway is compared: {FROM_ORIGINALS}"
    slow = slow_for(manifest)
    said = f"only what counts anyway is compared: {slow}" if slow else "every candidate is compared"
    return f"with the key, {said}" if manifest.sealed else said


def _empty(file: Path) -> bool:
    reader = BlobReader(file)
    try:
        return reader.empty()
    except IndexLoadError:
        return False
    finally:
        reader.close()


def _views(policy: Policy, embedder: Embedder, index: Any, calibration: Calibrated | None) -> ViewKind:
    """A rate is kept by checks that look as the clean pictures were looked at."""
    if calibration is not None and (_rates(policy, "flag") or _rates(policy, "block")):
        return calibration.calibration.query_views
    return usual_views(embedder, getattr(index.manifest, "regions", 1))


def _missing(index: Any, examiner: Examiner) -> tuple[str, bool]:
    """What pixels cannot be compared without, in words; and whether it is something to mend."""
    if getattr(index.manifest, "sealed", None) is not None and not getattr(index, "has_thumbnails", False):
        return "the thumbnails are sealed, and there is no key (index_key_file)", False
    if not isinstance(index, SupportsThumbnails) or _none(index):
        originals = examiner.originals
        if originals is None:
            return NOT_READ if getattr(index.manifest, "folders", ()) else NO_THUMBNAILS, False
        if not originals.there():
            return NOT_THERE, False
    try:
        examiner.ready()
    except MissingExtraError as exc:
        return str(exc), True
    return "", False


def _none(index: Any) -> bool:
    """Whether no thumbnail is stored, as of embeddings; False for a damaged file, of which the checks tell."""
    try:
        return bool(index.lacks_thumbnails()) if hasattr(index, "lacks_thumbnails") else False
    except IndexLoadError:
        return False


def _unknown(config: GuardConfig, examiner: Examiner, calibration: Calibrated | None) -> str:
    """What the calibration does not know of pixels that a policy with rates would need, in words."""
    policy = config.policy.build()
    flags, blocks = _rates(policy, "flag"), _rates(policy, "block")
    pixels = compared_pixels(config, examiner.verifier)
    if calibration is None or pixels is None or not (flags or blocks):
        return ""
    misfits = calibration.calibration.pixels_misfits(pixels)
    if misfits:
        return f"the calibration does not hold for more: {'; '.join(misfits)} (`memguard calibrate` measures it)"
    beyond = [str(target) for target in flags if math.isinf(calibration.strength(target.rate))]
    if beyond:
        return f"no strength of evidence is known to keep {', '.join(beyond)} (more clean pictures may show one)"
    return ""


def _rates(policy: Policy, part: str) -> list[FalsePositiveRate]:
    values = (getattr(one, part) for one in (policy, *policy.collections.values()))
    return [value for value in values if isinstance(value, FalsePositiveRate)]
