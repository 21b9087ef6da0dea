from __future__ import annotations

from pathlib import Path

import pytest

from guard.audit.prompts import Prompt, Repeats, from_classes, from_file, from_repeats
from guard.errors import ConfigError
from guard.types import Record


def record(i: int, caption: str, sha256: str = "", **more: int) -> Record:
    return Record(i, f"{i}.png", sha256 or f"{i:064x}", caption, **more)


TWICE = [record(0, "a cat", "aa"), record(1, "a cat", "aa"), record(2, "a dog"), record(3, "")]


def test_equal_files_count_without_dedup() -> None:
    repeats = Repeats(TWICE)
    assert [repeats.of(text) for text in ("a cat", "a dog", "a bird")] == [2, 1, None]


def test_clusters_of_dedup_count() -> None:
    records = [record(i, f"pose {i % 2}", cluster=0, cluster_size=5) for i in range(5)] + [
        record(9, "alone", cluster=9)
    ]
    repeats = Repeats(records)
    assert (repeats.of("pose 0"), repeats.of("pose 1"), repeats.of("alone")) == (5, 5, 1)
    assert [p.text for p in from_repeats(repeats)] == ["pose 0", "alone"]  # the most frequent caption of each cluster


def test_a_size_that_others_counted_is_kept() -> None:
    """A version from before clusters had names, or one whose other members were removed."""
    assert Repeats([record(0, "a cat", cluster_size=7)]).of("a cat") == 7


def test_the_most_duplicated_first_and_equal_ones_drawn() -> None:
    records = [record(i, f"single {i}") for i in range(50)]
    records += [record(100 + i, "often", "ff") for i in range(9)] + [record(200 + i, "twice", "ee") for i in range(2)]
    chosen = from_repeats(Repeats(records), most=12, seed=1)
    assert [(p.text, p.duplicates) for p in chosen[:2]] == [("often", 9), ("twice", 2)]
    assert {p.duplicates for p in chosen[2:]} == {1}
    assert chosen == from_repeats(Repeats(reversed(records)), most=12, seed=1)
    assert chosen != from_repeats(Repeats(records), most=12, seed=2)
    assert [p.text for p in from_repeats(Repeats(records), least=2)] == ["often", "twice"]


def test_nothing_to_choose_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="memguard dedup"):
        from_repeats(Repeats([record(0, "once")]), least=2)
    with pytest.raises(ConfigError, match="no reference of the index has a caption"):
        from_repeats(Repeats([record(0, "")]))


def test_files(tmp_path: Path) -> None:
    lines, table = tmp_path / "prompts.txt", tmp_path / "prompts.csv"
    lines.write_text("\ufeffa cat\n\n  a dog \na cat\n", encoding="utf-8")
    table.write_text("id,prompt\n1,a cat\n2,a fish\n", encoding="utf-8")
    repeats = Repeats(TWICE)
    assert [(p.text, p.duplicates) for p in from_file(lines, repeats)] == [("a cat", 2), ("a dog", 1)]
    assert [(p.text, p.duplicates) for p in from_file(table, repeats)] == [("a cat", 2), ("a fish", None)]
    assert [p.text for p in from_file(lines, most=1)] == ["a cat"]
    lines.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        from_file(lines)
    lines.write_text("\n")
    with pytest.raises(ConfigError, match="holds no prompt"):
        from_file(lines)
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(tmp_path / "absent.txt")


def test_keys_and_seeds_tell_prompts_apart() -> None:
    prompts = [Prompt(), Prompt("a"), Prompt("b"), Prompt(label=1), Prompt("a", label=1), Prompt(label=11)]
    assert len({p.key for p in prompts}) == len(prompts)
    assert Prompt("a", duplicates=3).key == Prompt("a").key
    seeds = {p.seed(audit, number) for p in prompts for audit in (0, 1) for number in range(50)}
    assert len(seeds) == len(prompts) * 100
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_classes() -> None:
    assert [(p.label, p.name) for p in from_classes((3, 5))] == [(3, "class 3"), (5, "class 5")]
    assert [(p.text, p.label, p.name) for p in from_classes(())] == [("", None, "(no prompt)")]
