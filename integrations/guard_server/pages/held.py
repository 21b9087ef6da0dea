"""A picture that a visitor's own page holds from one request to the next: small, sealed, and kept nowhere else."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.requests import Request

from guard.events.thumbnails import thumbnail_of
from guard_server.pages.access import sessions_of
from guard_server.pages.sessions import Visit
from guard_server.problems import Problem

__all__ = ["HELD_PX", "hold", "unsealed"]

HELD_PX = 512
"""Its longer side; every embedder looks at a smaller one."""


def hold(request: Request, visit: Visit, image: Any) -> dict[str, str]:
    """The fields of a form that hold a picture (any form that `guard.pixels.to_batch` takes) for this visit alone."""
    held = base64.urlsafe_b64encode(thumbnail_of(image, HELD_PX) or b"").decode()
    return {"held": held, "seal": sessions_of(request).seal(visit, held)}


def unsealed(request: Request, visit: Visit, held: str, seal: str) -> bytes:
    """The encoded picture. Raises Problem for one that was not sealed for this visit."""
    if not sessions_of(request).has_sealed(visit, held, seal):
        raise Problem("cross-site", "These results are of another session. Send the picture again.")
    try:
        return base64.urlsafe_b64decode(held)
    except (binascii.Error, ValueError):
        raise Problem("malformed", "This is no form of ours.") from None
