"""Write the dashboards as JSON, for Grafana to load: `python -m grafana.generate`, with the extra observe.

The files lie beside this one and are kept with it, so that whoever runs Grafana needs no Python.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.detail import UID as DETAIL
from grafana.detail import detail
from grafana.overview import UID as OVERVIEW
from grafana.overview import overview

__all__ = ["FOLDER", "documents"]

FOLDER = Path(__file__).parent


def documents() -> dict[Path, str]:
    """Every file and what stands in it."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    written = {}
    for uid, page in ((OVERVIEW, overview()), (DETAIL, detail())):
        built = page.build()
        for number, panel in enumerate(built.panels or (), 1):
            panel.id_val = number
        written[FOLDER / f"{uid}.json"] = encoder.encode(built) + "\n"
    return written


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path)
