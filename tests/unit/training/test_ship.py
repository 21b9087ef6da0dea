"""From a run's folder and an evaluation to the package's folder: what the card says, and what is refused."""

from __future__ import annotations

import copy
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from guard.embedders.files import sha256_of
from guard.embedders.ort import OrtEmbedder
from guard.embedders.registry import load_embedder
from guard.embedders.shipped import SHIPPED, ShippedCard, shipped_card
from guard.embedders.views import has_windows
from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.entrants import entrants_of, with_regions
from guard.evaluation.run import Settings, evaluate_descriptors
from guard.evaluation.transformed import transformed
from guard.training.config import NetworkConfig
from guard.training.export import export, preprocessing_for
from guard.training.network import DescriptorNet
from guard.training.ship import IN_INDEX, main, measure_anew, ship
from tests.support.toys import picture

SMALL = NetworkConfig(widths=(8, 16, 24), depths=(1, 1), dim=16)
TODAY = date(2026, 11, 22)
SOME = tuple(EDITS[name] for name in ("jpeg_30", "crop_25"))


def a_run(folder: Path, seed: int, init_sha256: str | None = None) -> Path:
    """What a run leaves: weights as they were drawn, and their record."""
    torch.manual_seed(seed)
    done = export(DescriptorNet(SMALL).eval(), folder, name=SHIPPED, size=64, windows_size=96)
    record = {
        "written_at": "2026-11-22T12:00:00+00:00",
        "training_data": "none",
        "commit": "abc",
        "run": {"seed": seed, "device": "cpu", "processes": 2, "init_sha256": init_sha256,
                "config": {"network": SMALL.model_dump(mode="json"), "pairs": 16}},
        "result": {"weights_sha256": done.weights_sha256, "preprocessing": str(preprocessing_for(64)),
                   "windows_preprocessing": str(preprocessing_for(96)), "step": 10,
                   "views": 320, "elapsed_s": 7200},
        "compute": {"cpu_cores": 2},
    }  # fmt: skip
    (folder / f"{SHIPPED}.training.json").write_text(json.dumps(record))
    return folder


def an_evaluation(run: Path, pictures: Path, *, whitened: bool = False) -> dict[str, Any]:
    """whitened: and with windows, as `--embedder onnx:FILE --whitened` evaluates a run's files."""
    name, file = "onnx:somewhere", run / f"{SHIPPED}.onnx"
    embedder = load_embedder(f"onnx:{file}") if whitened else OrtEmbedder(file)
    found = entrants_of(name, embedder)
    if has_windows(embedder):
        found += with_regions(found[-1], embedder)
    entrants = {entrant.name: entrant for entrant in found}
    groups = {"photographs": [pictures / "a"], "scans": [pictures / "b"]}
    settings = Settings(edits=SOME, resamples=10, splits=2)
    derived = transformed(list(entrants), entrants, whitened=whitened, rivals=whitened)
    return evaluate_descriptors(groups, entrants, settings, derived=derived)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name, seeds in (("a", range(8)), ("b", range(20, 28))):
        (root / name).mkdir()
        for seed in seeds:
            picture(seed, 80, 64).save(root / name / f"{seed}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("run"), seed=0)


@pytest.fixture(scope="module")
def evaluation(run: Path, pictures: Path) -> dict[str, Any]:
    return an_evaluation(run, pictures)


def test_the_card_says_what_was_measured(run: Path, evaluation: dict[str, Any], tmp_path: Path) -> None:
    card = ship(run, evaluation, tmp_path, today=TODAY)
    assert card == shipped_card(tmp_path)
    assert sha256_of(tmp_path / f"{SHIPPED}.safetensors") == card.weights_sha256
    assert sha256_of(tmp_path / f"{SHIPPED}.onnx") == card.onnx_sha256
    limits = evaluation["thresholds"]["onnx:somewhere"]["photographs"]
    halfway, highest = (limits["0.01"] + limits["0.001"]) / 2, limits["0.0001"]
    assert halfway <= card.thresholds.flag < halfway + 0.01
    assert highest <= card.thresholds.block < highest + 0.01
    assert all(t == round(t, 2) for t in (card.thresholds.flag, card.thresholds.block))
    assert "2026-11-22" in card.thresholds.source
    (trained,) = card.training["runs"]
    assert (trained["views"], trained["hours"], trained["commit"], trained["cpu_cores"]) == (320, 2.0, "abc", 2)
    group = card.evaluation["groups"]["photographs"]
    measured = evaluation["results"]["onnx:somewhere"]["photographs"]["all_edits"]["recall_at_1"]
    assert group["figures"]["all_edits"]["recall_at_1"] == measured
    weak = evaluation["results"]["onnx:somewhere"]["photographs"]["crop_25"]["recall_at_own_fpr"]["0.01"]["value"]
    assert any(spot.startswith(f"crop_25: {100 * weak:.0f} %") for spot in card.weak_spots)


def test_weights_that_are_there_are_measured_anew(
    run: Path, evaluation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ship(run, evaluation, tmp_path, today=TODAY)
    later = copy.deepcopy(evaluation)
    later["thresholds"]["onnx:somewhere"]["photographs"]["0.0001"] = 0.93
    (file := tmp_path / "later.json").write_text(json.dumps(later), "utf-8")
    assert main(["--evaluation", str(file), "--out", str(tmp_path)]) == 0
    assert "block 0.93" in capsys.readouterr().out
    card = ShippedCard.model_validate_json((tmp_path / f"{SHIPPED}.json").read_text("utf-8"))
    assert (card.weights_sha256, card.training) == (before.weights_sha256, before.training)
    assert (card.thresholds.block, card.thresholds.flag) == (0.93, before.thresholds.flag)
    later["weights_sha256"] = {"onnx:somewhere": "f" * 64}
    with pytest.raises(ConfigError, match="other weights"):
        measure_anew(later, tmp_path, today=TODAY)


def test_a_whitened_index_has_thresholds_of_its_own(run: Path, pictures: Path, tmp_path: Path) -> None:
    evaluation = an_evaluation(run, pictures, whitened=True)
    evaluation["thresholds"]["onnx:somewhere+whitened"]["photographs"] = {"0.01": 0.3, "0.001": 0.402, "0.0001": 0.45}
    card = ship(run, evaluation, tmp_path, today=TODAY)
    assert card.thresholds.whitened is not None
    assert (card.thresholds.whitened.flag, card.thresholds.whitened.block) == (0.41, 0.45)
    assert card.thresholds.flag != 0.41
    assert card == shipped_card.__wrapped__(tmp_path)


def test_windows_have_thresholds_of_their_own_by_the_same_rules(
    run: Path, pictures: Path, evaluation: dict[str, Any], tmp_path: Path
) -> None:
    found = an_evaluation(run, pictures, whitened=True)
    some = (("", 0.61), ("+whitened", 0.52), ("+whitened+rivals", 0.57))
    limited = [(f"+windows{way}", highest) for way, highest in some]
    limited += [(f"+windows+regions+levels{way}", highest + 0.1) for way, highest in some]
    for way, highest in limited:
        assert f"onnx:somewhere{way}" in found["thresholds"]  # what took part
        limits = {"0.01": 0.3, "0.001": 0.4, "0.0001": highest}
        found["thresholds"][f"onnx:somewhere{way}"] = {"photographs": limits}
    card = ship(run, found, tmp_path, today=TODAY)
    seen, known = (
        found["results"][f"onnx:somewhere+windows{way}"]["photographs"]["crop_25"]["recall_at_own_fpr"]["0.01"]["value"]
        for way in ("", "+regions+levels")
    )
    (spot,) = (spot for spot in card.weak_spots if spot.startswith("crop_25"))
    said = f"{100 * seen:.0f} % with windows, {100 * known:.0f} % with {IN_INDEX}"
    assert spot.endswith(f"(photographs), {said}")
    whitened = card.thresholds.whitened
    assert whitened is not None
    assert whitened.rivals is not None
    ways = (
        (card.thresholds.windows, (0.35, 0.61)),
        (whitened.windows, (0.4, 0.52)),
        (whitened.rivals.windows, (0.4, 0.57)),
        (card.thresholds.regions, (0.35, 0.71)),
        (whitened.regions, (0.4, 0.62)),
        (whitened.rivals.regions, (0.4, 0.67)),
    )
    for one, expected in ways:
        assert one is not None
        assert (one.flag, one.block) == expected
        assert "with windows" in one.source
    assert card == shipped_card.__wrapped__(tmp_path)
    without = ship(run, evaluation, tmp_path / "without", today=TODAY).thresholds
    assert without.windows is without.regions is None
    assert without.of(windows=True) == without


def test_weights_that_go_on_from_shipped_ones_keep_their_history(
    run: Path, evaluation: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    first = ship(run, evaluation, tmp_path / "package", today=TODAY)
    on = a_run(tmp_path / "on", seed=1, init_sha256=first.weights_sha256)
    found = an_evaluation(on, pictures)
    card = ship(on, found, tmp_path / "package", today=TODAY)
    assert [entry["seed"] for entry in card.training["runs"]] == [0, 1]
    again = a_run(tmp_path / "again", seed=2, init_sha256=first.weights_sha256)
    with pytest.raises(ConfigError, match="their training is unknown"):
        ship(again, an_evaluation(again, pictures), tmp_path / "package", today=TODAY)


def test_an_evaluation_of_other_weights_is_refused(
    run: Path, evaluation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = a_run(tmp_path / "other", seed=3)
    with pytest.raises(ConfigError, match="other weights"):
        ship(other, evaluation, tmp_path / "package", today=TODAY)
    incomplete = {key: value for key, value in evaluation.items() if key != "thresholds"}
    with pytest.raises(ConfigError, match="thresholds"):
        ship(run, incomplete, tmp_path / "package", today=TODAY)
    assert not (tmp_path / "package").exists()
    (other / f"{SHIPPED}.safetensors").write_bytes(b"")
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    arguments = [str(other), "--evaluation", str(tmp_path / "evaluation.json"), "--out", str(tmp_path / "package")]
    assert main(arguments) == 2
    assert "export the run again" in capsys.readouterr().err


def test_the_command_writes_the_package_folder(run: Path, evaluation: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    assert main([str(run), "--evaluation", str(tmp_path / "evaluation.json"), "--out", str(tmp_path / "package")]) == 0
    card = ShippedCard.model_validate_json((tmp_path / "package" / f"{SHIPPED}.json").read_text())
    assert card.name == SHIPPED
