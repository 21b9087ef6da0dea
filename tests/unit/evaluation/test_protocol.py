"""Splits, exclusions and figures, against loops that follow the description word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.intervals import Interval
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, evaluate, plan, summary
from guard.evaluation.scores import Embedded, Scores, inner_products, score

SOME = [EDITS[name] for name in ("blur", "grey", "flip_horizontal")]  # two families


def files(*sources_by_group: list[int]) -> list[PictureFile]:
    return [
        PictureFile(Path(f"{g}/{i}.png"), f"group{g}", f"{g}{i:063}", source)
        for g, sources in enumerate(sources_by_group)
        for i, source in enumerate(sources)
    ]


def test_half_of_each_group_are_references_and_a_source_is_never_divided() -> None:
    drawn = plan(files(list(range(21)), [*range(21, 30), 30, 30, 30]), splits=6, seed=3)
    assert len(drawn.pictures) + len(drawn.carriers) == 33
    for split in drawn.is_reference:
        for group in ("group0", "group1"):
            members = [i for i, p in enumerate(drawn.pictures) if p.group == group]
            sources = {drawn.sources[i] for i in members}
            chosen = {drawn.sources[i] for i in members if split[i]}
            assert abs(len(chosen) - len(sources) / 2) <= 0.5
        triplet = [i for i, p in enumerate(drawn.pictures) if p.source == 30]
        assert len({bool(split[i]) for i in triplet}) == 1
    assert len({split.tobytes() for split in drawn.is_reference}) == 6


def test_a_plan_repeats_and_carriers_take_no_part() -> None:
    pictures = files(list(range(40)), [40, 40, 41, 42])
    first, again, other = (plan(pictures, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.is_reference, again.is_reference)
    assert first.carriers == again.carriers
    assert first.carriers != other.carriers or not np.array_equal(first.is_reference, other.is_reference)
    assert not {p.path for p in first.carriers} & {p.path for p in first.pictures}
    assert all(p.source != 40 for p in first.carriers)  # a twin of a carrier would be a copy in every collage


@pytest.mark.parametrize("pictures", [files([]), files([0, 1, 2, 3]), files([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])])
def test_too_few_are_refused(pictures: list[PictureFile]) -> None:
    with pytest.raises(ConfigError, match="too few"):
        plan(pictures)


def test_pooled_is_no_name_for_a_group() -> None:
    named = [PictureFile(Path(f"{i}"), "pooled", str(i), i) for i in range(9)]
    with pytest.raises(ConfigError, match="pooled"):
        plan(named)


def made(seed: int = 0) -> tuple[Plan, Embedded, Scores]:
    """30 pictures of two groups with rough descriptors (many ties), 3 edits, queries of 2 views."""
    rng = np.random.default_rng(seed)
    drawn = plan(files(list(range(20)), [*range(20, 28), 28, 28, 29, 29]), splits=3, seed=seed)
    n = len(drawn.pictures)
    base = rng.integers(-1, 2, (n, 4))
    references = base[:, None].astype(np.float32)
    queries = [
        np.stack([np.stack([base[i] + (v > 0) * rng.integers(-1, 2, 4), rng.integers(-1, 2, 4)]) for v in range(4)])
        for i in range(n)
    ]
    embedded = Embedded(references, [q.astype(np.float32) for q in queries])
    return drawn, embedded, score(inner_products(embedded), drawn.sources, drawn.is_reference)


def similarity(embedded: Embedded, i: int, variant: int, j: int) -> float:
    return max(float(a @ b) for a in embedded.queries[i][variant] for b in embedded.references[j])


def test_scores_against_loops() -> None:
    drawn, embedded, scores = made()
    n = len(drawn.pictures)
    for i in range(n):
        for variant in range(4):
            assert scores.own[0, i, variant] == similarity(embedded, i, variant, i)
            for s, is_reference in enumerate(drawn.is_reference):
                others = [j for j in range(n) if is_reference[j] and drawn.sources[j] != drawn.sources[i]]
                assert scores.best_other[s, i, variant] == max(similarity(embedded, i, variant, j) for j in others)
        assert scores.untouched[0, i].tolist() == [similarity(embedded, i, 0, j) for j in range(n)]


@pytest.mark.parametrize("seed", range(3))
def test_figures_against_loops(seed: int) -> None:
    drawn, _, scores = made(seed)
    results = evaluate(drawn, SOME, scores, resamples=5)
    n, splits = len(drawn.pictures), range(len(drawn.is_reference))
    for group, mask in drawn.groups.items():
        references = [(s, i) for s in splits for i in range(n) if mask[i] and drawn.is_reference[s, i]]
        for variant, edit in enumerate(SOME, start=1):
            figures = results.figures[group][edit.name]
            first = [scores.own[0, i, variant] > scores.best_other[s, i, variant] for s, i in references]
            assert figures.recall_at_1[0] == pytest.approx(np.mean(first))
            for fpr in (0.01, 0.001):
                limit = slow_threshold(drawn, scores, np.ones(n, bool), fpr)
                assert results.thresholds["pooled"][fpr][0] == limit
                found = [scores.own[0, i, variant] > limit for _, i in references]
                assert figures.recall_at_fpr[fpr][0] == pytest.approx(np.mean(found))
                own_limit = slow_threshold(drawn, scores, mask, fpr)
                found = [scores.own[0, i, variant] > own_limit for _, i in references]
                assert figures.recall_at_own_fpr[fpr][0] == pytest.approx(np.mean(found))
        counts = results.counts[group]
        assert counts["queries_an_edit"] == len(references)
        assert counts["negative_queries"] == 4 * (len(splits) * int(mask.sum()) - len(references))


def slow_threshold(drawn: Plan, scores: Scores, mask: np.ndarray, fpr: float) -> float:
    negatives = [
        float(scores.best_other[s, i, v])
        for s, is_reference in enumerate(drawn.is_reference)
        for i in range(len(mask))
        if mask[i] and not is_reference[i]
        for v in range(4)
    ]
    return sorted(negatives, reverse=True)[int(fpr * len(negatives) + 1e-9)]


def test_means_are_over_families_of_means_over_edits() -> None:
    drawn, _, scores = made()
    figures = evaluate(drawn, SOME, scores, resamples=20).figures["group0"]
    assert list(figures) == ["blur", "grey", "flip_horizontal", "family:photometric", "family:geometric", "all_edits"]
    one = {name: f.recall_at_1 for name, f in figures.items()}
    np.testing.assert_allclose(one["family:photometric"], (one["blur"] + one["grey"]) / 2)
    np.testing.assert_allclose(one["all_edits"], (one["family:photometric"] + one["flip_horizontal"]) / 2)


def test_look_alikes_count_pairs_of_different_sources() -> None:
    drawn, _, scores = made()
    results = evaluate(drawn, SOME, scores, resamples=5)
    limit = results.thresholds["group0"][0.01][0]
    members = np.flatnonzero(drawn.groups["group1"])
    pairs = [(i, j) for i in members for j in members if drawn.sources[i] != drawn.sources[j]]
    reach = np.mean([scores.untouched[0, i, j] > limit for i, j in pairs])
    assert results.look_alikes["group1"][0.01][0] == pytest.approx(reach)
    assert results.counts["group1"]["pairs"] == len(pairs) // 2


def test_a_perfect_and_a_blind_entrant() -> None:
    drawn = plan(files(list(range(30))), seed=0)
    n = len(drawn.pictures)
    unit = np.eye(n, dtype=np.float32)
    perfect = Embedded(unit[:, None], [unit[[i] * 4, None] for i in range(n)])
    blind = Embedded(np.ones((n, 1, 2), np.float32), [np.ones((4, 1, 2), np.float32)] * n)
    for embedded, value in ((perfect, 1.0), (blind, 0.0)):
        figures = evaluate(
            drawn, SOME, score(inner_products(embedded), drawn.sources, drawn.is_reference), resamples=10
        ).figures
        every = figures["group0"]["all_edits"]
        assert every.recall_at_1[0] == every.recall_at_fpr[0.001][0] == every.micro_ap[0] == value


def test_summary_holds_its_value() -> None:
    assert summary(np.array([0.5, 0.6, 0.7])) == Interval(0.5, 0.5, pytest.approx(0.6975))
    assert np.isnan(summary(np.array([np.nan, 0.5])).value)
