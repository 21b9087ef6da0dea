"""The list of edits: complete, seeded, and made of nothing that training uses."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import Counter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

import guard.evaluation.edits
import guard.training.edits
from guard.errors import ConfigError
from guard.evaluation.edits import EDITS, FAMILIES, edits_table
from tests.support.toys import picture

ROOT = Path(__file__).parents[3]
REQUIRED = (
    "crop_80",
    "crop_60",
    "crop_40",
    "crop_25",
    "rotate_5",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "flip_horizontal",
    "flip_vertical",
    "perspective",
    "aspect",
    "inset_0.6",
    "inset_0.4",
    "collage",
    "caption",
    "stickers",
    "frame",
    "blend",
    "jpeg_30",
    "blur",
    "noise",
    "gamma_2",
    "colour_cast",
    "grey",
    "posterise",
    "painterly",
    "new_detail",
    "elastic",
    "colour_transfer",
    "latent",
    "strong",
)


def pixels(seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    array = np.array(picture(seed, width, height))
    array.flags.writeable = False  # an edit that writes to its source fails
    return array


OTHERS = [pixels(100), pixels(101, 50, 80)]


def test_the_list_is_complete() -> None:
    assert len(EDITS) >= 34
    assert set(EDITS) >= set(REQUIRED)
    assert {edit.family for edit in EDITS.values()} == set(FAMILIES)
    assert min(Counter(edit.family for edit in EDITS.values()).values()) >= 5
    assert all(name == edit.name for name, edit in EDITS.items())


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_repeats_and_leaves_its_source(name: str) -> None:
    for seed, (width, height) in enumerate([(128, 90), (49, 48), (64, 130)]):
        source = pixels(seed, width, height)
        edited = EDITS[name](source, OTHERS, seed=[seed])
        assert edited.dtype == np.uint8
        assert edited.ndim == 3
        assert edited.shape[2] == 3
        assert min(edited.shape[:2]) >= 16
        assert edited.flags.c_contiguous
        assert seed or edited.shape != source.shape or not np.array_equal(edited, source)
        np.testing.assert_array_equal(EDITS[name](source, OTHERS[:], seed=[seed]), edited)


@pytest.mark.parametrize("name", ["crop_40", "noise", "inset_0.4", "caption", "elastic", "strong", "perspective"])
def test_another_seed_gives_another_outcome(name: str) -> None:
    source = pixels(0)
    outcomes = {EDITS[name](source, OTHERS, seed=[seed]).tobytes() for seed in range(8)}
    assert len(outcomes) > 1


def test_without_another_picture_there_is_no_edit() -> None:
    with pytest.raises(ConfigError, match="at least one other picture"):
        EDITS["blend"](pixels(0), [])


def test_parameters_say_what_happens() -> None:
    source = pixels(0, 200, 100)
    for name, area in (("crop_80", 0.8), ("crop_60", 0.6), ("crop_40", 0.4)):
        h, w = EDITS[name](source, OTHERS).shape[:2]
        assert h * w / 20_000 == pytest.approx(area, abs=0.02)
        assert w / h == pytest.approx(2, abs=0.05)
    np.testing.assert_array_equal(EDITS["rotate_180"](source, OTHERS), source[::-1, ::-1])
    np.testing.assert_array_equal(EDITS["flip_horizontal"](source, OTHERS), source[:, ::-1])
    assert EDITS["rotate_90"](source, OTHERS).shape == (200, 100, 3)
    assert len(np.unique(EDITS["posterise"](source, OTHERS))) <= 4
    grey = EDITS["grey"](source, OTHERS)
    assert (grey[..., 0] == grey[..., 1]).all()


def test_an_inset_holds_the_picture() -> None:
    source, other = np.full((80, 100, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)
    for name, scale in (("inset_0.6", 0.6), ("inset_0.4", 0.4)):
        assert EDITS[name](source, [other]).mean() / 255 == pytest.approx(scale**2, abs=0.01)
    assert EDITS["collage"](source, [other]).mean() / 255 == pytest.approx(0.25, abs=0.04)  # and gaps


def modules_of(package: ModuleType) -> list[ModuleType]:
    names = [package.__name__, *(f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__))]
    return [importlib.import_module(name) for name in names]


def ours(value: Any) -> bool:
    """A function, class or module of this project, and not the vocabulary of pixels and errors that all share."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    return isinstance(value, FunctionType | type | ModuleType) and str(home).startswith(("guard.evaluation", "guard.t"))


def test_training_and_evaluation_share_no_function_and_no_module() -> None:
    sides = [
        {id(value): value for module in modules_of(package) for value in vars(module).values() if ours(value)}
        for package in (guard.evaluation.edits, guard.training.edits)
    ]
    assert len(sides[0]) > 20
    assert len(sides[1]) > 5
    assert not [sides[0][key] for key in sides[0].keys() & sides[1].keys()]
    codes = [
        {(f.__code__.co_code, repr(f.__code__.co_consts), f.__code__.co_names)
         for f in side.values() if isinstance(f, FunctionType)}
        for side in sides
    ]  # fmt: skip
    assert not codes[0] & codes[1], "a function was copied from one to the other"


@pytest.mark.parametrize(("package", "foreign"), [(guard.evaluation.edits, "training"),
                                                  (guard.training.edits, "evaluation")])  # fmt: skip
def test_neither_imports_the_other(package: ModuleType, foreign: str) -> None:
    for module in modules_of(package):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith(f"guard.{foreign}") for name in names), module.__name__


def test_the_page_lists_every_edit_with_its_parameters() -> None:
    assert edits_table() in (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
