"""From a target false-positive rate to a threshold. What most callers need is here, imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard.calibration.calibrate import CalibrationReport, calibrate_index
    from guard.calibration.calibrated import Calibrated
    from guard.calibration.record import Calibration, read_calibration
    from guard.calibration.target import FalsePositiveRate, fpr

__all__ = [
    "Calibrated",
    "Calibration",
    "CalibrationReport",
    "FalsePositiveRate",
    "calibrate_index",
    "fpr",
    "read_calibration",
]

_PLACES = {
    "Calibrated": "calibrated",
    "Calibration": "record",
    "CalibrationReport": "calibrate",
    "FalsePositiveRate": "target",
    "calibrate_index": "calibrate",
    "fpr": "target",
    "read_calibration": "record",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
