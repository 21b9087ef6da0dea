"""Folders -> groups, and what counts as one source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.errors import ConfigError, InputError
from guard.evaluation.pictures import PictureFile, find_pictures, load, read_pairs
from tests.support.toys import picture


def save(path: Path, seed: int, width: int = 80, height: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, width, height).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(6):
        save(tmp_path / "scans" / "png" / f"{seed}.png", seed)
    return tmp_path


def sources(pictures: tuple[PictureFile, ...]) -> dict[str, int]:
    return {p.path.stem: p.source for p in pictures}


def test_pictures_are_their_own_source(folder: Path) -> None:
    found = find_pictures({"scans": [folder]})
    assert len(set(sources(found.pictures).values())) == 6
    assert {p.group for p in found.pictures} == {"scans"}
    assert not found.skipped


def test_a_table_of_patients_joins(folder: Path) -> None:
    table = "file\tpatient\npng/0.png\ta\npng/1.png\tb\npng/2.png\ta\n"
    (folder / "scans" / "patients.tsv").write_text(table, encoding="utf-8")
    of = sources(find_pictures({"scans": [folder]}).pictures)
    assert of["0"] == of["2"]
    assert len(set(of.values())) == 5


def test_pairs_join_over_several_steps_and_look_in_images(folder: Path) -> None:
    (folder / "scans").rename(folder / "images")
    table = folder / "pairs.tsv"
    rows = "query\treference\tlabel\npng/0.png\tpng/1.png\tx\npng/3.png\tpng/1.png\ty\n"
    table.write_text(rows, encoding="utf-8")
    of = sources(find_pictures({"scans": [folder]}, same=[table]).pictures)
    assert of["0"] == of["1"] == of["3"]
    assert len(set(of.values())) == 4
    assert [label for _, _, label in read_pairs(table)] == ["x", "y"]


def test_a_folder_of_one_source_and_equal_pixels_join(folder: Path) -> None:
    save(folder / "views" / "a.png", 10)
    save(folder / "views" / "b.png", 11)
    save(folder / "copy.png", 4)  # the pixels of 4.png
    save(folder / "copy.bmp", 4)  # in another file format
    of = sources(find_pictures({"scans": [folder]}, one_source=[folder / "views"]).pictures)
    assert of["a"] == of["b"]
    assert of["copy"] == of["4"]
    assert len(set(of.values())) == 7


def test_a_picture_in_two_groups_counts_in_the_first(folder: Path) -> None:
    found = find_pictures({"all": [folder], "scans": [folder / "scans"]})
    assert {p.group for p in found.pictures} == {"all"}
    assert len(found.pictures) == 6


def test_a_limit_draws_by_the_seed(folder: Path) -> None:
    drawn = [tuple(p.path for p in find_pictures({"s": [folder]}, limit=3, seed=s).pictures) for s in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert all(len(paths) == 3 for paths in drawn)


def test_what_cannot_be_read_is_skipped_by_name(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    save(folder / "small.png", 1, 47, 100)
    found = find_pictures({"scans": [folder]})
    assert len(found.pictures) == 6
    assert [next(n for n in ("broken", "small") if n in line) for line in found.skipped] == ["broken", "small"]


def test_large_pictures_are_capped(tmp_path: Path) -> None:
    path = save(tmp_path / "wide.png", 0, 900, 300)
    assert load(path, 300).shape == (100, 300, 3)
    assert load(path, 900).shape == (300, 900, 3)
    assert load(path).dtype == np.uint8
    with pytest.raises(InputError, match="sides from 48 px"):
        load(save(tmp_path / "thin.png", 0, 300, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tpatient\nmissing.png\ta\n", "missing.png, which is neither"),
        ("file\nx\n", "at least two columns"),
        ("", "at least two columns"),
    ],
)
def test_a_bad_table_is_refused(folder: Path, text: str, message: str) -> None:
    table = folder / "t.tsv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        find_pictures({"scans": [folder]}, same=[table])


def test_missing_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        find_pictures({"scans": [folder / "none"]})
    with pytest.raises(ConfigError, match="no such folder"):
        find_pictures({"scans": [folder]}, one_source=[folder / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no picture"):
        find_pictures({"scans": [tmp_path / "empty"]})
    with pytest.raises(ConfigError, match="cannot be read"):
        find_pictures({"scans": [folder]}, same=[folder / "none.tsv"])
