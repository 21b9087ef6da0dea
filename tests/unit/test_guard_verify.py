"""Verification within a check: a real index with thumbnails, the budget, what is said without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guard import ConfigError, Decision, Guard, Policy
from guard.config import load_config
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.types import EvidenceKind
from tests.support.photographs import photograph
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.waiting import WAIT_S

NAMES = ("astronaut", "chelsea", "coffee")
NOTHING_MATCHES = Policy(flag=0.99, block=1.0)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    (folder / "training").mkdir()
    for name in NAMES:
        Image.fromarray(photograph(name, 384)).save(folder / "training" / f"{name}.png")
    build_index(folder / "training", folder / "with.index", load_embedder("pdq"))
    build_index(folder / "training", folder / "without.index", load_embedder("pdq"), thumbnails=0)
    return folder


def opened(indexes: Path, name: str = "with.index", **settings: object) -> Guard:
    settings = {"policy": NOTHING_MATCHES, "verify": True, "verify_budget_ms": 60_000, **settings}
    return Guard.open(indexes / name, deadline_s=None, **settings)  # type: ignore[arg-type]


def inset() -> np.ndarray:
    page = photograph("rocket", 512).copy()
    small = Image.fromarray(photograph("astronaut", 384)).resize((220, 220))
    page[60:280, 150:370] = np.asarray(small)
    return page


def test_pixels_find_what_the_descriptor_does_not(indexes: Path) -> None:
    without, guard = opened(indexes, verify=False), opened(indexes)
    assert without.check(inset())[0].decision is Decision.ALLOW
    report = guard.check([inset(), photograph("rocket")])
    found, other = report
    assert (found.decision, found.verified) == (Decision.FLAG, True)
    assert [m.record.uri for m in found.matches] == ["astronaut.png"]
    assert found.matches[0].evidence is not None
    assert found.matches[0].evidence.kind is EvidenceKind.PARTIAL
    assert (other.decision, other.verified) == (Decision.ALLOW, True)
    assert list(report.seconds) == ["pixels", "embed", "search", "verify", "decide"]
    assert json.loads(json.dumps(report.to_dict()))["verdicts"][0]["matches"][0]["evidence"]["kind"] == "partial"
    assert guard.metrics.registry.get_sample_value("memguard_stage_duration_seconds_count", {"stage": "verify"}) == 1


def test_a_mirrored_copy_is_blocked(indexes: Path) -> None:
    verdict = opened(indexes).check(np.ascontiguousarray(photograph("coffee")[:, ::-1]))[0]
    assert verdict.decision is Decision.BLOCK
    assert verdict.nearest is not None
    assert verdict.nearest.evidence is not None
    assert verdict.nearest.evidence.mirrored


def test_tensors_are_verified_as_arrays_are(indexes: Path) -> None:
    guard = opened(indexes)
    array = inset()
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255
    (one,), (other,) = guard.check(array), guard.check(tensor)
    assert one.decision is other.decision is Decision.FLAG
    assert one.matches[0].evidence == other.matches[0].evidence


def test_on_for_one_call(indexes: Path) -> None:
    guard = opened(indexes, verify=False)
    assert guard.check(inset())[0].verified is None
    assert guard.check(inset(), options={"verify": True})[0].decision is Decision.FLAG


def test_far_candidates_are_not_compared(indexes: Path) -> None:
    verdict = opened(indexes, verify_margin=0.0).check(inset())[0]
    assert (verdict.decision, verdict.verified) == (Decision.ALLOW, None)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("without.index", {}, "no thumbnail"),
        ("with.index", {"verify_budget_ms": 1e-6}, "out of time"),
    ],
)
def test_what_cannot_be_verified_is_decided_by_similarity(
    indexes: Path, name: str, settings: dict[str, float], reason: str
) -> None:
    guard = opened(indexes, name, policy=Policy(flag=0.6, block=0.9), originals=False, **settings)
    copy, other = guard.check([photograph("chelsea"), photograph("rocket")])
    assert (copy.decision, copy.verified) == (Decision.BLOCK, False)
    # A far reference without a thumbnail is not missed; one that there was no time for may have been the copy.
    assert (other.decision, other.verified) == (Decision.ALLOW, None if reason == "no thumbnail" else False)
    assert f"not verified ({reason}): the similarity decides" in copy.reasons


def test_an_index_that_knows_no_thumbnails_is_said_too() -> None:
    training = {f"{i}.png": picture(i) for i in range(4)}
    config = load_config(None, verify=True, deadline_s=WAIT_S)
    guard = Guard(MemoryIndex(ToyEmbedder(), training), ToyEmbedder(), config=config)
    verdict = guard.check(picture(2))[0]
    assert (verdict.decision, verdict.verified) == (Decision.BLOCK, False)


def test_the_deadline_leaves_time_to_decide(indexes: Path) -> None:
    """A budget far beyond the deadline: half of what is left is taken, and the decision still comes."""
    guard = Guard.open(
        indexes / "with.index", policy=NOTHING_MATCHES, verify=True, verify_budget_ms=1e6, deadline_s=30.0
    )
    report = guard.check([inset()] * 3)
    assert [v.status.value for v in report] == ["success"] * 3


@pytest.mark.parametrize(("field", "value"), [("verify_margin", -0.1), ("verify_budget_ms", 0), ("verify", "perhaps")])
def test_settings_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        load_config(None, **{field: value})
