"""How every benchmark prints and writes its rows, so that `memguard bench` can read them all."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["finish", "options_parser", "row"]


def options_parser(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: seconds instead of minutes")
    return parser


def row(
    what: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """One figure, with the bar that it is held to, if there is one."""
    out: dict[str, Any] = {"what": what, "value": value, "unit": unit}
    if at_most is not None:
        out |= {"bar": f"<= {at_most:g}", "met": value <= at_most}
    if at_least is not None:
        out |= {"bar": f">= {at_least:g}", "met": value >= at_least}
    return out


def finish(name: str, rows: list[dict[str, Any]], json_file: Path | None, **details: Any) -> None:
    for r in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[r.get("met")]
        print(f"{r['what']:<62} {r['value']:10.3f} {r['unit']:<9} {r.get('bar', ''):<8} {verdict}".rstrip())
    if json_file is not None:
        json_file.write_text(
            json.dumps({"benchmark": name, **details, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
