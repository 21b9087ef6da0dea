"""What `memguard eval descriptors` prints of entrants that are compared with another one. Knows the document's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from guard.cli.console import out

__all__ = ["print_paired"]

FPRS = (("0.01", "at FPR 1 %"), ("0.001", "at FPR 0.1 %"))


def print_paired(document: Mapping[str, Any], names: list[str]) -> None:
    """A table a group: by how many points each of the names differs from its base, on the same queries."""
    compared = {name: document["paired"][name] for name in names if name in document.get("paired", {})}
    if not compared:
        return
    for group in document["protocol"]["groups"]:
        table = Table(f"{group}: recall, all edits", *(title for _, title in FPRS), box=None, pad_edge=False)
        for name, one in compared.items():
            at = one["differences"][group]["all_edits"]["recall_at_fpr"]
            table.add_row(Text(f"{name} minus {one['against']}"), *(_points(at[fpr]) for fpr, _ in FPRS))
        out.print(table)
    for group, called in document.get("identical", {}).items():
        false = called["false"]
        said = f"{group}: PDQ alone calls identical {_share(called['found']['all_edits'])} of the edits; wrongly, "
        said += f"{_share(false['untouched'])} of the untouched and {_share(false['edited'])} of the edited negatives, "
        said += f"and {_share(called['look_alikes'])} of the pairs of strangers"
        out.print(said, soft_wrap=True, markup=False)
    out.print()


def _share(share: Mapping[str, float | None]) -> str:
    """0.12 % [0.00,0.31]: two decimals, since what is wrong is rare."""
    value, low, high = (share[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{100 * value:.2f} % [{100 * low:.2f},{100 * high:.2f}]"


def _points(difference: Mapping[str, float | None]) -> Text:
    """+1.2 [+0.4,+2.1]: percentage points; green or red where the interval leaves out 0."""
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return Text("-")
    style = "green" if low > 0 else "red" if high < 0 else ""
    return Text(f"{100 * value:+.1f} [{100 * low:+.1f},{100 * high:+.1f}]", style)
