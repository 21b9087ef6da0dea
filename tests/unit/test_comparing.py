"""What `verify` and `query_views` come to as "auto": thumbnails there, absent, sealed, many; and without OpenCV."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard import ConfigError, Decision, Guard, GuardConfig, MissingExtraError, Policy, fpr
from guard.calibration.calibrate import calibrate_index
from guard.comparing import slow_for
from guard.config import load_config
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.indexes.manifest import Manifest
from guard.indexes.records import KEYPOINTS, THUMBNAILS
from guard.indexes.sealing import SealingKey
from guard.indexes.store import open_index
from guard.pixels import to_batch
from guard.small.build import measure_small, small_transform
from guard.sources import open_source
from guard.unseen import unseen
from guard.verification.examiner import KEPT
from tests.support.photographs import photograph
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import MemoryIndex, ToyEmbedder, picture

TOY = ToyEmbedder()
KEY = SealingKey(bytes(range(32)))
NAMES = ("astronaut", "chelsea", "coffee")
PHOTOGRAPHS = InMemory([Image.fromarray(photograph(name, 256)) for name in NAMES])
PATIENT: dict[str, Any] = {"embedder": TOY, "deadline_s": None, "verify_budget_ms": 60_000.0}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto")
    build_index(PHOTOGRAPHS, folder / "with.index", TOY)
    build_index(PHOTOGRAPHS, folder / "without.index", TOY, thumbnails=0)
    build_index(PHOTOGRAPHS, folder / "sealed.index", TOY, key=KEY)
    np.save(folder / "rows.npy", TOY.embed(to_batch(PHOTOGRAPHS.pictures)))
    build_index(open_source(folder / "rows.npy", spec=TOY.spec), folder / "rows.index", TOY)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More references than are kept in memory, and no keypoints."""
    path = tmp_path_factory.mktemp("large") / "large.index"
    many = [picture(i, 24, 24) for i in range(KEPT)]
    build_index(InMemory([*PHOTOGRAPHS.pictures, *many]), path, TOY, hashes=False)
    return path


def piece() -> np.ndarray[Any, Any]:
    """Of the first photograph; far from it for the descriptor."""
    return np.ascontiguousarray(photograph("astronaut", 256)[20:150, 90:220])


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(one.levelname, one.getMessage()) for one in caplog.records if "pixels" in one.getMessage()]


def test_pixels_are_compared_where_there_are_thumbnails(indexes: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guard")
    guard = Guard.open(indexes / "with.index", **PATIENT)
    assert guard.asked.verify == "auto"
    assert guard.config.verify is True
    verdict = guard.check(piece())[0]
    assert (verdict.decision, verdict.verified) == (Decision.FLAG, True)
    assert guard.explain(piece()).to_dict()["verified"] == {"done": True, "why_not": None}
    plain = guard.check(piece(), options={"verify": False})[0]
    assert (plain.decision, plain.verified) == (Decision.ALLOW, None)
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("without.index", "the index holds no thumbnails"),
        ("rows.index", "the index holds no thumbnails"),  # of embeddings that were there before: a file with none in it
        ("sealed.index", "there is no key"),
    ],
)
def test_without_readable_thumbnails_similarity_decides_and_one_line_says_so(
    indexes: Path, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    caplog.set_level(logging.INFO, "guard")
    guard = Guard.open(indexes / name, **PATIENT)
    assert guard.config.verify is False
    copy, other = guard.check([photograph("coffee"), piece()])
    assert (copy.decision, copy.verified) == (Decision.BLOCK, None)
    assert (other.decision, other.verified) == (Decision.ALLOW, None)
    assert guard.check(piece(), options={"verify": "auto"})[0].verified is None
    assert why in guard.explain(piece()).to_dict()["verified"]["why_not"]
    unseen(guard)
    ((level, said),) = lines(caplog)
    assert level == "INFO"
    assert said.startswith(f"pixels of {name} are not compared: ")
    assert why in said


def test_a_key_opens_thumbnails_to_it(indexes: Path) -> None:
    guard = Guard.open(indexes / "sealed.index", index_key=KEY.secret.hex(), **PATIENT)
    assert guard.check(piece())[0].decision is Decision.FLAG


def test_without_opencv_similarity_decides(
    indexes: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it were not installed
    guard = Guard.open(indexes / "with.index", **PATIENT)
    assert guard.config.verify is False
    assert guard.check(photograph("coffee"))[0].decision is Decision.BLOCK
    ((level, said),) = lines(caplog)
    assert level == "WARNING"
    assert "memorization-guard[cpu]" in said
    with pytest.raises(MissingExtraError, match=r"\[cpu\]"):
        Guard.open(indexes / "with.index", verify=True, **PATIENT)


def test_an_index_that_knows_no_thumbnails() -> None:
    guard = Guard(MemoryIndex(TOY, {"0.png": picture(0)}), TOY)
    assert guard.config.verify is False
    assert guard.check(picture(0))[0].decision is Decision.BLOCK


def test_a_large_index_without_keypoints_has_evidence_of_what_counts_anyway(
    large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "guard")
    guard = Guard.open(large, **PATIENT)
    assert (guard.config.verify, guard.config.verify_margin) == (True, 0.0)
    copy, other = guard.check([photograph("coffee"), piece()])
    assert (copy.decision, copy.verified) == (Decision.BLOCK, True)
    assert copy.matches[0].evidence is not None
    assert (other.decision, other.verified) == (Decision.ALLOW, None)
    ((level, said),) = lines(caplog)
    assert level == "INFO"
    assert "515 references without stored keypoints" in said
    for chosen in ({"verify": True}, {"verify_margin": 2.0}):
        assert guard.check(piece(), options=chosen)[0].verified is True


def test_identical_hashes_have_evidence_too(indexes: Path) -> None:
    """However far the descriptor is: a flag by hash alone is one that a person asks about."""
    nothing = Policy(flag=1.0, block=1.0)
    guard = Guard.open(indexes / "with.index", policy=nothing, verify_margin=0.0, **PATIENT)
    verdict = guard.check(photograph("coffee", 200))[0]
    assert verdict.matches[0].bits is not None
    assert verdict.matches[0].similarity < 1.0
    assert verdict.matches[0].evidence is not None


def test_what_is_slow(large: Path) -> None:
    with open_index(large) as index:
        manifest: Manifest = index.manifest
    assert THUMBNAILS in manifest.files
    assert "without stored keypoints" in slow_for(manifest)
    stored = {**manifest.files, KEYPOINTS: manifest.files[THUMBNAILS]}
    assert slow_for(manifest.model_copy(update={"files": stored})) == ""
    assert slow_for(manifest.model_copy(update={"count": KEPT})) == ""


@pytest.mark.parametrize("said", ["auto", "AUTO", True, False, "true", "no"])
def test_it_is_said_in_words_or_plainly(said: object, tmp_path: Path) -> None:
    expected = {"auto": "auto", "true": True, "no": False}.get(str(said).lower(), said)
    assert load_config(None, environ={"MEMGUARD_VERIFY": str(said)}).verify == expected
    config = load_config(None, verify=said)
    assert config.verify == expected
    assert json.loads(config.model_dump_json())["verify"] == expected
    (tmp_path / "guard.toml").write_text(f"verify = {json.dumps(said)}\n")
    assert load_config(tmp_path / "guard.toml").verify == expected


def test_the_default_and_what_it_cannot_be() -> None:
    assert GuardConfig().verify == "auto"
    for wrong in ("perhaps", 2, None):
        with pytest.raises(ConfigError, match="verify: give true, false or auto"):
            load_config(None, verify=wrong)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shipped") / "x.index"
    build_index(PHOTOGRAPHS, path, load_embedder())
    return path


def test_windows_are_looked_at_where_the_embedder_has_them(shipped: Path, indexes: Path) -> None:
    guard = Guard.open(shipped)
    assert guard.asked.query_views == "auto"
    assert guard.config.views == "windows+levels"  # the index has equalised copies to compare with
    assert guard.explain(piece()).to_dict()["embedder"]["query_views"] == "windows+levels"
    one = {"query_views": "one"}
    assert guard.explain(piece(), options=one).to_dict()["embedder"]["query_views"] == "one"
    assert Guard.open(shipped, **one).config.views == "one"
    assert Guard.open(indexes / "with.index", **PATIENT).config.views == "one"  # this embedder has none
    with pytest.raises(ConfigError, match="has no windows"):  # when it is opened, and not at each picture
        Guard.open(indexes / "with.index", **PATIENT, query_views="windows")
    with pytest.raises(ConfigError, match="has no windows"):
        Guard.open(indexes / "with.index", **PATIENT).check(piece(), options={"query_views": "windows"})
    with pytest.raises(ConfigError, match="query_views is auto"):
        _ = GuardConfig().views


def test_thresholds_are_those_of_the_views_in_use(shipped: Path, tmp_path: Path) -> None:
    embedder = load_embedder()
    advice = embedder.spec.thresholds
    assert advice is not None
    assert advice.windows is not None
    assert advice.regions is not None
    build_index(InMemory([picture(1, 40, 40)]), tmp_path / "whole.index", embedder, thumbnails=0, regions=False)
    for index, views, expected in (
        (tmp_path / "whole.index", "windows", advice.windows),
        (tmp_path / "whole.index", "auto", advice.windows),
        (tmp_path / "whole.index", "one", advice),
        (shipped, "auto", advice.regions),
        (shipped, "windows", advice.regions),
        (shipped, "one", advice.regions),
    ):
        rule = Guard.open(index, query_views=views).rules.others
        assert (rule.flag, rule.block) == (expected.flag, expected.block)


def test_a_rate_looks_as_its_calibration_did(tmp_path: Path) -> None:
    many = InMemory([picture(seed, 40, 40) for seed in range(300)])
    path = tmp_path / "x.index"
    build_index(many, path, load_embedder(), thumbnails=0)
    calibrate_index(path, targets=(0.2,))
    rate = Policy(flag=fpr(0.2), block=fpr(0.2))
    assert Guard.open(path, policy=rate).config.views == "one"  # of references: the index holds no windows of them
    assert Guard.open(path).config.views == "windows+levels"
    with pytest.raises(ConfigError, match="query_views is 'windows', and was 'one'"):
        Guard.open(path, policy=rate, query_views="windows")
    clean = InMemory([picture(seed, 40, 40) for seed in range(1000, 1120)])
    calibrate_index(path, clean=clean, embedder=load_embedder(), targets=(0.2,))
    assert Guard.open(path, policy=rate).config.views == "windows+levels"


def test_a_small_set_is_looked_up_as_its_thresholds_were_found(tmp_path: Path) -> None:
    path = tmp_path / "x.index"
    embedder = load_embedder()
    scans = InMemory([picture(seed, 96, 96) for seed in range(30)])
    build_index(scans, path, embedder, transform=small_transform(embedder.spec)[0])
    measure_small(path, embedder)
    assert Guard.open(path).config.views == "windows"
    assert Guard.open(path, query_views="one").config.views == "one"
    measure_small(path, embedder, views="one")
    assert Guard.open(path).config.views == "one"
    assert Guard.open(path, query_views="windows").config.views == "windows"
