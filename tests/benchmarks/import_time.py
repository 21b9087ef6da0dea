"""What `import guard` adds to importing numpy, pydantic and prometheus_client: whole processes, in turn.

    python tests/benchmarks/import_time.py [--repeats 15] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

BASE = "import numpy, pydantic, prometheus_client"
MODEL = "from pydantic import BaseModel, Field; M = type('M', (BaseModel,), {'__annotations__': {'x': int}})"
BAR_MS = 50.0


def seconds(code: str) -> float:
    """Time inside a fresh interpreter, from its first to its last statement."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def run(repeats: int) -> dict[str, Any]:
    started = perf_counter()
    pairs = [(seconds(BASE), seconds(f"{BASE}; import guard")) for _ in range(repeats + 1)][1:]
    added = 1000 * median(with_guard - base for base, with_guard in pairs)
    used = [(seconds(f"{BASE}; {MODEL}"), seconds(f"{BASE}; {MODEL}; from guard import Guard")) for _ in range(repeats)]
    guard_class = 1000 * median(with_guard - base for base, with_guard in used)
    rows = [
        {"what": "numpy, pydantic, prometheus_client", "value": 1000 * median(b for b, _ in pairs), "unit": "ms"},
        {"what": "import guard adds", "value": added, "unit": "ms", "bar": f"< {BAR_MS:g}", "met": added < BAR_MS},
        {"what": "from guard import Guard adds, beside one pydantic model", "value": guard_class, "unit": "ms"},
    ]
    return {"benchmark": "import_time", "repeats": repeats, "seconds": perf_counter() - started, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.repeats)
    for row in result["rows"]:
        print(f"{row['what']:<58} {row['value']:8.2f} {row['unit']}  {row.get('bar', '')}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
