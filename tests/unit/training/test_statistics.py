"""Statistics of descriptors: drawn deterministically, embedded, whitened, read again, refused where damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.embedders.statistics import read_statistics, statistics_of
from guard.errors import ConfigError
from guard.pixels import ImageBatch
from guard.training.statistics import compute_statistics, draw_pictures, main
from tests.support.toys import ToyEmbedder


def test_pictures_are_drawn_the_same_each_time() -> None:
    first, again = (np.stack(list(draw_pictures(5))) for _ in range(2))
    assert first.shape == (5, 176, 176, 3)
    np.testing.assert_array_equal(first, again)
    assert len({picture.tobytes() for picture in first}) == 5


def test_what_is_written_is_what_the_pictures_have(tmp_path: Path) -> None:
    compute_statistics(ToyEmbedder(), tmp_path / "s.safetensors", pictures=40, background=6)
    found = read_statistics(tmp_path / "s.safetensors")
    rows = ToyEmbedder().embed(ImageBatch(arrays=tuple(draw_pictures(46))))
    np.testing.assert_allclose(found.mean, rows[:40].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.background, rows[40:], atol=1e-3)
    assert found.pictures == 40
    assert "46 procedural pictures" in found.source
    spec = ToyEmbedder().spec
    assert statistics_of(spec, tmp_path / "s.safetensors")[0] is not None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    import safetensors.numpy

    (tmp_path / "bad").write_bytes(b"?")
    with pytest.raises(ConfigError, match="bad cannot be read"):
        read_statistics(tmp_path / "bad")
    said = {"weights_sha256": "", "shrinkage": "0.1", "pictures": "2", "source": "s"}
    zeros = {"mean": np.zeros(3, np.float32), "matrix": np.eye(3, dtype=np.float32)}
    zeros["background"] = np.zeros((1, 3), np.float32)
    safetensors.numpy.save_file(zeros, str(tmp_path / "zero"), metadata=said)
    with pytest.raises(ConfigError, match="do not fit"):
        read_statistics(tmp_path / "zero")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path / "s.safetensors"), "--pictures", "6", "--background", "3"]
    assert main(words) == 0
    assert "s.safetensors" in capsys.readouterr().out
    assert main(["--out", str(tmp_path / "none" / "s"), "--pictures", "6", "--background", "3"]) == 2
