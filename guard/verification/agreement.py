"""Two pictures and a transform -> where their structure agrees, and how far their pixels lie apart.

Knows no keypoints and no kinds. The reference is drawn into the query's frame, over the area where both are seen;
what is left of the misfit (a lens, a wave, perspective) is taken up by a short, smooth flow. Structure is compared in
windows whose mean and contrast are taken out, so that a change of tone does not count; where neither side has any
structure, colours are compared after the one linear change of colour that fits the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.types import Mask
from guard.verification.colours import same_colour
from guard.verification.features import Floats, Prepared
from guard.verification.opencv import opencv

__all__ = ["TILES", "Comparison", "compare", "structure_cells", "tiled_l2"]

CANVAS_PX = 144  # longest side of the area that is compared
LEAST_PX = 12  # shorter sides hold no window
WINDOW_PX = 9
SOFTEN_PX = 0.8  # standard deviation of the blur of both sides: JPEG blocks and grain are no structure
COARSE_PX = 2.0  # the same for what a redrawing keeps
COARSE_FROM, COARSE_DETAIL = 0.45, 0.6  # agreement and detail between which the coarse look can matter
FLOW_SHARE = 0.045  # of the canvas: a longer way is another place, not a misfit
FLOW_PX = 96  # side of what the flow sees
FLOW_SMOOTH = 0.05  # of its side: standard deviation
FLOW_FROM, FLOW_UNTIL = 0.25, 0.93  # agreement before the flow: below there is nothing to mend, above no need
NOISE_LEVELS = 1.5  # of 255: contrast below is noise
TEXTURED = 0.12  # of the overlap's own contrast: windows with more have structure
FULL_CONTRAST = 1.0  # of the overlap's own: stronger edges weigh no more, or outlines alone would decide
OWN_CONTRAST = 0.25  # the same where the reference's structure is counted: a photograph on a page, as its headline
FAINT_LEVELS = 2.5  # of 255: windows with more on either side have detail, if not structure
FLAT_LEVELS = 3.0  # of 255: windows with less on both sides have none
STEADY = 3.0  # how much stronger or fainter than in most windows the reference may be drawn: a blend, noise, a cast
EVERY_PX = 3  # windows that are looked at for that: those between lie mostly within them
AGREES = 0.5  # correlation of a window from which it counts as copied
COLOURS_FROM = 0.3  # agreement: below it is no copy, whatever the colours are
GRID = 48  # cells along the longer side of a mask
TILES = 4  # along each side; Carlini et al. 2023 (arXiv:2301.13188) compare 16 tiles


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What a transform shows. Shares lie in [0, 1]."""

    agreement: float
    """Mean correlation of the windows with structure, negative ones as 0; each weighs as much as its contrast."""
    agreeing: float
    """Share of the reference's own structure that the query has too; what only lies on the query does not count."""
    structure: float
    """Windows with structure on either side, in number: below some ten, agreement means little."""
    overlap_query: float
    """Share of the query in which the whole reference would be seen."""
    overlap_reference: float
    copied_query: float
    copied_reference: float
    detail: float
    """Mean correlation of all windows with any detail, however faint: outlines that fit weigh little in it."""
    coarse_agreement: float
    """As agreement, and the next two, after a stronger blur: what a redrawing keeps. 0 where it was not needed."""
    coarse_agreeing: float
    coarse_detail: float
    crisp: float
    """Correlation that three quarters of the agreeing windows have: near 1 where nothing but an overlay was changed."""
    steady: float
    """Share of the reference's structure that the query shows in one strength, give or take STEADY, before and after
    the stronger blur: what is laid over a picture leaves it everywhere, other content replaces it. 0 as above."""
    coloured: float
    """Share of the overlap whose colours are the same but for one change of tone of the whole."""
    tiled_l2: float
    mask: Mask


def compare(query: Prepared, reference: Prepared, matrix: npt.NDArray[np.float64]) -> Comparison | None:
    """matrix: (2, 3) px of the reference -> px of the query. None if they overlap in less than LEAST_PX."""
    cv2 = opencv()
    corners = _frame(reference) @ matrix[:, :2].T + matrix[:, 2]
    area, outline = cv2.intersectConvexConvex(corners.astype(np.float32), _frame(query).astype(np.float32))
    if outline is None or area <= 0:
        return None
    outline = outline.reshape(-1, 2)
    left, top = np.floor(outline.min(axis=0) + 0.5).astype(int).clip(0)
    right, bottom = np.minimum(np.ceil(outline.max(axis=0) + 0.5).astype(int), (query.width, query.height))
    if min(right - left, bottom - top) < LEAST_PX:
        return None
    enlarged = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    factor = min(1 / max(1.0, enlarged), CANVAS_PX / max(right - left, bottom - top))
    size = (max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor)))
    if min(size) < LEAST_PX:
        return None
    ours = cv2.resize(query.rgb[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    theirs, seen = _drawn(reference, matrix, (left, top), (right - left, bottom - top), size)
    if np.count_nonzero(seen) < LEAST_PX**2:
        return None
    distance = tiled_l2(ours, theirs, seen)
    found = _structure(ours, theirs, seen)
    if FLOW_FROM <= _agreement(found) < FLOW_UNTIL:
        found = max(found, _structure(ours, _flowed(ours, theirs, seen), seen), key=_agreement)
    coarse: _Windows | None = None
    if _agreement(found) >= COARSE_FROM and (_agreement(found) < FLOW_UNTIL or _detail(found) < COARSE_DETAIL):
        coarse = _structure(ours, found.theirs, seen, COARSE_PX)
    flat = found.flat & seen
    same = (found.correlation >= AGREES) & seen & ~flat
    coloured = np.zeros_like(seen)
    if _agreement(found) >= COLOURS_FROM:
        coloured = same_colour(ours, found.theirs, seen)
        same |= flat & coloured
    mask = _mask(same, query, (left, top, right, bottom))
    copied_query = float(mask.mean())
    reference_area = reference.width * reference.height * enlarged**2
    shown = copied_query * query.width * query.height
    return Comparison(
        agreement=_agreement(found),
        agreeing=_agreeing(found),
        structure=float((~flat & seen).sum()) / WINDOW_PX**2,
        overlap_query=min(1.0, area / (query.width * query.height)),
        overlap_reference=min(1.0, area / reference_area),
        copied_query=copied_query,
        copied_reference=min(1.0, shown / reference_area),
        detail=_detail(found),
        coarse_agreement=_agreement(coarse) if coarse else 0.0,
        coarse_agreeing=_agreeing(coarse) if coarse else 0.0,
        coarse_detail=_detail(coarse) if coarse else 0.0,
        crisp=_crisp(found),
        steady=min(_steady(found), _steady(coarse)) if coarse else 0.0,
        coloured=float(coloured.sum() / seen.sum()),
        tiled_l2=distance,
        mask=Mask.pack(mask),
    )


def structure_cells(picture: Prepared) -> Floats:
    """How much structure of the picture lies in each cell of a mask over it: (height, width)."""
    cv2 = opencv()
    factor = min(1.0, CANVAS_PX / max(picture.width, picture.height))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    drawn = cv2.resize(picture.rgb, size, interpolation=cv2.INTER_AREA)
    own = _structure(drawn, drawn, np.ones(drawn.shape[:2], np.bool_)).own
    cells: Floats = cv2.resize(own, _grid(picture), interpolation=cv2.INTER_AREA)
    return cells


def tiled_l2(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]) -> float:
    """Largest root mean square difference of 4 x 4 tiles, on [0, 1] (Carlini et al. 2023, section 4.2).

    ours, theirs: (h, w, 3). seen: (h, w), the pixels that both have; tiles of which less than half is seen do
    not count, unless none is left.
    """
    square = (((ours.astype(np.float32) - theirs) / 255) ** 2).mean(axis=2) * seen
    h, w = seen.shape
    rows, columns = (np.linspace(0, side, TILES + 1).round().astype(int)[:-1] for side in (h, w))
    sums, counts = (
        np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
        for values in (square, seen.astype(np.float32))
    )
    whole = np.outer(np.diff(rows, append=h), np.diff(columns, append=w))
    counted = counts >= 0.5 * whole
    if not counted.any():
        return float(np.sqrt(square.sum() / max(1.0, seen.sum())))
    return float(np.sqrt((sums[counted] / counts[counted]).max()))


def _frame(picture: Prepared) -> npt.NDArray[np.float64]:
    """Corners of a picture, as px whose integers are the centres of pixels."""
    right, bottom = picture.width - 0.5, picture.height - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def _drawn(
    reference: Prepared,
    matrix: npt.NDArray[np.float64],
    corner: tuple[int, int],
    box: tuple[int, int],
    size: tuple[int, int],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The reference on the canvas, and where it is seen: (h, w, 3), (h, w)."""
    cv2 = opencv()
    scale = np.array([size[0] / box[0], size[1] / box[1]])
    onto = np.empty((2, 3))
    onto[:, :2] = matrix[:, :2] * scale[:, None]
    onto[:, 2] = (matrix[:, 2] - corner + 0.5) * scale - 0.5
    shrink = float(np.sqrt(abs(np.linalg.det(onto[:, :2]))))
    picture = reference.rgb
    if shrink < 0.75:  # averaged first: warpAffine looks at four pixels only
        small = (max(1, round(reference.width * shrink)), max(1, round(reference.height * shrink)))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        back = np.array([reference.width / small[0], reference.height / small[1]])
        onto[:, 2] += onto[:, :2] @ (0.5 * back - 0.5)
        onto[:, :2] *= back
    drawn = cv2.warpAffine(picture, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ones = np.full(picture.shape[:2], 255, np.uint8)
    seen = cv2.warpAffine(ones, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return drawn, seen > 127


def _flowed(
    ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Move the reference along a smooth flow of at most FLOW_SHARE of the canvas (DIS, Kroeger et al. 2016)."""
    cv2 = opencv()
    h, w = seen.shape
    # One fixed size: on narrow pictures OpenCV's DIS reads beyond its pyramid and ends the process.
    a, b = (
        cv2.resize(_levelled(cv2.cvtColor(side, cv2.COLOR_RGB2GRAY), seen), (FLOW_PX, FLOW_PX))
        for side in (ours, theirs)
    )
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(a, b, None)
    flow = cv2.GaussianBlur(flow, (0, 0), FLOW_SMOOTH * FLOW_PX)  # smooth: it must not redraw the reference
    length = np.linalg.norm(flow, axis=2, keepdims=True)
    flow *= np.minimum(1.0, FLOW_SHARE * FLOW_PX / np.maximum(length, 1e-6))
    flow = cv2.resize(flow, (w, h)) * np.array([w / FLOW_PX, h / FLOW_PX], np.float32)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    moved: npt.NDArray[np.uint8] = cv2.remap(
        theirs, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def _levelled(grey: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Mean 128 and spread 48 where both are seen: the flow assumes equal tones."""
    values = grey[seen].astype(np.float32)
    scale = 48 / max(float(values.std()), NOISE_LEVELS)
    levelled: npt.NDArray[np.uint8] = np.clip((grey - values.mean()) * scale + 128, 0, 255).astype(np.uint8)
    return levelled


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """What the window around each pixel of the canvas says; (h, w) each."""

    theirs: npt.NDArray[np.uint8]
    correlation: Floats
    weight: Floats
    own: Floats
    """Weight by the reference's contrast alone."""
    fine: Floats
    """1 where either side has any detail, however faint beside the outlines."""
    flat: npt.NDArray[np.bool_]
    """Neither side has structure."""
    strength: Floats
    """How strongly the reference's structure is drawn in the query; 0 where another is."""
    contrast: Floats
    """Weight by the reference's contrast alone, as far as FULL_CONTRAST."""


def _agreement(windows: _Windows) -> float:
    total = float(windows.weight.sum())
    return float((np.maximum(windows.correlation, 0) * windows.weight).sum()) / total if total > 0 else 0.0


def _agreeing(windows: _Windows) -> float:
    return float(windows.own[windows.correlation >= AGREES].sum() / max(1e-6, float(windows.own.sum())))


def _crisp(windows: _Windows) -> float:
    agreeing = windows.correlation[(windows.correlation >= AGREES) & (windows.own > 0)]
    return float(np.quantile(agreeing, 0.25)) if len(agreeing) else 0.0


def _steady(windows: _Windows) -> float:
    strength, weight = (side[::EVERY_PX, ::EVERY_PX].ravel() for side in (windows.strength, windows.contrast))
    order = np.argsort(strength)
    below = np.cumsum(weight[order])
    if below[-1] <= 0:
        return 0.0
    middle = strength[order[np.searchsorted(below, below[-1] / 2)]]
    like = (strength > middle / STEADY) & (strength < middle * STEADY)
    return float(weight[like].sum() / below[-1])


def _detail(windows: _Windows) -> float:
    return float((np.maximum(windows.correlation, 0) * windows.fine).sum() / max(1.0, float(windows.fine.sum())))


def _structure(
    ours: npt.NDArray[np.uint8],
    theirs: npt.NDArray[np.uint8],
    seen: npt.NDArray[np.bool_],
    soften_px: float = SOFTEN_PX,
) -> _Windows:
    cv2 = opencv()
    inside = seen.astype(np.float32)
    count: Floats = np.maximum(_mean(inside), np.float32(1e-3))

    def windowed(values: Floats) -> Floats:
        return np.asarray(_mean(values * inside) / count, np.float32)

    soft = []
    for side in (ours, theirs):
        grey = cv2.GaussianBlur(cv2.cvtColor(side, cv2.COLOR_RGB2GRAY), (0, 0), soften_px).astype(np.float32)
        soft.append(grey - grey[seen].mean())
    a, b = soft
    mean_a, mean_b = windowed(a), windowed(b)
    spread_a = np.sqrt(np.maximum(windowed(a * a) - mean_a**2, 0))
    spread_b = np.sqrt(np.maximum(windowed(b * b) - mean_b**2, 0))
    covariance = windowed(a * b) - mean_a * mean_b
    correlation = covariance / (spread_a * spread_b + NOISE_LEVELS**2)
    contrast_a, contrast_b = (
        spread / max(float(values[seen].std()), 4 * NOISE_LEVELS) for spread, values in ((spread_a, a), (spread_b, b))
    )
    contrast = np.maximum(contrast_a, contrast_b)
    flat = (contrast < TEXTURED) | (np.maximum(spread_a, spread_b) < FLAT_LEVELS)
    nothing = flat | ~seen
    weight = np.where(nothing, np.float32(0), np.minimum(contrast, FULL_CONTRAST))
    own, full = (
        np.where(nothing, np.float32(0), np.minimum(contrast_b, most)) for most in (OWN_CONTRAST, FULL_CONTRAST)
    )
    strength = covariance / (spread_b**2 + NOISE_LEVELS**2)
    fine = (seen & (np.maximum(spread_a, spread_b) >= FAINT_LEVELS)).astype(np.float32)
    return _Windows(theirs, np.minimum(correlation, 1), weight, own, fine, flat, strength, full)


def _mean(values: Floats) -> Floats:
    cv2 = opencv()
    found: Floats = cv2.boxFilter(values, -1, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_CONSTANT)
    return found


def _grid(picture: Prepared) -> tuple[int, int]:
    """Cells of a mask: (width, height)."""
    cell = max(picture.width, picture.height) / GRID
    return max(1, round(picture.width / cell)), max(1, round(picture.height / cell))


def _mask(same: npt.NDArray[np.bool_], query: Prepared, box: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    """Agreeing canvas pixels -> cells of a grid over the whole query, holes of a cell closed."""
    cv2 = opencv()
    width, height = _grid(query)
    left, top, right, bottom = box
    onto = np.array(
        [
            [width / query.width * (right - left) / same.shape[1], 0, width / query.width * left],
            [0, height / query.height * (bottom - top) / same.shape[0], height / query.height * top],
        ]
    )
    onto[:, 2] += onto[:, :2] @ [0.5, 0.5] - 0.5
    closed = cv2.morphologyEx(same.astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    fine = 4  # drawn finer and averaged, for the same reason as in _drawn
    onto[:, :2] *= fine
    onto[:, 2] = (onto[:, 2] + 0.5) * fine - 0.5
    drawn = cv2.warpAffine(closed, onto, (width * fine, height * fine), flags=cv2.INTER_LINEAR)
    share = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 128)
