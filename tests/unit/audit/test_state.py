from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.audit.prompts import Prompt
from guard.audit.state import opened
from guard.errors import ConfigError, IndexLockedError
from tests.support.toys import picture

CAT = Prompt("a cat / with a ../path")


def test_what_was_written_comes_back_to_the_bit(tmp_path: Path) -> None:
    pictures = [np.array(picture(i, 48, 64)) for i in range(3)]
    with opened(tmp_path / "state", {"model": "m"}) as state:
        assert state.missing(CAT, 3) == [0, 1, 2]
        for number in (0, 2):
            state.write(CAT, number, pictures[number])
    with opened(tmp_path / "state", {"model": "m"}) as state:
        assert (state.numbers(CAT), state.missing(CAT, 4)) == ([0, 2], [1, 3])
        read, numbers = state.read(CAT, [0, 1, 2])
        assert numbers == [0, 2]
        assert (read == np.stack([pictures[0], pictures[2]])).all()
        assert state.read(Prompt("another"), [0])[0].shape == (0, 1, 1, 3)


def test_a_damaged_generation_is_made_again(tmp_path: Path) -> None:
    with opened(tmp_path / "state", {}) as state:
        for number in range(2):
            state.write(CAT, number, np.array(picture(number)))
    file = next((tmp_path / "state" / "generations").rglob("000001.webp"))
    file.write_bytes(file.read_bytes()[:40])
    (file.parent / "000002.new").write_bytes(b"half")  # what a kill leaves
    with opened(tmp_path / "state", {}) as state:
        assert state.read(CAT, [0, 1])[1] == [0]
        assert state.missing(CAT, 3) == [1, 2]


def test_pictures_of_another_size_are_left_out(tmp_path: Path) -> None:
    with opened(tmp_path / "state", {}) as state:
        state.write(CAT, 0, np.array(picture(0, 64, 64)))
        state.write(CAT, 1, np.array(picture(1, 32, 64)))
        assert state.read(CAT, [0, 1])[1] == [0]
        assert state.read(CAT, [1])[1] == []  # also when it is read alone


def test_another_audit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with opened(folder, {"model": "m", "seed": 0}) as state:
        state.write(CAT, 0, np.array(picture(0)))
        with (
            pytest.raises(IndexLockedError, match="is being written by process"),
            opened(folder, {"model": "m", "seed": 0}),
        ):
            pass
    with (
        pytest.raises(ConfigError, match="model was 'm' and is 'other'"),
        opened(folder, {"model": "other", "seed": 0}),
    ):
        pass
    with opened(folder, {"model": "other", "seed": 0}, restart=True) as state:
        assert state.numbers(CAT) == []


def test_audits_and_calibrations_are_told_apart(tmp_path: Path) -> None:
    with opened(tmp_path / "audit", {"model": "m"}), opened(tmp_path / "clean", {"clean": True, "model": "m"}):
        pass
    for folder, asked, there in (("audit", {"clean": True}, "an audit"), ("clean", {}, "a calibration")):
        with (
            pytest.raises(ConfigError, match=f"holds the generations of {there}.*another folder with --state"),
            opened(tmp_path / folder, {"model": "m", **asked}),
        ):
            pass


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.txt"), opened(tmp_path, {}, restart=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ConfigError, match="cannot be written"), opened(tmp_path / "thesis.txt", {}):
        pass


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    with opened(tmp_path / "state", {}):
        pass
    (tmp_path / "state" / "settings.json").write_text("{")
    with pytest.raises(ConfigError, match="begin anew with --restart"), opened(tmp_path / "state", {}):
        pass
