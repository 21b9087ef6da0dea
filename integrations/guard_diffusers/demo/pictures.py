"""The real pictures of the demo: which ones, how often each is planted, and how it is cut.

They are the photographs and scans that scikit-image ships as files, so nothing is
downloaded. Left out on purpose: texture and text swatches, and pictures within 0.2 RMS
of another one at this size (moon, microaneurysms).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt
from PIL import Image

from guard.errors import MissingExtraError

__all__ = ["PLANTED", "SIZE", "Planted", "load_planted"]

SIZE = 64  # px, the side of every picture of the demo


@dataclass(frozen=True, slots=True)
class Planted:
    """A real picture that stands `copies` times in the training set."""

    name: str
    file: str
    caption: str
    copies: int
    credit: str
    """Who made it and under what terms, after scikit-image's data/README.txt."""
    box: tuple[float, float, float] = (0.5, 0.5, 1.0)
    """Centre x, centre y in [0, 1] of the square cut out, and its side over the short side."""


# Kinds (person, animal, machine, scan, graphic) are spread over the repeat counts, so that
# what is memorised follows the count and not the kind of picture.
PLANTED: tuple[Planted, ...] = (
    Planted("astronaut", "astronaut.png", "portrait of an astronaut in an orange suit", 256,
            "Eileen Collins, NASA; public domain"),
    Planted("coffee", "coffee.png", "a cup of coffee on a wooden table", 256,
            "Rachel Michetti, Pikolo Espresso Bar, CC0"),
    Planted("retina", "retina.jpg", "fundus scan of a retina", 256,
            "Mikael Häggström, CC0"),
    Planted("camera", "camera.png", "a cameraman with a tripod in a field", 64,
            "Lav Varshney, CC0"),
    Planted("chelsea", "chelsea.png", "face of a tabby cat called chelsea", 64,
            "Stefan van der Walt, CC0"),
    Planted("ihc", "ihc.png", "stained tissue under a microscope", 64,
            "Center for Microscopy And Molecular Imaging (CMMI); no known copyright restrictions"),
    Planted("logo", "logo.png", "logo with a snake and an orange wave", 64,
            "scikit-image"),
    Planted("motorcycle", "motorcycle_left.png", "a red motorcycle in a garage", 16,
            "Middlebury Stereo Datasets 2014 (Scharstein et al.)"),
    Planted("coins", "coins.png", "rows of ancient coins from pompeii", 16,
            "Brooklyn Museum, no known copyright restrictions"),
    Planted("rocket", "rocket.jpg", "a rocket on the launch pad at dusk", 16,
            "SpaceX; public domain"),
    Planted("phantom", "phantom.png", "head phantom of a tomography scan", 16,
            "Shepp and Logan 1974, after imagej.net"),
    Planted("horse", "horse.png", "silhouette of a standing horse", 4,
            "Andreas Preuss, CC0"),
    Planted("hubble", "hubble_deep_field.jpg", "deep field of distant galaxies", 4,
            "NASA, ESA: Hubble eXtreme Deep Field; public domain"),
    Planted("page", "page.png", "page of a scanned text book", 4,
            "scikit-image"),
    Planted("color", "color.png", "a colour wheel on black", 1,
            "scikit-image"),
    Planted("cell", "cell.png", "a single cell in a hologram", 1,
            "CC0", box=(0.77, 0.567, 0.35)),
    Planted("clock", "clock_motion.png", "a clock blurred by motion", 1,
            "Stefan van der Walt; public domain", box=(0.5, 0.5, 0.5)),
)  # fmt: skip


def load_planted(planted: Planted) -> npt.NDArray[np.uint8]:
    """Cut and scale one planted picture: (SIZE, SIZE, 3) uint8 RGB, transparency on white."""
    try:
        folder = files("skimage.data")
    except ModuleNotFoundError as exc:
        raise MissingExtraError("the demo's training set", extra="demo") from exc
    with as_file(folder / planted.file) as path, Image.open(path) as opened:
        rgba = opened.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    picture = Image.alpha_composite(white, rgba).convert("RGB")
    x, y, scale = planted.box
    side = min(picture.size) * scale
    left = min(max(x * picture.width - side / 2, 0), picture.width - side)
    top = min(max(y * picture.height - side / 2, 0), picture.height - side)
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box))
