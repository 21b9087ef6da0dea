"""Pipelines as samplers of an audit, and the verb: what it refuses, runs, writes and compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from guard.audit.prompts import Prompt
from guard.audit.report import read_report
from guard.cli.main import app
from guard.errors import ConfigError
from guard.indexes.overlay import Overlay, key_of
from guard.indexes.sealing import read_key
from guard.indexes.store import open_index
from guard.pixels import RGBArray
from guard_diffusers import protect, unprotect
from guard_diffusers.audit.sampler import PipelineSampler, load_samplers
from guard_diffusers.audit.verb import _classes, _seconds, _size
from tests.pipelines import tiny
from tests.pipelines.planted import Planted
from tests.support.audits import CopyingModel, training_pictures, write_training_index

CALL = {"num_inference_steps": 2}
PICTURES = training_pictures(12)


def copying(device: str) -> Callable[[Prompt, Sequence[int]], Sequence[RGBArray]]:
    """What MODULE:FUNCTION may name."""
    assert device == "cpu"
    return CopyingModel(PICTURES, {"caption 0": 1.0})


def unconditional(device: str) -> Any:
    return tiny.unconditional().to(device)


def prompted(device: str) -> Any:
    return tiny.stable_diffusion().to(device)


def test_a_seed_makes_the_same_picture_in_any_company(pipe: Any) -> None:
    sampler = PipelineSampler(pipe, CALL)
    both = sampler(Prompt("a cat"), [1, 2])
    assert [p.shape for p in both] == [(64, 64, 3)] * 2
    assert both[0].dtype == np.uint8
    np.testing.assert_allclose(sampler(Prompt("a cat"), [2])[0].astype(int), both[1].astype(int), atol=1)
    assert np.abs(sampler(Prompt("a dog"), [1])[0].astype(int) - both[0]).max() > 1


def test_pipelines_without_prompts(pipe: Any) -> None:
    sampler = PipelineSampler(tiny.unconditional(), CALL)
    assert not sampler.takes_prompt
    assert len(sampler(Prompt(), [1, 2, 3])) == 3
    assert PipelineSampler(pipe).takes_prompt


def test_class_conditional_pipelines() -> None:
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    from tests.pipelines import parts

    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        sample_size=16, num_embeds_ada_norm=1001, norm_type="ada_norm_zero",
    )  # fmt: skip
    pipe = DiTPipeline(transformer.eval(), parts.vae(), DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    sampler = PipelineSampler(pipe, CALL)
    assert sampler.takes_class
    assert len(sampler(Prompt(label=7), [1, 2])) == 2
    with pytest.raises(ConfigError, match="--classes"):
        sampler(Prompt(), [1])


def test_what_cannot_be_audited_is_refused(pipe: Any, planted: Planted) -> None:
    guarded = protect(tiny.stable_diffusion(), planted.guard())
    with pytest.raises(ConfigError, match="unprotect"):
        PipelineSampler(guarded)
    PipelineSampler(unprotect(guarded))
    with pytest.raises(ConfigError, match="draws from a prompt alone"):
        PipelineSampler(tiny.img2img())
    with pytest.raises(ConfigError, match="takes no 'num_steps'"):
        PipelineSampler(pipe, {"num_steps": 2})


def test_models_are_loaded_from_folders_and_functions(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    loaded = load_samplers(str(tmp_path / "model"), ["cpu", "cpu"], call=CALL)
    assert len(loaded) == 2
    there = np.stack(loaded[0](Prompt("a cat"), [5])).astype(int)
    here = np.stack(PipelineSampler(pipe, CALL)(Prompt("a cat"), [5])).astype(int)
    np.testing.assert_allclose(there, here, atol=1)
    own = load_samplers("tests.unit.guard_diffusers.test_audit:unconditional", ["cpu"])[0]
    assert isinstance(own, PipelineSampler)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{}")
    for model, devices, match in (
        (str(tmp_path), ["cpu"], "holds no pipeline"),
        (str(tmp_path / "nowhere"), ["cpu"], "there is no folder .*nowhere, and a model on a hub is called"),
        (str(tmp_path / "broken"), ["cpu"], "cannot be loaded"),
        ("tests.unit.guard_diffusers.test_audit:absent", ["cpu"], "names no function"),
        (str(tmp_path / "model"), ["toaster"], "unknown device"),
    ):
        with pytest.raises(ConfigError, match=match):
            load_samplers(model, devices)
    with pytest.raises(ConfigError, match="unknown dtype"):
        load_samplers("model", dtype="int3")


def test_a_function_beside_you_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_me.py").write_text("def make(device):\n    return lambda prompt, seeds: []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert load_samplers("beside_me:make", ["cpu"])[0](Prompt("a cat"), []) == []


def test_an_audit_of_a_sealed_index_needs_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from guard.embedders import registry

    monkeypatch.setitem(registry._entries, "toy", registry.Entry("tests.support.toys:ToyEmbedder", ""))
    monkeypatch.delenv("MEMGUARD_INDEX_KEY_FILE", raising=False)
    (tmp_path / "k.key").write_text("ab" * 32)
    index = write_training_index(tmp_path, PICTURES, {"caption 0": 5}, key=read_key(tmp_path / "k.key"))
    words = [
        "tests.unit.guard_diffusers.test_audit:copying",
        "--index",
        index,
        "--state",
        tmp_path / "state",
        "-n",
        "12",
    ]
    refused = invoke(*words, "--device", "cpu")
    assert refused.exit_code == 2
    assert "are sealed" in refused.output
    done = invoke(*words, "--device", "cpu", "--key", tmp_path / "k.key")
    assert done.exit_code == 1, done.output
    assert "1 of 1 prompt memorised" in done.stdout


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The index is of the toy embedder, which the command line can only be told of by registering it."""
    from guard.embedders import registry

    monkeypatch.setitem(registry._entries, "toy", registry.Entry("tests.support.toys:ToyEmbedder", ""))
    index = write_training_index(tmp_path, PICTURES, {"caption 0": 5, "caption 1": 3})
    return [
        "tests.unit.guard_diffusers.test_audit:copying", "--index", str(index), "--state", str(tmp_path / "state"),
        "--device", "cpu", "-n", "12",
    ]  # fmt: skip


def test_the_verb_audits_and_compares(arguments: list[str], tmp_path: Path) -> None:
    outputs = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html", "--sheet", tmp_path / "a.png"]
    result = invoke(*arguments, *outputs)
    assert result.exit_code == 1, result.output
    assert "1 of 2 prompts memorised" in result.stdout
    report = read_report(tmp_path / "a.json")
    assert [(row.text, row.memorised) for row in report.prompts] == [("caption 0", True), ("caption 1", False)]
    assert "caption 0" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (tmp_path / "a.png").stat().st_size > 1_000
    assert report.summary.protected == ()
    finding = report.prompts[0].finding
    assert finding is not None
    Overlay(arguments[2]).give([finding.sha256], "opt-out", who="anna")
    everything = invoke("run", *arguments, "--all", "--most", "7", "--json", tmp_path / "b.json")
    assert everything.exit_code == 1
    assert "repeated although protected or opted out: 1 picture, of which 1 in the training set" in everything.stdout
    assert f"{finding.uri} (training, opt-out; at 1 prompt" in everything.stdout
    assert len(read_report(tmp_path / "b.json").prompts) == 7
    compared = invoke("compare", tmp_path / "a.json", tmp_path / "b.json", "--json")
    assert compared.exit_code == 0
    assert (json.loads(compared.stdout)["shared"], json.loads(compared.stdout)["both"]) == (2, 1)
    said = invoke("compare", tmp_path / "a.json", tmp_path / "b.json").stdout
    assert "of 2 shared prompts" in said
    assert "(a.json)" in said


def test_tombstones_are_told_of_and_can_be_counted(arguments: list[str], tmp_path: Path) -> None:
    path = Path(arguments[2])
    with open_index(path) as index:
        repeated = [key_of(record) for record in index.reader.all() if record.caption == "caption 0"]
    Overlay(path).bury(repeated, who="anna")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "5 references; --buried counts them" in result.stderr
    assert "0 of 1 prompt memorised" in result.stdout
    result = invoke(*arguments, "--buried")
    assert result.exit_code == 1, result.output
    assert "--buried" not in result.stderr
    assert "1 of 2 prompts memorised" in result.stdout


def test_a_model_without_prompts(arguments: list[str], tmp_path: Path) -> None:
    result = invoke("tests.unit.guard_diffusers.test_audit:unconditional", *arguments[1:5], "--device", "cpu",
                    "-n", "5", "--steps", "2", "--criterion", "adaptive", "--json", tmp_path / "a.json",
                    "--sheet", tmp_path / "a.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no sheet" in result.output
    assert not (tmp_path / "a.png").exists()
    report = read_report(tmp_path / "a.json")
    assert report.settings.each
    assert report.summary.copies is not None
    assert (report.summary.copies.hits, report.summary.copies.of) == (0, 5)
    assert [(row.text, row.label, row.generations) for row in report.prompts] == [("", None, 5)]


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("unconditional", ["--classes", "0-3"], "draws no classes"),
        ("unconditional", ["--prompts", __file__], "takes no prompts"),
        ("prompted", ["--classes", "0-3"], "draws no classes"),
    ],
)
def test_what_a_pipeline_cannot_be_asked_is_refused(
    arguments: list[str], model: str, more: list[str], said: str
) -> None:
    result = invoke(f"tests.unit.guard_diffusers.test_audit:{model}", *arguments[1:], *more)
    assert result.exit_code == 2
    assert said in result.output


def test_prompts_of_a_file_and_a_model_that_memorised_none_of_them(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("caption 3\ncaption 1\nsomething else\n", encoding="utf-8")
    result = invoke(*arguments, "--prompts", tmp_path / "prompts.txt", "--budget", "5s", "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    rows = {row.text: row.duplicates for row in read_report(tmp_path / "a.json").prompts}
    assert set(rows) <= {"caption 3", "caption 1", "something else"}
    assert rows.get("caption 1", 3) == 3


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--budget", "soon"], "like 90s, 20m or 2h"),
        (["--size", "wide"], "like 512x512"),
        (["--classes", "cat"], "like 0-9"),
        (["--json", "absent/a.json"], "there is no folder"),
        (["--sheet", "sheet.jpg"], "ends in .png"),
        (["--threshold", "2"], r"distances in \(0, 1\]"),
        (["--duplicates", "9"], "memguard dedup"),
        (["--demo"], "leave yours out"),
    ],
)
def test_bad_input_is_exit_code_2(arguments: list[str], more: list[str], match: str) -> None:
    import re

    result = invoke(*arguments, *more)
    assert result.exit_code == 2, result.output
    assert re.search(match, result.output)


def test_without_a_model() -> None:
    result = invoke("run")
    assert result.exit_code == 2
    assert "or take --demo" in result.output


@pytest.mark.slow
def test_the_audit_of_the_demo_agrees_with_what_was_planted(tmp_path: Path) -> None:
    """The ten most duplicated and four others, sixteen generations each; the truth's own generations beside them."""
    outputs = ["--json", tmp_path / "demo.json", "--html", tmp_path / "demo.html"]
    result = invoke("--demo", "-n", "16", "--most", "14", "--state", tmp_path / "state", *outputs)
    assert result.exit_code == 0, result.output[-2000:]
    document = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    truth = document["truth"]
    assert (truth["precision"], truth["recall"], truth["control_found"]) == (1.0, 1.0, 0)
    assert truth["recall_rate"]["of"] == 11
    assert truth["not_judged"] == 0
    assert [(row["k"], row["memorised"]) for row in truth["by_k"]] == [(256, 3), (64, 4), (16, 4), (4, 0), (1, 0)]
    assert document["memorising"]["references"] == 3163
    assert document["comparison"]["difference"]["low"] > 0.2
    assert document["seconds"]["all"] > 0
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert page.count("<article") == sum(row["finding"] is not None for m in ("memorising", "control")
                                         for row in document[m]["prompts"])  # fmt: skip


def test_times_sizes_and_classes() -> None:
    assert [_seconds(t) for t in (None, "90", "90s", "1.5m", "2h")] == [None, 90, 90, 90, 7200]
    assert _size("640x384") == {"width": 640, "height": 384}
    assert _classes("3,5-7,6") == (3, 5, 6, 7)
    assert _classes(None) == ()
