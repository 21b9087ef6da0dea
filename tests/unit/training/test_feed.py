"""Batches: which pictures, in which views, and the same for any number of processes' worth of looking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.training.bank import KIN, build_bank, program_seed
from guard.training.config import TrainingConfig
from guard.training.feed import Feed, _laid, chosen_rows, mixes, part_of, part_of_batch, shown_by
from guard.training.generators import Dice, kindred
from guard.training.schedule import Moment

CONFIG = TrainingConfig(programs=12, picture_size=48, pairs=8, kin_share=0.5, mix_share=0.3)
NOW = Moment(1e-3, 32, 0.5)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.npy"
    build_bank(path, programs=12, size=48, seed=7)
    return path


def test_a_bank_holds_the_kin_of_its_programs(bank: Path) -> None:
    pictures = np.load(bank, mmap_mode="r")
    assert pictures.shape == (48, 48, 48, 3)
    np.testing.assert_array_equal(pictures[4 * 5 : 4 * 6], kindred(program_seed(7, 5), 48))


def test_a_killed_build_draws_only_what_misses(bank: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bank.npy"
    copy.write_bytes(bank.read_bytes())
    flags = np.lib.format.open_memmap(copy.with_suffix(".done.npy"), "w+", np.uint8, (12,))
    flags[:] = 1
    flags[3] = 0
    pictures = np.lib.format.open_memmap(copy, "r+")
    pictures[12:16] = 0  # never finished
    pictures[0] = 9  # finished, and not to be drawn again
    pictures.flush()
    flags.flush()
    seen: list[tuple[int, int]] = []
    again = build_bank(copy, programs=12, size=48, seed=7, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(again.pictures[12:16], np.load(bank)[12:16])
    assert (again.pictures[0] == 9).all()
    assert seen == [(12, 12)]
    assert (len(again), again.programs) == (48, 12)


def test_a_bank_of_another_shape_is_refused(bank: Path) -> None:
    with pytest.raises(ValueError, match=bank.name):
        build_bank(bank, programs=13, size=48, seed=7)


def test_rows_are_different_pictures_with_kin_among_them() -> None:
    for step in range(20):
        rows = chosen_rows(CONFIG, 0, step, 12)
        assert len(set(rows.tolist())) == 8
        programs = (rows // KIN).tolist()
        assert sum(programs.count(p) == 2 for p in set(programs)) >= 2
    assert not np.array_equal(chosen_rows(CONFIG, 0, 1, 12), chosen_rows(CONFIG, 0, 2, 12))


def test_too_few_programs_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        chosen_rows(TrainingConfig(pairs=30, kin_share=0.5), 0, 0, 3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_is_shown_adds_up(ranks: int) -> None:
    shows = shown_by(CONFIG, 0, 5, ranks)
    assert shows.shape == (16, 8)
    np.testing.assert_allclose(shows.sum(1), 1)
    assert (shows.sum(0) > 0.9).all()
    weight = shows @ shows.T
    np.fill_diagonal(weight, 0)
    assert (weight.sum(1) > 0).all()  # every view has a positive


def test_first_views_do_not_depend_on_the_number_of_processes(bank: Path) -> None:
    pictures = np.load(bank, mmap_mode="r")
    whole = part_of_batch(CONFIG, pictures, 0, 3, 0, 1, NOW).views
    assert whole.shape == (16, 32, 32, 3)
    halves = [part_of_batch(CONFIG, pictures, 0, 3, rank, 2, NOW).views for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([half[:4] for half in halves]), whole[:8])


def test_only_mixed_views_differ_from_those_without_mixing(bank: Path) -> None:
    pictures = np.load(bank, mmap_mode="r")
    plain = part_of_batch(CONFIG.model_copy(update={"mix_share": 0.0}), pictures, 0, 3, 0, 1, NOW).views
    mixed = part_of_batch(CONFIG, pictures, 0, 3, 0, 1, NOW).views
    touched = {8 + mix.row for mix in mixes(CONFIG, 0, 3, part_of(CONFIG, 0, 1))}
    assert {i for i in range(16) if not np.array_equal(plain[i], mixed[i])} == touched


@pytest.mark.parametrize("seed", range(16))
def test_a_window_turns_with_its_view(seed: int) -> None:
    view, window = np.zeros((20, 20, 3), np.uint8), (0.1, 0.4, 0.3)
    view[2:8, 8:14] = 255
    laid, (top, left, side) = _laid(view, window, Dice(seed))
    row, column, far = (round(20 * value) for value in (top, left, side))
    assert laid[row : row + far, column : column + far].min() == 255
    assert laid.sum() == view.sum()


def test_a_feed_begins_at_any_step(bank: Path) -> None:
    feed = Feed(CONFIG, bank, 0, 0, 1, workers=0)
    parts = feed.parts(0, lambda step: NOW)
    later = [next(parts).views for _ in range(3)][2]
    np.testing.assert_array_equal(next(feed.parts(2, lambda step: NOW)).views, later)


@pytest.mark.slow
def test_workers_make_the_same_batches(bank: Path) -> None:
    own, theirs = (Feed(CONFIG, bank, 0, 0, 1, workers).parts(4, lambda step: NOW) for workers in (0, 2))
    for _ in range(5):
        np.testing.assert_array_equal(next(own).views, next(theirs).views)
    theirs.close()
