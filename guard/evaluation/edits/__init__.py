"""The evaluation's edits: one list, by name, family and parameters. Shares no function with guard.training.

Each picture is edited from its own seed, so that a picture's edited twins are the same in every run. What training
never sees: ordered dither, equalised levels, vignettes, lens distortion, typeset captions, app screenshots,
Kuwahara filters, painted strokes, another picture's detail and palette, disturbed block coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from guard.evaluation.edits.base import FAMILIES, Edit
from guard.evaluation.edits.combinations import COMBINATIONS
from guard.evaluation.edits.generation import GENERATION
from guard.evaluation.edits.geometric import GEOMETRIC
from guard.evaluation.edits.overlays import OVERLAYS
from guard.evaluation.edits.photometric import PHOTOMETRIC

__all__ = ["EDITS", "FAMILIES", "VERSION", "Edit", "edits_table"]

VERSION = 1  # raised whenever an edit makes other pixels; part of the key of cached descriptors

EDITS: Mapping[str, Edit] = MappingProxyType(
    {edit.name: edit for edit in (*PHOTOMETRIC, *GEOMETRIC, *OVERLAYS, *GENERATION, *COMBINATIONS)}
)
"""Name -> edit, family by family; a read-only view."""


def edits_table() -> str:
    """The list as a Markdown table; docs/evaluation.md holds it and a test compares."""
    rows = [f"| `{edit.name}` | {edit.family} | {edit.described.replace('|', '')} |" for edit in EDITS.values()]
    return "\n".join(["| edit | family | parameters |", "|---|---|---|", *rows])
