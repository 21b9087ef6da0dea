"""The picture of a verdict's evidence as an answer carries it. Knows PNG and base64; decides nothing."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from guard.errors import GuardError, InputError
from guard.types import Decision, Verdict

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.pixels import RGBArray

__all__ = ["draw"]


def draw(guard: Guard, picture: RGBArray | InputError, verdict: Verdict) -> str | None:
    """A PNG in base64: the picture beside the reference that it was flagged or blocked for.

    guard: the one that gave the verdict. None for other verdicts, and where the index holds no readable thumbnail.
    """
    from guard.verification.picture import evidence_strip

    match = verdict.telling
    if match is None or isinstance(picture, InputError) or verdict.decision in (None, Decision.ALLOW):
        return None
    try:
        found = guard.examiner.explain(picture, match)
    except GuardError:
        return None
    if found is None:
        return None
    buffer = io.BytesIO()
    evidence_strip(picture, *found, title=f"similarity {match.similarity:.3f}").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
