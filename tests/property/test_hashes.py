"""Hashes: the look-up against the slow obvious answer; and that a hash can only add to what similarity says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Decision, Match, Record
from guard.embedders.pdq import BITS
from guard.indexes.faiss_index import FaissBinaryIndex
from guard.indexes.faissfile import unpack_bits
from guard.indexes.hashes import IDENTICAL_BITS, HashIndex
from tests.support.deciding import decide

SEVERITY = [Decision.ALLOW, Decision.FLAG, Decision.BLOCK]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 4))
def test_identical_is_what_comparing_all_finds(seed: int, flipped: list[int], without: int) -> None:
    """One query; a reference for each number of bits that are flipped, and some without a hash."""
    rng = np.random.default_rng(seed)
    query = rng.random(BITS) < 0.5
    rows = np.tile(query, (len(flipped) + without, 1))
    for row, bits in zip(rows, flipped, strict=False):
        row[rng.choice(BITS, bits, replace=False)] ^= True
    rows[len(flipped) :] = False
    packed = np.packbits(rows, axis=1)
    index = HashIndex(packed, FaissBinaryIndex(unpack_bits(packed, BITS)))
    expected = {i: bits for i, bits in enumerate(flipped) if bits <= IDENTICAL_BITS}
    xq = unpack_bits(np.packbits(query)[None], BITS)
    assert index.identical(xq, len(rows)) == [expected]
    nearest = index.identical(xq, 2)[0]
    assert sorted(nearest.values()) == sorted(expected.values())[:2]


candidates = st.lists(st.tuples(st.floats(-1, 1), st.none() | st.integers(0, IDENTICAL_BITS)), min_size=1, max_size=5)


@settings(deadline=None)
@given(candidates, st.floats(-1, 1), st.floats(-1, 1), st.sampled_from(["block", "flag"]), st.booleans())
def test_a_hash_never_softens_a_decision(found, a, b, identical, usable) -> None:
    flag, block = sorted((a, b))
    matches = [Match(Record(i, f"{i}", ""), s, bits) for i, (s, bits) in enumerate(sorted(found, key=lambda p: -p[0]))]
    without = decide([replace(m, bits=None) for m in matches], flag=flag, block=block, usable=usable)
    verdict = decide(matches, flag=flag, block=block, usable=usable, identical=identical)
    assert SEVERITY.index(verdict.decision) >= SEVERITY.index(without.decision)
    if any(m.bits is not None for m in matches):
        assert SEVERITY.index(verdict.decision) >= SEVERITY.index(Decision(identical))
        assert verdict.nearest.bits == min(m.bits for m in matches if m.bits is not None)
    else:
        assert verdict == without
