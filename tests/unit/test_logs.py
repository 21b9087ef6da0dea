"""Log lines: which decisions get one, what stands in it, and what does not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard import ConfigError, Guard, GuardConfig
from guard.events import EventLog
from guard.logs import JsonFormatter, log_json
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.waiting import WAIT_S

BROKEN = picture(7).point(lambda level: 240 + level // 20)  # no other picture here is as bright


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a process would write, parsed, while the test goes on."""
    stream = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("guard")
    before = ours.level
    handler = log_json(stream)

    class Lines(list[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter([json.loads(line) for line in stream.getvalue().splitlines()])

    yield Lines()
    root.removeHandler(handler)
    ours.setLevel(before)


def guard(**settings: Any) -> Guard:
    level = round(float(np.asarray(BROKEN).mean()))
    index = MemoryIndex(ToyEmbedder(), {f"private/{seed}.png": picture(seed) for seed in range(4)})
    config = GuardConfig.model_validate({"deadline_s": WAIT_S, "verify": False, **settings})
    return Guard(index, ToyEmbedder(fail_on=(level,)), config=config, name="my.index")


def test_every_block_and_error_has_a_line_and_of_the_rest_none_at_a_share_of_0(lines: list[dict[str, Any]]) -> None:
    guard(log_decisions=0).check([picture(50), picture(1), BROKEN], pipeline="txt2img")
    block, error = lines
    assert (block["level"], block["logger"]) == ("info", "guard.decisions")
    assert block["message"] == "txt2img: block, replaced"
    assert block["match"].pop("similarity") == pytest.approx(1, abs=1e-4)
    assert block["match"] == {
        "reference": 1, "collections": ["training"], "cluster_size": 1, "pdq_bits": None, "evidence": None
    }  # fmt: skip
    assert {name: block[name] for name in ("pipeline", "mode", "status", "decision", "action", "image", "images")} == {
        "pipeline": "txt2img", "mode": "enforce", "status": "success", "decision": "block", "action": "replaced",
        "image": 1, "images": 3,
    }  # fmt: skip
    assert (block["index"], block["index_version"]) == ("my.index", "0001")
    assert error["level"] == "warning"
    assert error["message"] == "txt2img: error, replaced (embed: runtime)"
    assert (error["decision"], error["stage"], error["reason"], error["image"]) == (None, "embed", "runtime", 2)


def test_a_share_of_1_takes_all_and_a_share_between_takes_some(lines: list[dict[str, Any]]) -> None:
    clean = [picture(seed) for seed in range(50, 250)]
    guard(log_decisions=1).check(clean)
    assert [line["decision"] for line in lines] == ["allow"] * len(clean)
    before = len(list(lines))
    guard(log_decisions=0.5).check(clean)
    assert 50 < len(list(lines)) - before < 150  # 7 standard deviations either way


def test_without_the_setting_there_are_no_lines(lines: list[dict[str, Any]]) -> None:
    guard().check([picture(1), BROKEN])
    assert list(lines) == []


def test_skipped_images_count_among_the_rest(lines: list[dict[str, Any]]) -> None:
    unchecked = guard(log_decisions=0)
    unchecked.skip(1, "latent")
    assert list(lines) == []
    guard(log_decisions=1).skip(1, "latent")
    (line,) = lines
    assert (line["message"], line["status"]) == ("default: skipped, released (skipped: latent)", "skipped")


def test_a_line_holds_no_prompt_and_no_file_name(lines: list[dict[str, Any]]) -> None:
    guard(log_decisions=1).check([picture(1), picture(50), BROKEN], prompts="a secret prompt")
    text = json.dumps(list(lines))
    assert len(list(lines)) == 3
    assert "secret" not in text
    assert "private" not in text


def test_a_line_names_the_event_of_the_decision_log(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    logged = guard(log_decisions=1, events={"path": str(tmp_path / "events.sqlite"), "allow_sample": 0})
    logged.check([picture(50), picture(1)])
    assert logged.events is not None
    assert logged.events.close()
    allowed, blocked = lines
    assert "event" not in allowed
    (event,) = EventLog(tmp_path / "events.sqlite").read(limit=5)
    assert event.id == blocked["event"]


def test_the_formatter_keeps_any_line_on_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.ERROR, __file__, 1, "a\n%s", ('"b"',), __import__("sys").exc_info()
        )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == 'a\n"b"'
    assert line["exception"].endswith("ValueError: two\nlines")
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    from guard.config import load_config

    with pytest.raises(ConfigError, match="log_decisions"):
        load_config(log_decisions=share)
