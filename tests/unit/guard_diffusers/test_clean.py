"""`memguard calibrate --pipeline`: clean pictures are generations of one's own pipeline, kept and gone on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from guard.audit.prompts import Prompt
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.indexes.builder import build_index
from guard.pixels import RGBArray
from guard.sources.folder import FolderSource
from guard_diffusers.clean import generate_clean
from tests.support.command import as_json, run
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import picture

DRAWING = "tests.unit.guard_diffusers.test_clean:drawing"
UNCONDITIONAL = "tests.unit.guard_diffusers.test_audit:unconditional"
drawn: list[str] = []


def drawing(device: str) -> Callable[[Prompt, Sequence[int]], Sequence[RGBArray]]:
    """What MODULE:FUNCTION may name: a model that draws by seed."""

    def draw(prompt: Prompt, seeds: Sequence[int]) -> list[RGBArray]:
        drawn.extend([prompt.text] * len(seeds))
        return [np.asarray(picture(1000 + seed % 100_000, 64, 64)) for seed in seeds]

    return draw


def prompts(folder: Path, number: int) -> Path:
    file = folder / "prompts.txt"
    file.write_text("".join(f"a house with {i} windows\n" for i in range(number)), encoding="utf-8")
    return file


def test_an_index_is_calibrated_with_generations(tmp_path: Path) -> None:
    source = InMemory([picture(i, 64, 64) for i in range(20)])
    build_index(source, tmp_path / "x.index", load_embedder("pdq"), thumbnails=0)
    asked = ("calibrate", tmp_path / "x.index", "--pipeline", DRAWING, "--prompts", prompts(tmp_path, 10),
             "--generations", 11, "--device", "cpu", "--state", tmp_path / "made", "--target", 0.2)  # fmt: skip
    drawn.clear()
    code, text = run(*asked)
    assert code == 0, text
    assert "110 clean pictures" in text
    assert f"the generations are in {tmp_path / 'made' / 'generations'}" in " ".join(text.split())
    assert len(drawn) == 110
    code, report = as_json(*asked, "--json")
    assert (code, report["pictures"], report["source"]) == (0, 110, "clean")
    assert len(drawn) == 110  # nothing is made twice


def test_what_is_missing_is_made(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    for generations in (1, 3):
        folder = generate_clean(
            DRAWING, state=tmp_path / "made", prompts=prompts(tmp_path, 2), generations=generations, devices=["cpu"],
            on_progress=lambda done, total: told.append((done, total)),
        )  # fmt: skip
    assert FolderSource(folder).survey().total == 6
    assert told == [(0, 2), (1, 2), (2, 2), (2, 6), (4, 6), (6, 6)]
    with pytest.raises(ConfigError, match=r"made with other settings \(seed was 0 and is 1\).*--clean .*generations"):
        generate_clean(DRAWING, state=tmp_path / "made", prompts=prompts(tmp_path, 2), devices=["cpu"], seed=1)


def test_too_few_are_refused_before_any_is_made_or_dropped(tmp_path: Path) -> None:
    def made(least: int, *, restart: bool = False) -> Path:
        return generate_clean(
            DRAWING, state=tmp_path / "made", prompts=prompts(tmp_path, 2), generations=2, devices=["cpu"],
            least=least, restart=restart,
        )  # fmt: skip

    drawn.clear()
    with pytest.raises(ConfigError, match="come to 4 clean pictures, and at least 5 are needed"):
        made(5)
    assert drawn == []
    folder = made(4)
    with pytest.raises(ConfigError, match="come to 4"):
        made(5, restart=True)
    assert FolderSource(folder).survey().total == 4
    build_index(InMemory([picture(0, 64, 64)]), tmp_path / "x.index", load_embedder("pdq"), thumbnails=0)
    drawn.clear()
    code, text = run("calibrate", tmp_path / "x.index", "--pipeline", DRAWING, "--prompts", prompts(tmp_path, 3),
                     "--device", "cpu", "--state", tmp_path / "new")  # fmt: skip
    assert (code, drawn) == (2, [])
    assert "3 clean pictures, and at least 100" in " ".join(text.split())


def test_a_pipeline_without_prompts(tmp_path: Path) -> None:
    folder = generate_clean(
        UNCONDITIONAL, state=tmp_path / "made", generations=2, call={"num_inference_steps": 2}, devices=["cpu"]
    )
    assert FolderSource(folder).survey().total == 2
    with pytest.raises(ConfigError, match="takes no prompts"):
        generate_clean(UNCONDITIONAL, state=tmp_path / "made", prompts=prompts(tmp_path, 1), devices=["cpu"])
    with pytest.raises(ConfigError, match="name --prompts"):
        generate_clean(DRAWING, state=tmp_path / "other", devices=["cpu"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what is clean"),
        (("--pipeline", "m", "--from-references"), "say what is clean"),
        (("--clean", "m", "--prompts", "p.txt"), "--prompts are for a --pipeline"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    code, text = run("calibrate", tmp_path / "x.index", *words)
    assert (code, said in " ".join(text.split())) == (2, True)
