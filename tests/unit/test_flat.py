"""Flat pictures: which ones are, that their own copies are found, and that look-alikes are not taken for them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from guard import Decision, Guard
from guard.flat import FLAT_DETAIL, SAME_TILED_L2, compare_flat, detail_of, gate_of
from guard.indexes.builder import build_index
from guard.indexes.overlay import Overlay, key_of
from guard.pixels import to_batch
from guard.types import EvidenceKind, Match, Record
from tests.support.photographs import photograph
from tests.support.toys import ToyEmbedder

SIDE = 256
WHITE, RED, BLUE = (255, 255, 255), (210, 40, 40), (30, 60, 190)


def drawn(draw: Callable[[ImageDraw.ImageDraw], object], ground: tuple[int, int, int] = WHITE) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw(ImageDraw.Draw(image))
    return image


def text(words: str, size: int = 30) -> Image.Image:
    return drawn(lambda d: d.text((20, 110), words, font=ImageFont.load_default(size), fill=(0, 0, 0)))


def disc(colour: tuple[int, int, int] = RED, x: int = 80, side: int = 96) -> Image.Image:
    return drawn(lambda d: d.ellipse((x, 80, x + side, 80 + side), fill=colour))


def ramp(first: tuple[int, int, int], last: tuple[int, int, int]) -> Image.Image:
    share = np.linspace(0, 1, SIDE)[:, None, None]
    return Image.fromarray(
        (np.array(first) * (1 - share) + np.array(last) * share * np.ones((1, SIDE, 1))).astype(np.uint8)
    )


FLAT = {
    "black": Image.new("RGB", (SIDE, SIDE)),
    "blue": Image.new("RGB", (SIDE, SIDE), BLUE),
    "ramp": ramp(RED, BLUE),
    "ramp back": ramp(BLUE, RED),
    "disc": disc(),
    "blue disc": disc(BLUE),
    "larger disc": disc(side=130),
    "moved disc": disc(x=92),
    "square": drawn(lambda d: d.rectangle((80, 80, 176, 176), fill=RED)),
    "bars": drawn(lambda d: [d.rectangle((0, y, SIDE, y + 40), fill=BLUE) for y in (0, 100, 200)]),
    "plate": drawn(lambda d: (d.rectangle((30, 90, 226, 166), fill=(0, 0, 0)),
                              d.text((50, 105), "ACME", font=ImageFont.load_default(46), fill=WHITE))),
    "other plate": drawn(lambda d: (d.rectangle((30, 90, 226, 166), fill=(0, 0, 0)),
                                    d.text((50, 105), "BOSE", font=ImageFont.load_default(46), fill=WHITE))),
    "words": text("hello world"),
    "other words": text("green house"),
}  # fmt: skip


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 4, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "jpeg": lambda image: jpeg(image, 60),
    "half": lambda image: image.resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC),
    "double": lambda image: image.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "noisy": noisy,
    "three levels brighter": lambda image: image.point(lambda v: v + 3),
}


@pytest.mark.parametrize("name", FLAT)
def test_flat_pictures_are_flat_and_photographs_are_not(name: str) -> None:
    assert detail_of(np.asarray(FLAT[name])) < FLAT_DETAIL


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "camera", "coins"])
def test_photographs_are_not_flat(name: str) -> None:
    assert detail_of(photograph(name)) >= FLAT_DETAIL


@pytest.mark.parametrize("copied", COPIES)
def test_copies_of_a_flat_picture_have_its_pixels(copied: str) -> None:
    for name, image in FLAT.items():
        found = compare_flat(np.asarray(COPIES[copied](image)), np.asarray(jpeg(image, 85)))
        assert found.kind is EvidenceKind.NEAR_IDENTICAL, (name, found.tiled_l2, found.agreement)


def test_look_alikes_do_not() -> None:
    for one, other in itertools.permutations(FLAT, 2):
        found = compare_flat(np.asarray(FLAT[one]), np.asarray(jpeg(FLAT[other], 85)))
        assert found.kind is EvidenceKind.NONE, (one, other, found.tiled_l2, found.agreement)


def test_small_print_tells_pages_apart_whose_tiles_are_nearly_the_same() -> None:
    def page(words: str) -> np.ndarray:
        return np.asarray(drawn(lambda d: d.text((20, 230), words, font=ImageFont.load_default(11), fill=(90, 90, 90))))

    found = compare_flat(page("volume one, page 12"), page("an index of names"))
    assert found.kind is EvidenceKind.NONE
    assert found.tiled_l2 is not None
    assert found.tiled_l2 <= SAME_TILED_L2


colours = st.tuples(*[st.integers(0, 255)] * 3)


@settings(deadline=None, max_examples=60)
@given(colours, colours, colours, st.integers(0, 2**32 - 1))
def test_one_shape_in_other_colours_is_another_picture(ground, first, second, seed) -> None:
    rng = np.random.default_rng(seed)
    box = sorted(rng.integers(20, 230, 2).tolist())
    if box[1] - box[0] < 40:
        box[1] = box[0] + 40

    def shape(colour: tuple[int, int, int]) -> np.ndarray:
        return np.asarray(drawn(lambda d: d.ellipse((box[0], 60, box[1], 200), fill=colour), ground))

    apart = float(np.sqrt(np.mean((np.array(first) - second) ** 2.0))) / 255
    found = compare_flat(shape(first), shape(second))
    if apart > 0.3:
        assert found.kind is EvidenceKind.NONE
    if apart < 0.02:
        assert found.kind is EvidenceKind.NEAR_IDENTICAL


def test_the_gate_looks_only_where_something_counts() -> None:
    asked: list[int] = []

    def thumbnail(number: int) -> bytes:
        asked.append(number)
        buffer = io.BytesIO()
        FLAT["disc"].save(buffer, "PNG")
        return buffer.getvalue()

    def gate(image: Image.Image, similarity: float, *, usable: bool = True):  # type: ignore[no-untyped-def]
        candidates = [Match(Record(i, f"{i}", ""), similarity) for i in range(2)]
        return gate_of(to_batch(image), candidates, thumbnail, usable=usable, counts=lambda m: m.similarity > 0.5)

    assert gate(FLAT["disc"], 0.4) is None
    assert gate(Image.fromarray(photograph("coffee")), 0.9) is None
    assert gate(FLAT["black"], 0.9, usable=False) is None, "it shows nothing at all"
    assert asked == []
    found = gate(FLAT["disc"], 0.9)
    assert (found.verified, [m.evidence.is_copy for m in found.candidates]) == (True, [True, True])
    assert gate(Image.fromarray(photograph("coffee")), 0.9, usable=False).detail > FLAT_DETAIL


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flat")
    (folder / "training").mkdir()
    for name in ("disc", "ramp", "plate", "black"):
        FLAT[name].save(folder / "training" / f"{name}.png")
    build_index(folder / "training", folder / "with.index", ToyEmbedder())
    build_index(folder / "training", folder / "without.index", ToyEmbedder(), thumbnails=0)
    return folder


@pytest.mark.parametrize("verify", [False, True])
def test_a_check_takes_a_look_alike_for_nothing_and_a_copy_for_a_copy(indexes: Path, verify: bool) -> None:
    guard = Guard.open(indexes / "with.index", embedder=ToyEmbedder(), verify=verify)
    copies = guard.check([jpeg(FLAT[name], 70) for name in ("disc", "ramp", "plate")])
    assert [v.decision for v in copies] == [Decision.BLOCK] * 3
    assert all("they are the same" in v.reasons[0] for v in copies), [v.reasons for v in copies]
    assert [v.verified for v in copies] == [True] * 3
    others = guard.check([FLAT[name] for name in ("moved disc", "square", "other plate")])
    assert [v.decision for v in others] == [Decision.ALLOW] * 3
    assert any(v.nearest is not None and v.nearest.similarity >= 0.95 for v in others), "by similarity they are copies"
    assert all("they are others" in v.reasons[0] for v in others if v.nearest and v.nearest.similarity >= 0.8)
    nothing = guard.check(FLAT["black"])[0]
    assert nothing.decision is Decision.ALLOW
    assert "too little detail" in nothing.reasons[0]


def test_without_thumbnails_a_flat_picture_is_flagged_at_most(indexes: Path) -> None:
    guard = Guard.open(indexes / "without.index", embedder=ToyEmbedder(), originals=False)
    copy, other = guard.check([FLAT["disc"], FLAT["words"]])
    assert (copy.decision, copy.verified) == (Decision.FLAG, False)
    assert "they cannot be compared: at most flag" in copy.reasons[0]
    assert "not verified (no thumbnail)" in copy.reasons
    assert other.decision is Decision.ALLOW


def test_an_original_does_as_well(indexes: Path) -> None:
    copy, other = Guard.open(indexes / "without.index", embedder=ToyEmbedder()).check([FLAT["disc"], FLAT["words"]])
    assert (copy.decision, copy.verified) == (Decision.BLOCK, True)
    assert "they are the same" in copy.reasons[0]
    assert other.decision is Decision.ALLOW


def test_an_allowed_logo_is_released(indexes: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(indexes / "with.index", tmp_path / "my.index")
    guard = Guard.open(tmp_path / "my.index", embedder=ToyEmbedder())
    found = guard.check(FLAT["plate"])[0]
    assert found.decision is Decision.BLOCK
    Overlay(tmp_path / "my.index").give([key_of(found.matches[0].record)], "allow", who="ops")
    allowed = guard.check(jpeg(FLAT["plate"], 80))[0]
    assert allowed.decision is Decision.ALLOW
    assert any("plate.png (allow) is allowed" in reason for reason in allowed.reasons)
