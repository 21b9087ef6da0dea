"""Distributions that hold the same module and overwrite each other. Knows names; imports neither."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["both_installed"]


def both_installed(cpu: str, gpu: str) -> str:
    """A sentence that says so if both are installed, else ""."""
    try:
        distribution(cpu), distribution(gpu)
    except PackageNotFoundError:
        return ""
    return f"{cpu} and {gpu} are both installed and hold the same module: uninstall both, then install {gpu} alone"
