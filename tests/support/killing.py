"""A process is killed, and all that it said is read."""

from __future__ import annotations

import signal
import subprocess

__all__ = ["killed"]


def killed(process: subprocess.Popen[str]) -> tuple[str, str]:
    """(what it wrote to standard output beyond the lines that were read, what it wrote to standard error).

    `communicate()` would lose what `readline()` had buffered: lines that a quick process wrote before it was killed.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.send_signal(signal.SIGKILL)
        return process.stdout.read(), process.stderr.read()
