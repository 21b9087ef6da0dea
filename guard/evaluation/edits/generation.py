"""Edits that stand in for a generative model's near-copy: the scene stays, its surface is made anew. Only filters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from guard.evaluation.edits.base import Edit, Floats, Rng, cover, remapped, scaled, smooth_field, to_bytes
from guard.pixels import RGBArray

__all__ = ["GENERATION", "colour_transfer", "elastic", "new_detail"]

Others = Sequence[RGBArray]


def _kuwahara(picture: RGBArray, *, radius: float) -> RGBArray:
    """Each pixel takes the mean of its calmest quadrant (Kuwahara et al. 1976). radius: of the longer side."""
    r = max(1, round(radius * max(picture.shape)))
    values = picture.astype(np.float32)
    square = (values**2).sum(axis=2, keepdims=True)
    stacked = np.concatenate([values, square], axis=2)
    means = _box_mean(np.pad(stacked, ((r, r), (r, r), (0, 0)), mode="edge"), r + 1)  # (h + r, w + r, 4)
    h, w = picture.shape[:2]
    quadrants = np.stack([means[y : y + h, x : x + w] for y in (0, r) for x in (0, r)])
    spread = quadrants[..., 3] - (quadrants[..., :3] ** 2).sum(axis=-1)
    calmest = spread.argmin(axis=0)[None, ..., None]
    return to_bytes(np.take_along_axis(quadrants[..., :3], calmest, axis=0)[0])


def _box_mean(values: Floats, side: int) -> npt.NDArray[np.float64]:
    """Means of all side x side windows: (h, w, c) -> (h - side + 1, w - side + 1, c)."""
    sums = np.pad(values.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0), (0, 0)))
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    mean: npt.NDArray[np.float64] = total / side**2
    return mean


def _strokes(picture: RGBArray, rng: Rng, *, length: float) -> RGBArray:
    """Painted anew: flat strokes of sampled colour, large ones first. length: of the longer side."""
    h, w = picture.shape[:2]
    image = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(length * max(h, w) / 3))
    soft = np.asarray(image)
    draw = ImageDraw.Draw(image)
    slope = smooth_field(rng, h, w, 4) * 2  # strokes near one another run the same way
    for size in (length * max(h, w), length * max(h, w) / 2):
        step = max(2, round(size / 2))
        ys, xs = (a.ravel() for a in np.mgrid[0:h:step, 0:w:step])
        order = rng.permutation(len(ys))
        ys, xs = ys[order], xs[order]
        dy, dx = size / 2 * np.sin(slope[ys, xs]), size / 2 * np.cos(slope[ys, xs])
        colours = to_bytes(soft[ys, xs] + rng.normal(0, 8, (len(ys), 3))).tolist()
        ends = np.stack([xs - dx, ys - dy, xs + dx, ys + dy], axis=1).tolist()
        for line, colour in zip(ends, colours, strict=True):
            draw.line(line, tuple(colour), max(1, round(size / 3)))
    return np.array(image)


def new_detail(picture: RGBArray, others: Others, *, sigma: float) -> RGBArray:
    """What is coarser than sigma stays; the finer detail is that of another picture. sigma: of the longer side."""
    h, w = picture.shape[:2]
    soften = ImageFilter.GaussianBlur(sigma * max(h, w))
    low = np.asarray(Image.fromarray(picture).filter(soften), np.float32)
    strange = cover(others[-1], w, h)
    detail = strange - np.asarray(Image.fromarray(strange).filter(soften), np.float32)
    own = float((picture - low).std())
    return to_bytes(low + detail * (own / max(1.0, float(detail.std()))))


def elastic(picture: RGBArray, rng: Rng, *, shift: float, knots: int) -> RGBArray:
    """A smooth random displacement of about this share of the longer side."""
    h, w = picture.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    reach = np.float32(shift * max(h, w))
    return remapped(picture, x + reach * smooth_field(rng, h, w, knots), y + reach * smooth_field(rng, h, w, knots))


def colour_transfer(picture: RGBArray, others: Others, *, share: float) -> RGBArray:
    """Levels of each channel move this far towards the distribution that they have in another picture."""
    out = np.empty_like(picture)
    for channel in range(3):
        own, wanted = (_distribution(p[..., channel]) for p in (picture, others[0]))
        matched = np.interp(own, wanted, np.arange(256))
        out[..., channel] = to_bytes((1 - share) * np.arange(256) + share * matched)[picture[..., channel]]
    return out


def _distribution(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    counts = np.bincount(plane.ravel(), minlength=256).cumsum() / plane.size
    rising: npt.NDArray[np.float64] = counts + np.arange(256) * 1e-9  # np.interp needs rising values
    return rising


def _latent(picture: RGBArray, rng: Rng, *, kept: int, noise: float) -> RGBArray:
    """As through a latent code: 8 x 8 blocks keep kept x kept coefficients, which are disturbed by noise levels."""
    h, w = picture.shape[:2]
    padded = np.pad(picture, ((0, -h % 8), (0, -w % 8), (0, 0)), mode="edge").astype(np.float32)
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8, 3)
    k, n = np.arange(kept)[:, None], np.arange(8)
    basis = (np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, math.sqrt(1 / 8), 0.5)).astype(np.float32)
    code = np.einsum("ky,ryczd,lz->rkcld", basis, blocks, basis, optimize=True)
    code += noise * 8 / kept * rng.standard_normal(code.shape, np.float32) * (np.arange(kept).sum() > 0)
    back = np.einsum("ky,rkcld,lz->ryczd", basis, code, basis, optimize=True).reshape(padded.shape)
    image = Image.fromarray(to_bytes(back)[:h, :w]).filter(ImageFilter.GaussianBlur(1.2))  # decoders leave no blocks
    return np.array(image.filter(ImageFilter.UnsharpMask(2, 60, 0)))


def _upscaled(picture: RGBArray, *, factor: int) -> RGBArray:
    """Made small and brought back by sharpening steps, as a super-resolution network invents edges."""
    h, w = picture.shape[:2]
    image = Image.fromarray(scaled(picture, max(16, w // factor), max(16, h // factor), Image.Resampling.BOX))
    while image.size != (w, h):
        image = image.resize((min(w, 2 * image.width), min(h, 2 * image.height)), Image.Resampling.LANCZOS)
        image = image.filter(ImageFilter.UnsharpMask(1.5, 80, 0)).filter(ImageFilter.MedianFilter(3))
    return np.array(image)


GENERATION = (
    Edit("painterly", "generation", _kuwahara, {"radius": 0.012}),
    Edit("strokes", "generation", _strokes, {"length": 0.03}),
    Edit("new_detail", "generation", new_detail, {"sigma": 0.012}),
    Edit("elastic", "generation", elastic, {"shift": 0.012, "knots": 7}),
    Edit("colour_transfer", "generation", colour_transfer, {"share": 0.8}),
    Edit("latent", "generation", _latent, {"kept": 2, "noise": 6.0}),
    Edit("upscaled", "generation", _upscaled, {"factor": 6}),
)
