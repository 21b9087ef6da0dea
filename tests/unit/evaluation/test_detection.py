"""The evaluation of descriptor and verifier together, on scikit-image's pictures, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from guard.cli.main import app
from guard.evaluation.detection import DetectionSettings, evaluate_detection
from guard.evaluation.detection_plot import draw
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import entrants_of
from guard.evaluation.markdown import page
from guard.evaluation.run import Settings, takes_part
from guard.verification.verifier import PixelVerifier
from tests.support.toys import ToyEmbedder

NAMES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "camera",
    "coins",
    "immunohistochemistry",
)
SOME = tuple(EDITS[name] for name in ("jpeg_30", "crop_60", "inset_0.6", "elastic", "repost"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for name in NAMES:
        image = Image.fromarray(getattr(data, name)()).convert("RGB")
        image.thumbnail((224, 224), Image.Resampling.LANCZOS)
        image.save(root / f"{name}.png")
    return root


class Counting(PixelVerifier):
    compared = 0

    def verify(self, query: Any, reference: Any) -> Any:
        self.compared += 1
        return super().verify(query, reference)


def run(folder: Path, verifier: PixelVerifier | None = None, **settings: Any) -> dict[str, Any]:
    entrants = {e.name: e for e in entrants_of("toy", ToyEmbedder())} | takes_part(["pdq"], with_baselines=False)
    protocol = Settings(edits=SOME, resamples=60, splits=2, **settings)
    chosen = DetectionSettings(protocol, candidates=3, kin=2, workers=1)
    return evaluate_detection({"photographs": [folder]}, entrants, ["toy"], chosen, verifier=verifier)


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return run(folder)


def test_the_layout_is_that_of_eval_descriptors_and_pixels_find_more(document: dict[str, Any]) -> None:
    json.dumps(document, allow_nan=False)
    assert list(document["results"]) == ["toy", "pdq", "pdq+views", "toy+verifier", "toy+pdq", "toy+pdq+verifier"]
    for by_group in document["results"].values():
        assert list(by_group) == ["photographs"]
        assert "family:overlay" in by_group["photographs"]
    at = {name: document["results"][name]["photographs"]["all_edits"]["recall_at_fpr"] for name in document["results"]}
    assert at["toy+verifier"]["0.0001"]["value"] > at["toy"]["0.0001"]["value"]
    assert at["toy+pdq+verifier"]["0.001"]["value"] >= at["toy+verifier"]["0.001"]["value"]
    assert document["thresholds"]["toy"]["photographs"]["0.0001"] >= document["thresholds"]["toy"]["pooled"]["0.001"]
    bound = document["no_false_match"]["photographs"]
    assert bound["negative_queries"] == document["protocol"]["groups"]["photographs"]["negative_queries"]
    assert bound["upper_bound_by_sources"] > bound["upper_bound_if_queries_were_independent"] > 0


def test_evidence_is_described_by_edit_and_tested_against_the_descriptor(document: dict[str, Any]) -> None:
    own = document["evidence"]["own"]["photographs"]
    assert set(own) == {*(edit.name for edit in SOME), *(f"family:{edit.family}" for edit in SOME), "all_edits"}
    for shares in own.values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert own["jpeg_30"]["near_identical"] > 0.9
    assert own["inset_0.6"]["partial"] > 0.3
    assert document["evidence"]["wrong"]["photographs"]["untouched"]["false"] == 0
    paired = document["paired"]["toy+verifier"]
    assert paired["against"] == "toy"
    assert set(paired["below"]["photographs"]["0.001"]) == {edit.name for edit in SOME}
    assert all(0 < p <= 1 for p in paired["below"]["photographs"]["0.001"].values())
    assert paired["differences"]["photographs"]["crop_60"]["recall_at_fpr"]["0.001"]["value"] >= 0


def test_related_pictures_are_counted_by_program(document: dict[str, Any]) -> None:
    kin = document["kin"]
    assert kin["programs"] == 2
    assert set(kin["pixels"]) == set(kin["kinds"]) == {"sibling", "variant", "near"}
    assert {"toy", "toy+verifier", "toy+pdq", "toy+pdq+verifier", "pdq+views"} == set(kin["false_matches"])
    for of in kin["pixels"].values():
        assert of["either"]["false"] >= max(of["as_it_is"]["false"], of["edited"]["false"])
        classes = [of["one_drawing"], of["shared_part"], of["other_content"]]
        assert sum(one["programs"] for one in classes) == of["either"]["programs"] == 2
        assert sum(one["false"] for one in classes) == of["either"]["false"]
        assert of["either"]["low"] <= of["either"]["value"] <= of["either"]["high"] <= 1


def test_tables_and_plot_show_the_figures(document: dict[str, Any]) -> None:
    text = page(document)
    mean = document["results"]["toy+verifier"]["photographs"]["all_edits"]["recall_at_fpr"]["0.0001"]
    assert f"{100 * mean['value']:.1f} [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}] |" in text
    for word in ("`inset_0.6`", "no false match", "near_identical", "sibling", "variant"):
        assert word in text
    assert all(line.endswith("|") for line in text.splitlines() if line.startswith("|"))
    drawn = np.asarray(draw(document))
    assert drawn.shape[0] > 15 * len(SOME)
    assert (drawn == np.array([0xB3, 0x26, 0x1E])).all(axis=2).any()  # the verifier's marks


def test_a_run_goes_on_from_its_cache_and_new_limits_do_not_use_it(folder: Path, tmp_path: Path, document: Any) -> None:
    first, again = Counting(), Counting()
    done = run(folder, first, cache=tmp_path)
    assert done["results"] == document["results"]
    files = sorted(tmp_path.rglob("*.npz"))
    pixels = [path for path in files if "pairs" in np.load(path)]
    assert len(pixels) == len(NAMES) - 1  # one is a carrier
    pixels[0].write_bytes(pixels[0].read_bytes()[:50])
    assert run(folder, again, cache=tmp_path)["results"] == document["results"]
    assert 0 < again.compared < first.compared / 3  # the damaged one, and kin


def test_the_command_writes_three_files(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    result = CliRunner().invoke(
        app,
        ["eval", "detection", "--images", str(folder), "--limit", "6", "--splits", "1", "--kin", "0",
         "--candidates", "2", "--workers", "1", "--json", str(target)],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"found.json", "found.md", "found.png"}
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["protocol"]["bases"] == [document["protocol"]["default"]]
    assert (
        document["results"]["default+pdq+verifier"]
        == document["results"]["procedural+windows+regions+levels+pdq+verifier"]
    )
    assert document["paired"]["default+verifier"]["against"] == "procedural+windows+regions+levels"
    assert "pixels called a copy: 0 of" in result.stdout
    assert "none above bounds the rate by" in result.stdout
    assert "found.md" in result.stderr
    images = ["eval", "detection", "--images", str(folder), "--json"]
    for name, said in (("tables.md", "ends in .json"), ("", "is a folder")):
        refused = CliRunner().invoke(app, [*images, str(tmp_path / name)])
        assert (refused.exit_code, said in " ".join(refused.stderr.split())) == (2, True)
    missing = CliRunner().invoke(app, ["eval", "detection", "--json", str(target)])
    assert missing.exit_code == 2
    assert "give pictures" in missing.stderr
