"""What `import guard` adds to importing numpy, pydantic and prometheus_client: whole processes, in turn.

python tests/benchmarks/import_time.py [--repeats 15] [--json OUT]
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import Any

from _report import finish, options_parser, row

BASE = "import numpy, pydantic, prometheus_client"
MODEL = "from pydantic import BaseModel, Field; M = type('M', (BaseModel,), {'__annotations__': {'x': int}})"
BAR_MS = 50.0


def seconds(code: str) -> float:
    """Time inside a fresh interpreter, from its first to its last statement."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def run(repeats: int) -> list[dict[str, Any]]:
    pairs = [(seconds(BASE), seconds(f"{BASE}; import guard")) for _ in range(repeats + 1)][1:]
    added = 1000 * median(with_guard - base for base, with_guard in pairs)
    used = [(seconds(f"{BASE}; {MODEL}"), seconds(f"{BASE}; {MODEL}; from guard import Guard")) for _ in range(repeats)]
    guard_class = 1000 * median(with_guard - base for base, with_guard in used)
    return [
        row("numpy, pydantic, prometheus_client", 1000 * median(b for b, _ in pairs), "ms"),
        row("import guard adds", added, "ms", at_most=BAR_MS),
        row("from guard import Guard adds, beside one pydantic model", guard_class, "ms"),
    ]


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    repeats = 3 if options.quick else options.repeats
    finish("import_time", run(repeats), options.json, repeats=repeats)


if __name__ == "__main__":
    main()
