"""Evidence as a value: packed, compared, written as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from guard.types import Evidence, EvidenceKind, Mask


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_a_mask_comes_back_as_it_was_packed(cells: np.ndarray) -> None:
    mask = Mask.pack(cells)
    np.testing.assert_array_equal(mask.cells(), cells)
    assert mask == Mask.pack(cells.copy())
    assert hash(mask) == hash(Mask.pack(cells.copy()))
    runs = mask.runs()
    assert sum(runs) == cells.size
    values = np.arange(len(runs)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, runs), cells.ravel())


@pytest.mark.parametrize(
    ("transform", "mirrored"),
    [
        (None, False),
        ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), False),
        ((-1.0, 0.0, 1.0, 0.0, 1.0, 0.0), True),
        ((0.0, -1.0, 1.0, 1.0, 0.0, 0.0), False),  # a quarter turn
    ],
)
def test_mirrored(transform: tuple[float, ...] | None, mirrored: bool) -> None:
    assert Evidence(EvidenceKind.EDITED, transform).mirrored is mirrored  # type: ignore[arg-type]


@given(st.sampled_from(EvidenceKind), st.booleans())
def test_json_values_are_plain(kind: EvidenceKind, aligned: bool) -> None:
    mask = Mask.pack(np.eye(4, 6, dtype=bool)) if aligned else None
    evidence = Evidence(
        kind,
        (1.0, 0.0, 0.25, 0.0, 1.0, 0.0) if aligned else None,
        7,
        0.5,
        0.25,
        mask,
        0.125 if aligned else None,
        0.75,
        (10, 20) if aligned else None,
    )
    plain = json.loads(json.dumps(evidence.to_dict()))
    assert plain == evidence.to_dict()
    assert plain["kind"] == kind.value
    assert plain["strength"] == -1
    assert (plain["mask"] is None) is not aligned
    assert (plain["tiled_l2"] is None) is not aligned
