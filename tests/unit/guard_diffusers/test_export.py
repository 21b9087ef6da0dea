"""The demo's model as a folder: diffusers loads it, and it draws what the demo draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.audit.prompts import Prompt
from guard_diffusers.audit.sampler import PipelineSampler, load_samplers
from guard_diffusers.demo.export import main
from guard_diffusers.demo.pipeline import load_pipeline


def test_diffusers_loads_it_and_it_draws_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pipeline"
    assert main([str(folder)]) == 0
    call = {"num_inference_steps": 2, "guidance_scale": 2.0}
    (exported,) = load_samplers(str(folder), ["cpu"], call=call)
    prompt = Prompt("a cat")
    ours = PipelineSampler(load_pipeline("memorising"), call)(prompt, [1, 2])
    np.testing.assert_array_equal(np.stack(exported(prompt, [1, 2])), np.stack(ours))
    assert main([str(folder)]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
    assert main([str(tmp_path / "other"), "--weights", str(tmp_path)]) == 2
    assert "holds no model 'memorising'" in capsys.readouterr().err
