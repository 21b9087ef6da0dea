"""Which picture of a cluster stays."""

from __future__ import annotations

import numpy as np
import pytest

from guard.dedup.choose import Keep, caption_words, chosen
from guard.types import Record

RECORDS = [
    Record(0, "a", "", "a red cat on a mat", width=100, height=100, file_bytes=10, modified=50),
    Record(1, "b", "", "IMG_2041.jpg", width=200, height=100, file_bytes=5, modified=0),
    Record(2, "c", "", "cat", width=100, height=200, file_bytes=9, modified=20),
    Record(3, "d", "", "alone"),
]
CLUSTER = np.array([0, 0, 0, 3])


@pytest.mark.parametrize(("keep", "stays"), [(Keep.LARGEST, 2), (Keep.CAPTION, 0), (Keep.OLDEST, 2)])
def test_each_rule(keep: Keep, stays: int) -> None:
    assert chosen(RECORDS, CLUSTER, keep).tolist() == [stays] * 3 + [3]


def test_the_first_where_all_is_equal() -> None:
    records = [Record(i, f"{i}", "") for i in range(4)]
    for keep in Keep:
        assert chosen(records, np.array([0, 1, 1, 0]), keep).tolist() == [0, 1, 1, 0]


def test_who_was_not_looked_at_stays_out() -> None:
    assert chosen(RECORDS, np.array([0, -1, 0, -1]), Keep.LARGEST).tolist() == [2, -1, 2, -1]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", 0),
        ("DSC_001.JPG", 0),
        ("photo.jpeg | https://example.org/a/cat", 0),
        ("A cat, a CAT and a dog", 3),
        ("кошка на коврике", 3),
        (" ".join(f"{chr(97 + i // 26)}{chr(97 + i % 26)}x" for i in range(300)), 60),
    ],
)
def test_words_of_a_caption(caption: str, words: int) -> None:
    assert caption_words(caption) == words
