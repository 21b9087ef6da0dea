"""Tables of an evaluation: every figure that is shown stands in the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import entrants_of, l2_entrant
from guard.evaluation.markdown import main, page
from guard.evaluation.run import Settings, evaluate_descriptors
from tests.support.toys import ToyEmbedder, picture


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("pictures")
    for name, seeds in (("a", range(8)), ("b", range(20, 28))):
        (root / name).mkdir()
        for seed in seeds:
            picture(seed, 80, 64).save(root / name / f"{seed}.png")
    entrants = {entrant.name: entrant for entrant in [*entrants_of("toy", ToyEmbedder()), l2_entrant()]}
    edits = (EDITS["jpeg_30"], EDITS["crop_25"])
    groups = {"photographs": [root / "a"], "scans": [root / "b"]}
    return evaluate_descriptors(groups, entrants, Settings(edits=edits, resamples=10, splits=2))


def test_the_tables_hold_the_figures(document: dict[str, Any]) -> None:
    text = page(document)
    for group, counts in document["protocol"]["groups"].items():
        assert f"**{group}**: {counts['pictures']} pictures of {counts['sources']} sources" in text
    mean = document["results"]["toy"]["scans"]["all_edits"]["recall_at_1"]
    assert f"{100 * mean['value']:.1f} [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}]" in text
    crop = document["results"]["toy"]["photographs"]["crop_25"]
    shown = [crop["recall_at_1"], crop["recall_at_own_fpr"]["0.01"], crop["recall_at_own_fpr"]["0.001"]]
    assert "| `crop_25` | " + " | ".join(f"{100 * one['value']:.1f}" for one in shown) + " |" in text
    alike = document["look_alikes"]["l2"]
    assert f"| `l2` | {100 * alike['photographs']['0.01']['value']:.2f} |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in lines)


def test_what_is_absent_is_left_out_and_what_is_paired_is_shown(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Paired" not in page(document)
    assert "Real edits" not in page(document)
    assert "False alarms of PDQ" not in page(document)

    def rate(low: float, value: float, high: float) -> dict[str, float]:
        return {"value": value, "low": low, "high": high}

    figures = {"recall_at_1": rate(0.01, 0.02, 0.03), "recall_at_own_fpr": {"0.01": rate(-0.1, 0, 0.1),
               "0.001": rate(-0.3, -0.2, -0.1)}}  # fmt: skip
    paired = {"toy+x": {"against": "toy", "differences": {"photographs": {"all_edits": figures}}}}
    alarms = {"untouched": rate(0, 0.0125, 0.04), "edited": rate(0, 0, 0.1)}
    identical = {"photographs": {"found": {}, "false": alarms, "look_alikes": rate(0, 0.0005, 0.003)}}
    (tmp_path / "x.json").write_text(json.dumps({**document, "paired": paired, "identical": identical}))
    assert main([str(tmp_path / "x.json")]) == 0
    said = capsys.readouterr().out
    assert "| photographs | 1.25 [0.00, 4.00] | 0.00 [0.00, 10.00] | 0.05 [0.00, 0.30] |" in said
    assert "**`toy+x` minus `toy`**" in said
    assert "| **+2.0 [+1.0, +3.0]** | +0.0 [-10.0, +10.0] | **-20.0 [-30.0, -10.0]** |" in said
