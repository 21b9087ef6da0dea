"""How examples/ run the sidecar beside Prometheus and Grafana, as far as that can be checked without containers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from guard.config import load_config
from guard_server.config import load_server_config

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "examples" / "compose"
UNIT = ROOT / "examples" / "systemd" / "memguard.service"
EXPOSURE = 15  # tenths, of 100: what `systemd-analyze security` calls OK ends at 20


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def mounts(service: str) -> dict[str, str]:
    """Path in the container -> what is mounted there."""
    found = {}
    for volume in services()[service].get("volumes", ()):
        source, target = re.fullmatch(r"(\$\{.+?\}|[^:]+):([^:]+)(?::ro)?", volume).groups()  # type: ignore[union-attr]
        found[target] = source
    return found


@pytest.mark.parametrize("service", ["guard", "prometheus", "grafana"])
def test_what_is_mounted_exists_or_is_said_to_be_made(service: str) -> None:
    volumes = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["volumes"]
    guide = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    for source in mounts(service).values():
        if source.startswith("./secrets/"):
            assert Path(source).name in guide
        elif source.startswith("."):
            assert (COMPOSE / source).exists(), source
        else:
            assert source.startswith("${") or source in volumes, source


def test_nothing_listens_beyond_the_machine_and_ports_fit() -> None:
    for name, service in services().items():
        for port in service["ports"]:
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1", name
            assert outside == inside
    server = load_server_config(COMPOSE / "guard.toml")
    assert services()["guard"]["ports"] == [f"127.0.0.1:{server.port}:{server.port}"]
    assert f"EXPOSE {server.port}" in (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    assert f":{server.port}/healthz" in services()["guard"]["healthcheck"]["test"][-1]
    (scrape,) = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"guard:{server.port}"]}]
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_the_settings_are_valid_and_name_what_is_mounted() -> None:
    inside = mounts("guard")
    server, guard = load_server_config(COMPOSE / "guard.toml"), load_config(COMPOSE / "guard.toml")
    assert str(server.index) in inside
    assert str(server.tokens_file) in inside
    assert str(guard.events.path.parent) in inside  # type: ignore[union-attr]
    assert services()["guard"]["command"][2] in inside


def test_the_container_is_stopped_after_requests_were_finished() -> None:
    grace = int(re.match(r"(\d+)s", services()["guard"]["stop_grace_period"])[1])  # type: ignore[index]
    assert grace > load_server_config(COMPOSE / "guard.toml").shutdown_s
    unit = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)[1])  # type: ignore[index]
    assert unit > load_server_config().shutdown_s


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """In a folder that looks like the container's."""
    text = (COMPOSE / "prometheus.yml").read_text(encoding="utf-8")
    for target, source in mounts("prometheus").items():
        if target.startswith("/etc/prometheus/"):
            here = tmp_path / Path(target).name
            here.write_text("secret" if "secrets" in source else (COMPOSE / source).read_text(encoding="utf-8"))
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/", f"{tmp_path}/"))
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout


def test_the_image_is_built_from_what_is_there_and_let_in() -> None:
    text = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    let_in = (COMPOSE / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [name for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in let_in


def test_grafana_finds_the_dashboards() -> None:
    (provider,) = yaml.safe_load(
        (COMPOSE / "grafana/provisioning/dashboards/memguard.yml").read_text(encoding="utf-8")
    )["providers"]
    folder = COMPOSE / mounts("grafana")[provider["options"]["path"]]
    assert sorted(json.loads(path.read_text(encoding="utf-8"))["uid"] for path in folder.glob("*.json")) == [
        "memguard-detail",
        "memguard-overview",
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian's package systemd)")
def test_systemd_accepts_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert command is not None
    here = tmp_path / UNIT.name
    here.write_text(text.replace(command[1], "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(here)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout


def test_the_unit_serves_with_options_that_exist() -> None:
    from guard.cli.reference import commands

    line = re.search(r"^ExecStart=\S+ (\w+) (.+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    known = {name for option in dict(commands())[f"memguard {line[1]}"].params for name in option.opts}
    assert set(re.findall(r"--[\w-]+", line[2])) <= known
    assert set(re.findall(r"--[\w-]+", " ".join(services()["guard"]["command"]))) <= known
