"""The protocol on real pictures: sources as their table says, and what PDQ is known to do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from guard.evaluation.pictures import find_pictures
from guard.evaluation.run import Settings, evaluate_descriptors, takes_part

IMAGES = Path(__file__).parents[4] / "shared" / "eval" / "images"
PAIRS = IMAGES.parent / "REAL_PAIRS.tsv"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAIRS.exists(), reason="no evaluation pictures in ../shared/eval beside the checkout"),
]


def test_xrays_of_one_patient_are_one_source() -> None:
    folder = IMAGES / "xray_hannover"
    with (folder / "patients.tsv").open(encoding="utf-8", newline="") as file:
        patients = {row["patient"] for row in csv.DictReader(file, delimiter="\t")}
    found = find_pictures({"xrays": [folder]})
    assert len(found.pictures) == 90
    assert len({p.source for p in found.pictures}) == len(patients)


def test_pdq_holds_under_tone_and_needs_its_views_for_turns() -> None:
    settings = Settings(splits=2, limit=24, resamples=50, real_pairs=PAIRS)
    document = evaluate_descriptors({"photographs": [IMAGES / "facades_cc0"]}, takes_part([]), settings)

    def recall(name: str, edit: str) -> float:
        return float(document["results"][name]["photographs"][edit]["recall_at_fpr"]["0.01"]["value"])

    assert recall("pdq", "family:photometric") > 0.98
    assert recall("pdq", "rotate_90") < 0.1
    assert recall("pdq+views", "rotate_90") > 0.95
    assert recall("pdq+views", "flip_vertical") > 0.95
    assert recall("pdq", "inset_0.4") < 0.3
    assert document["real_pairs"]["pdq+views"]["recall_at_1"]["value"] == 1
    assert document["real_pairs"]["pdq"]["pairs"] == 38
