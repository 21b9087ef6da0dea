"""Evidence as a picture: query, reference, both laid on one another, and the copied area. Decides nothing; no OpenCV.

One strip a pair; `memguard check --explain` and the contact sheet show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from guard.pixels import RGBArray
from guard.types import Evidence, EvidenceKind, Mask

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["aligned", "evidence_strip", "marked", "overlay", "sheet", "summary"]

PANEL = 240  # px, longest side of a picture in the strip
GAP = 10
TEXT = 46  # px above the panels, for two lines
OUTLINE = (230, 30, 60)
COLOURS = {
    EvidenceKind.NEAR_IDENTICAL: "#c0392b",
    EvidenceKind.EDITED: "#c0392b",
    EvidenceKind.PARTIAL: "#b7791f",
    EvidenceKind.SAME_TEMPLATE: "#2c5f8a",
    EvidenceKind.NONE: "#6b7280",
}


def summary(evidence: Evidence) -> str:
    """One line of numbers, as the verdict's reasons and the strip show them."""
    words = [evidence.kind.value.replace("_", " ")]
    if evidence.transform is None:
        return f"{words[0]}: nothing could be aligned"
    if evidence.mirrored:
        words.append("mirrored")
    l2 = "" if evidence.tiled_l2 is None else f", tiled L2 {evidence.tiled_l2:.3f}"
    inliers = "" if evidence.keypoints is None and not evidence.inliers else f"{evidence.inliers} inliers, "
    return (
        f"{', '.join(words)}: agreement {evidence.agreement:.2f}, {inliers}shows "
        f"{evidence.copied_area_reference:.0%} of the reference on {evidence.copied_area_query:.0%} of the picture{l2}"
    )


def evidence_strip(query: RGBArray, reference: RGBArray, evidence: Evidence, *, title: str = "") -> Image:
    """Draw the four panels side by side, with a title and the numbers above.

    query, reference: (h, w, 3) uint8 RGB of any size. The overlay has the query in red and the aligned reference in
    cyan, so that what agrees is grey. Without a transform, the last two panels show the query alone.
    """
    from PIL import Image as PILImage
    from PIL import ImageDraw, ImageFont

    left, right = _fit(query), _fit(reference)
    panels = (
        ("query", left),
        ("reference", right),
        ("aligned: red | cyan", overlay(left, right, evidence)),
        ("copied area", marked(left, evidence.mask)),
    )
    small, font = ImageFont.load_default(12), ImageFont.load_default(15)
    strip = PILImage.new("RGB", (len(panels) * (PANEL + GAP) + GAP, TEXT + PANEL + 26), "white")
    draw = ImageDraw.Draw(strip)
    width = strip.width - 2 * GAP
    draw.text((GAP, 6), _clip(draw, title, font, width), font=font, fill="#222222")
    draw.text((GAP, 26), _clip(draw, summary(evidence), small, width), font=small, fill=COLOURS[evidence.kind])
    for i, (name, panel) in enumerate(panels):
        x = GAP + i * (PANEL + GAP)
        strip.paste(panel, (x + (PANEL - panel.width) // 2, TEXT + (PANEL - panel.height) // 2))
        draw.text((x, TEXT + PANEL + 6), name, font=small, fill="#666666")
    return strip


def sheet(strips: Sequence[Image]) -> Image:
    """Strips one below the other; at least one."""
    from PIL import Image as PILImage

    page = PILImage.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    y = 0
    for strip in strips:
        page.paste(strip, (0, y))
        y += strip.height
    return page


def _fit(picture: RGBArray) -> Image:
    from PIL import Image as PILImage

    scale = PANEL / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return PILImage.fromarray(np.ascontiguousarray(picture)).resize(size, PILImage.Resampling.BICUBIC)


def overlay(query: Image, reference: Image, evidence: Evidence) -> Image:
    """Query in the red channel, aligned reference in the other two; outside the reference, the query in grey.

    Of the query's size; the query itself if nothing was aligned.
    """
    from PIL import Image as PILImage

    drawn = aligned(reference, query.size, evidence)
    if drawn is None:
        return query
    own = query.convert("L")
    other = PILImage.composite(drawn.convert("L"), own, drawn.getchannel("A"))
    return PILImage.merge("RGB", (own, other, other))


def aligned(reference: Image, size: tuple[int, int], evidence: Evidence) -> Image | None:
    """The reference as it lies in a query of this size, RGBA, transparent beside it; None if nothing was aligned."""
    from PIL import Image as PILImage

    if evidence.transform is None:
        return None
    a, b, c, d, e, f = evidence.transform
    linear = np.array([[a, b], [d, e]])
    if abs(np.linalg.det(linear)) < 1e-6:
        return None
    back = np.linalg.inv(linear)
    shift = -back @ [c, f]
    r, q = np.array(reference.size, np.float64), np.array(size, np.float64)
    matrix = back * r[:, None] / q  # Pillow asks for the way from the target's px to the source's
    numbers = (matrix[0, 0], matrix[0, 1], shift[0] * r[0], matrix[1, 0], matrix[1, 1], shift[1] * r[1])
    method, how = PILImage.Transform.AFFINE, PILImage.Resampling.BILINEAR
    drawn = reference.convert("RGB").transform(size, method, numbers, resample=how)
    drawn.putalpha(PILImage.new("L", reference.size, 255).transform(size, method, numbers))
    return drawn


def marked(query: Image, mask: Mask | None) -> Image:
    """The query, paler where nothing was copied, with a line around what was; as it is without a mask."""
    from PIL import Image as PILImage
    from PIL import ImageDraw

    if mask is None:
        return query
    cells = mask.cells()
    shade = PILImage.fromarray(np.where(cells, 255, 96).astype(np.uint8)).resize(
        query.size, PILImage.Resampling.NEAREST
    )
    marked = PILImage.composite(query, PILImage.new("RGB", query.size, "white"), shade)
    _outline(ImageDraw.Draw(marked), cells, query.size)
    return marked


def _outline(draw: ImageDraw, cells: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], size: tuple[int, int]) -> None:
    """A line along every edge between a copied cell and one that is not, and along the picture's border."""
    padded = np.pad(cells, 1)
    x = np.arange(cells.shape[1] + 1) * (size[0] - 1) / cells.shape[1]
    y = np.arange(cells.shape[0] + 1) * (size[1] - 1) / cells.shape[0]
    for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        draw.line((x[column], y[row], x[column], y[row + 1]), OUTLINE, 2)
    for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        draw.line((x[column], y[row], x[column + 1], y[row]), OUTLINE, 2)


def _clip(draw: ImageDraw, text: str, font: object, width: int) -> str:
    """The text, its end cut off where it is wider than the strip."""
    while text and draw.textlength(text, font=font) > width:  # type: ignore[arg-type]
        text = text[:-2] + "…"
    return text
