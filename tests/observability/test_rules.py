"""Rules of Prometheus: promtool's verdict on each, and what no promtool checks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.observability.code import registry
from tests.observability.rules import FILES, TESTS, Rule, known_labels, read
from tests.support.promql import UnknownNameError, closed_values, labels_of, misspelt_values

RULES = read()
ALERTS = [rule for rule in RULES if rule.alert]
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
LONG = {"budget", "budget_slow", "flag_rate", "flag_rate_zero", "provider"}  # histories of days: seconds of work each
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)"
)


@needs_promtool
def test_promtool_reads_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", *map(str, FILES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.slow if p.name.split(".")[0] in LONG else (), id=p.name.split(".")[0])
        for p in TESTS
    ],
)
def test_promtool_passes(path: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    fires, silent = set(), set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test["alert_rule_test"]:
                for fired in case.get("exp_alerts", []):
                    fires.add(case["alertname"] + fired["exp_labels"].get("window", ""))
                if not case.get("exp_alerts"):
                    silent.add(case["alertname"])
    assert fires == {alert.name for alert in ALERTS}
    assert silent == {alert.alert for alert in ALERTS}


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.name)
def test_tests_evaluate_what_is_recorded_first(path: Path) -> None:
    """promtool evaluates groups that are not named before those that are."""
    order = yaml.safe_load(path.read_text(encoding="utf-8"))["group_eval_order"]
    assert order == list(dict.fromkeys(rule.group for rule in RULES))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_name_what_the_code_defines(rule: Rule) -> None:
    labels = labels_of(rule.expr, known_labels()) | set(rule.labels)
    assert misspelt_values(rule.expr, closed_values(registry())) == []
    text = " ".join(rule.annotations.values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_alerts_say_how_urgent_they_are_and_what_to_do(alert: Rule) -> None:
    assert alert.labels["severity"] in ("critical", "warning")
    assert alert.annotations["runbook"] == f"docs/runbook.md#{alert.alert.lower()}"
    assert alert.annotations["summary"]
    assert alert.annotations["description"].endswith(".")


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    sections = re.split(r"^### (Memguard\w+)$", text, flags=re.MULTILINE)[1:]
    bodies = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(bodies) == list(dict.fromkeys(alert.alert for alert in ALERTS))
    for name, body in bodies.items():
        for part in ("**Means.**", "**Look at.**", "**Do.**"):
            assert part in body, f"{name} lacks {part}"


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("memguard_image_total", "no metric"),
        ('rate(memguard_images_total{verdict="allow"}[5m])', "no label verdict"),
        ("sum by (piepline) (memguard_images_total)", "no label piepline"),
        ("sum by (job) (memguard_images_total) / sum by (pipeline) (memguard_images_total)", "never matches"),
        ("sum by (job) (memguard_images_total) / on (pipeline) memguard_would_block_total", "no label pipeline"),
        ("histogram_quantile(0.9, sum by (job) (rate(memguard_top1_similarity_bucket[5m])))", "no label le"),
    ],
)
def test_the_check_of_names_finds_what_prometheus_would_answer_with_silence(expr: str, complaint: str) -> None:
    with pytest.raises(UnknownNameError, match=complaint):
        labels_of(expr, known_labels())


def test_the_check_of_values_finds_a_word_that_is_never_a_label() -> None:
    expr = 'rate(memguard_failures_total{outcome="opened", stage=~"embed|serach"}[5m])'
    assert misspelt_values(expr, closed_values(registry())) == ['outcome="opened"', 'stage="serach"']
