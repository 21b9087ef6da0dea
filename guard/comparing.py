"""Whether checks compare pixels where nobody said: wherever it can be done. Knows the index's parts; no pixels."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from guard.indexes.base import SupportsThumbnails
from guard.thresholds import asks_rate

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.config import GuardConfig

__all__ = ["settled"]

_log = logging.getLogger(__name__)


def settled(config: GuardConfig, index: Any, calibration: Calibrated | None, name: str) -> GuardConfig:
    """The settings with `verify` said: as it was, or whether pixels can be compared.

    They cannot without OpenCV or thumbnails, and are not where the policy gives a rate and the calibration that keeps
    it was measured without them.
    """
    if config.verify is not None:
        return config
    against = _against(config, index, calibration)
    if against:
        _log.info("checks against %s compare no pixels: %s", name, against)
    return config.model_copy(update={"verify": not against})


def _against(config: GuardConfig, index: Any, calibration: Calibrated | None) -> str:
    if not isinstance(index, SupportsThumbnails) or not getattr(index, "has_thumbnails", True):
        return "the index holds no thumbnails that can be read"
    if find_spec("cv2") is None:
        return "OpenCV is not installed"
    if calibration is not None and calibration.calibration.pixels is None and asks_rate(config.policy.build()):
        return "its calibration was measured without them"
    return ""
