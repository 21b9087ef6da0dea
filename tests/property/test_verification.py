"""Known moves of known pictures are recovered, and the answer never depends on chance."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.types import EvidenceKind
from guard.verification.verifier import PixelVerifier
from tests.support.photographs import photograph

VERIFIER = PixelVerifier()
NAMES = ("astronaut", "coffee", "chelsea")
REFERENCES = {name: VERIFIER.prepare(photograph(name)) for name in NAMES}
few = settings(max_examples=12, deadline=None)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """left, top, width and height of a crop, in shares."""
    width, height = draw(st.floats(0.5, 0.95)), draw(st.floats(0.5, 0.95))
    return draw(st.floats(0, 1 - width)), draw(st.floats(0, 1 - height)), width, height


@few
@given(name=st.sampled_from(NAMES), box=boxes(), flipped=st.booleans())
@example(name="chelsea", box=(0.25, 0.25, 0.5, 0.5), flipped=True)
def test_crops_and_flips_are_recovered(name: str, box: tuple[float, float, float, float], flipped: bool) -> None:
    reference = photograph(name)
    h, w = reference.shape[:2]
    x, y = round(box[0] * w), round(box[1] * h)
    width, height = round(box[2] * w), round(box[3] * h)
    crop = reference[y : y + height, x : x + width]
    evidence = VERIFIER.verify(np.ascontiguousarray(crop[:, ::-1] if flipped else crop), REFERENCES[name])
    assert evidence.is_copy
    assert evidence.mirrored is flipped
    assert evidence.transform is not None
    inside = np.array([[u, v] for u in (0.0, 0.5, 1.0) for v in (0.0, 0.5, 1.0)])  # of the crop
    on_reference = (np.array([x, y]) + inside * [width, height]) / [w, h]
    found = np.array(evidence.transform).reshape(2, 3)
    wanted = np.column_stack([1 - inside[:, 0], inside[:, 1]]) if flipped else inside
    np.testing.assert_allclose(on_reference @ found[:, :2].T + found[:, 2], wanted, atol=0.03)
    assert evidence.copied_area_query > 0.85
    assert abs(evidence.copied_area_reference - width * height / (w * h)) < 0.12


@few
@given(name=st.sampled_from(NAMES), scale=st.floats(0.5, 0.8), x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_picture_on_a_page_is_recovered(name: str, scale: float, x: float, y: float) -> None:
    """A plain page: what is around the picture says nothing."""
    from PIL import Image

    reference = photograph(name)
    h, w = reference.shape[:2]
    size = (round(w * scale), round(h * scale))
    left, top = round(x * (w - size[0])), round(y * (h - size[1]))
    page = np.full_like(reference, 200)
    small = Image.fromarray(reference).resize(size, Image.Resampling.LANCZOS)
    page[top : top + size[1], left : left + size[0]] = np.asarray(small)
    evidence = VERIFIER.verify(page, REFERENCES[name])
    assert evidence.is_copy
    assert evidence.transform is not None
    np.testing.assert_allclose(evidence.transform, [size[0] / w, 0, left / w, 0, size[1] / h, top / h], atol=0.03)
    assert evidence.copied_area_reference > 0.85


@few
@given(
    name=st.sampled_from(NAMES),
    gain=st.floats(0.5, 1.4),
    shift=st.floats(-40, 40),
    seed=st.integers(0, 2**16),
)
def test_tone_and_noise_leave_a_copy_a_copy(name: str, gain: float, shift: float, seed: int) -> None:
    reference = photograph(name)
    noise = np.random.default_rng(seed).normal(0, 4, reference.shape)
    changed = np.clip(reference * gain + shift + noise, 0, 255).astype(np.uint8)
    evidence = VERIFIER.verify(changed, REFERENCES[name])
    assert evidence.kind in (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED)
    assert evidence == VERIFIER.verify(changed, REFERENCES[name])


@few
@given(seed=st.integers(0, 2**16), name=st.sampled_from(NAMES), knots=st.integers(2, 60))
def test_noise_of_any_scale_is_no_copy(seed: int, name: str, knots: int) -> None:
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (knots, knots, 3), dtype=np.uint8)
    query = np.asarray(Image.fromarray(coarse).resize((200, 160), Image.Resampling.BICUBIC))
    assert not VERIFIER.verify(query, REFERENCES[name]).is_copy
