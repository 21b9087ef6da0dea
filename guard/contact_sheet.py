"""A contact sheet: generated picture, nearest reference, verdict; as one HTML file and one PNG. Decides nothing.

The HTML is self-contained (pictures inside, no script, no other host) and every text in it is escaped.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guard.types import Decision, Evidence, Verdict
from guard.verification.picture import marked, overlay, summary

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Entry", "write_html", "write_png"]

CELL = 192  # px, the longer side of a picture on the sheet
COLOURS = {Decision.ALLOW: "#2e7d4f", Decision.FLAG: "#b7791f", Decision.BLOCK: "#c0392b", None: "#6b7280"}


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One row of the sheet."""

    title: str
    generated: Image
    reference: Image | None
    verdict: Verdict
    note: str = ""
    headline: str = ""
    """Instead of decision and similarity."""


def write_html(entries: Sequence[Entry], path: Path, *, title: str) -> Path:
    """Write the sheet as one HTML file; returns its path."""
    cards = "\n".join(_card(entry) for entry in entries)
    path.write_text(_PAGE.format(title=html.escape(title), cards=cards), encoding="utf-8")
    return path


def write_png(entries: Sequence[Entry], path: Path, *, columns: int = 3) -> Path:
    """Draw the sheet as a PNG, several entries a line; returns its path."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    width, height, gap = 2 * CELL + 10, CELL + 74, 26
    columns = max(1, min(columns, len(entries)))
    lines = -(-len(entries) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, lines * (height + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, entry in enumerate(entries):
        x, y = gap + (i % columns) * (width + gap), gap + (i // columns) * (height + gap)
        evidence = _evidence(entry)
        sheet.paste(
            _fit(marked(entry.generated.convert("RGB"), evidence.mask) if evidence else entry.generated), (x, y)
        )
        if entry.reference is not None:
            sheet.paste(_fit(entry.reference), (x + CELL + 10, y))
        colour = COLOURS[entry.verdict.decision]
        draw.rectangle((x - 4, y - 4, x + width + 3, y + height - 4), outline=colour, width=2)
        draw.text((x, y + CELL + 8), entry.headline or _headline(entry.verdict), font=font, fill=colour)
        draw.text((x, y + CELL + 31), _clip(entry.title, 60), font=small, fill="#222")
        reference = entry.verdict.nearest.record.uri if entry.verdict.nearest else "no reference"
        below = summary(evidence) if evidence else f"generated | {reference}"
        draw.text((x, y + CELL + 48), _clip(below, 60), font=small, fill="#666")
    sheet.save(path, "PNG")
    return path


def _evidence(entry: Entry) -> Evidence | None:
    """That of the nearest reference, whose picture stands beside the generated one."""
    nearest = entry.verdict.nearest
    evidence = nearest.evidence if nearest else None
    return evidence if evidence and evidence.transform and entry.reference is not None else None


def _headline(verdict: Verdict) -> str:
    word = verdict.decision.value if verdict.decision else verdict.status.value
    nearest = verdict.nearest
    if nearest is None:
        return word.upper()
    bits = "" if nearest.bits is None else f", PDQ {nearest.bits} bits"
    return f"{word.upper()}   similarity {nearest.similarity:.3f}{bits}"


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _fit(image: Image) -> Image:
    """Scale to CELL x CELL, keeping the ratio, on light grey."""
    from PIL import Image as PILImage

    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.convert("RGB").resize(
        size, PILImage.Resampling.NEAREST if scale >= 2 else PILImage.Resampling.LANCZOS
    )
    cell = PILImage.new("RGB", (CELL, CELL), "#e5e7eb")
    cell.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return cell


def _data_uri(image: Image) -> str:
    buffer = io.BytesIO()
    _fit(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _card(entry: Entry) -> str:
    def figure(image: Image | None, caption: str) -> str:
        picture = (
            f'<img src="{_data_uri(image)}" alt="{html.escape(caption)}" width="{CELL}" height="{CELL}">'
            if image is not None
            else '<div class="none">no reference</div>'
        )
        return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"

    nearest = entry.verdict.nearest
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in entry.verdict.reasons)
    evidence, compared = _evidence(entry), ""
    if evidence and entry.reference is not None:
        aligned = overlay(entry.generated.convert("RGB"), entry.reference.convert("RGB"), evidence)
        copied = marked(entry.generated.convert("RGB"), evidence.mask)
        compared = (
            f'<div class="pair">{figure(copied, "copied area")}{figure(aligned, "aligned: red | cyan")}</div>'
            f"<p>{html.escape(summary(evidence))}</p>"
        )
    headline = html.escape(entry.headline or _headline(entry.verdict))
    note = f"<p>{html.escape(entry.note)}</p>" if entry.note else ""
    return (
        f'<article style="border-color:{COLOURS[entry.verdict.decision]}">'
        f'<h2 style="color:{COLOURS[entry.verdict.decision]}">{headline}</h2>'
        f"<p><strong>{html.escape(entry.title)}</strong></p>"
        f'<div class="pair">{figure(entry.generated, "generated")}'
        f"{figure(entry.reference, nearest.record.uri if nearest else 'none')}</div>"
        f"{compared}<ul>{reasons}</ul>{note}</article>"
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(430px, 1fr)); gap: 1.25rem; }}
article {{ border: 2px solid; border-radius: 8px; padding: .75rem 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.05rem; margin: 0; }} p {{ margin: .3rem 0; }}
.pair {{ display: flex; gap: 10px; flex-wrap: wrap; }} figure {{ margin: 0; max-width: 192px; }}
img, .none {{ width: 192px; height: 192px; image-rendering: auto; }}
.none {{ display: grid; place-items: center; background: #8883; }}
figcaption {{ font-size: .8rem; opacity: .75; overflow-wrap: anywhere; }}
ul {{ margin: .4rem 0; padding-left: 1.1rem; font-size: .9rem; }}
@media (max-width: 480px) {{ main {{ grid-template-columns: 1fr; }} body {{ margin: .75rem; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<main>
{cards}
</main>
</body>
</html>
"""
