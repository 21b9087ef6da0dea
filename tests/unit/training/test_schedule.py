"""Learning rate, size and strength over a run; settings that do not fit are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from guard.training.config import CONFIGS, NetworkConfig, Phase, TrainingConfig
from guard.training.schedule import moment

CONFIG = TrainingConfig(
    learning_rate=1.0, final_rate=0.1, warm_up_steps=10, strength_from=0.5, strength_full_at=0.5,
    phases=(Phase(until=0.5, size=96), Phase(until=1, size=160)),
)  # fmt: skip


def test_the_rate_warms_up_and_follows_a_cosine() -> None:
    assert moment(CONFIG, 0, 0).learning_rate == pytest.approx(0.1)
    assert moment(CONFIG, 0, 9).learning_rate == pytest.approx(1)
    assert moment(CONFIG, 0.5, 100).learning_rate == pytest.approx(0.55)
    assert moment(CONFIG, 1, 100).learning_rate == pytest.approx(0.1)
    assert moment(CONFIG, 1.7, 100).learning_rate == pytest.approx(0.1)  # a step that began before the end


def test_size_changes_at_the_end_of_a_phase() -> None:
    assert [moment(CONFIG, p, 0).size for p in (0, 0.49, 0.5, 1)] == [96, 96, 160, 160]


def test_strength_grows_and_a_continued_run_is_at_full_strength() -> None:
    assert [moment(CONFIG, p, 0).strength for p in (0, 0.25, 0.5, 1)] == pytest.approx([0.5, 0.75, 1, 1])
    assert moment(CONFIG, 0, 0, continued=True).strength == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"phases": ()},
        {"phases": [{"until": 0.5, "size": 96}]},
        {"phases": [{"until": 1, "size": 100}]},
        {"phases": [{"until": 1, "size": 96}, {"until": 0.5, "size": 128}]},
        {"unknown": 1},
        {"network": {"widths": [8, 16], "depths": [1, 1]}},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate(settings)


def test_settings_survive_json() -> None:
    for config in CONFIGS.values():
        assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    assert NetworkConfig().dim == 256
