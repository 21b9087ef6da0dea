"""Pictures of the same bytes or the same pixels."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from guard.dedup.exact import exact_groups
from guard.types import Record


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest() if text else ""


def groups(*pictures: tuple[str, str]) -> list[int]:
    """(bytes, pixels) of each picture."""
    records = [Record(i, f"{i}.png", digest(b), pixels_sha256=digest(p)) for i, (b, p) in enumerate(pictures)]
    return exact_groups(records, len(records)).tolist()


def test_bytes_and_pixels() -> None:
    assert groups(("a", "A"), ("b", "B"), ("a", "A"), ("b2", "B"), ("c", "C")) == [0, 1, 0, 1, 4]


def test_bytes_alone_where_pixels_are_not_known() -> None:
    assert groups(("a", ""), ("b", ""), ("a", ""), ("", ""), ("", "")) == [0, 1, 0, 3, 4]


def test_a_picture_that_joins_two_groups() -> None:
    assert groups(("a", ""), ("b", "B"), ("a", "B"), ("b", "")) == [0, 0, 0, 0]


def test_what_is_no_digest_joins_nothing() -> None:
    records = [Record(i, "x", text) for i, text in enumerate(["", "", "yes", "yes", "ab", "ab"])]
    assert exact_groups(records, 6).tolist() == [0, 1, 2, 3, 4, 5]


def test_ids_that_are_not_compared() -> None:
    records = [Record(1, "x", digest("a")), Record(3, "y", digest("a"))]
    np.testing.assert_array_equal(exact_groups(records, 5), [-1, 1, -1, 1, -1])
