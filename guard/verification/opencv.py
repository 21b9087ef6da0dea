"""The one place that imports OpenCV for verification. Knows no picture."""

from __future__ import annotations

from typing import Any

from guard.errors import MissingExtraError

__all__ = ["opencv"]


def opencv() -> Any:
    """The module cv2. Its thread count belongs to the whole process, and is left as it is.

    Raises MissingExtraError if it is not installed.
    """
    try:
        import cv2
    except ImportError as exc:
        raise MissingExtraError("pixel verification", extra="cpu") from exc
    return cv2
