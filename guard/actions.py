"""What a withheld image is replaced by, in the form that the host returns. Decides nothing.

The form never changes: a list of n pictures stays one, an array keeps shape and dtype, a tensor
its device. The pipeline's own output is never written to; it is copied only if something is withheld.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.errors import BlockedError, ConfigError
from guard.types import Action, Report, Verdict

if TYPE_CHECKING:
    from guard.config import OnBlock

__all__ = ["NOTICE", "apply", "intended_action", "placeholder"]

NOTICE = "This image was withheld: it is too close to a picture that the model was trained on."
_ACTIONS = {"replace": Action.REPLACED, "blur": Action.BLURRED, "drop": Action.DROPPED, "raise": Action.RAISED}


def intended_action(on_block: OnBlock | Callable[..., Any]) -> Action:
    """The action that an `on_block` setting stands for; a callable replaces."""
    return _ACTIONS[on_block] if isinstance(on_block, str) else Action.REPLACED


def apply(images: Any, report: Report, on_block: OnBlock | Callable[..., Any]) -> Any:
    """Return images with every withheld one replaced as the report says; the same object if there is none.

    images: a list of PIL images (or of lists of frames), an array (n, ..., h, w, 3) or a tensor
    (n, ..., 3, h, w); floating point in [0, 1], or uint8.
    Raises ConfigError for `drop` on an array or tensor, where None has no place; BlockedError, with the
    images that are not withheld, for `raise`.
    """
    withheld = report.withheld
    if not withheld:
        return images
    if any(report[i].action is Action.RAISED for i in withheld):
        raise BlockedError(report, [image for i, image in enumerate(images) if i not in withheld])
    if isinstance(images, list | tuple):
        changed = [
            _withheld_item(image, report[i], on_block) if i in withheld else image for i, image in enumerate(images)
        ]
        return type(images)(changed) if type(images) in (list, tuple) else changed
    if any(report[i].action is Action.DROPPED for i in withheld):
        raise ConfigError(
            "on_block = 'drop' puts None in a list of images; for output_type 'np' or 'pt' use replace or blur"
        )
    out = images.copy() if isinstance(images, np.ndarray) else images.clone()
    for i in withheld:
        out[i] = _withheld_item(images[i], report[i], on_block)
    return out


def _withheld_item(image: Any, verdict: Verdict, on_block: OnBlock | Callable[..., Any]) -> Any:
    if callable(on_block):
        return on_block(image, verdict)
    if verdict.action is Action.DROPPED:
        return None
    if isinstance(image, list | tuple):  # the frames of a video
        return type(image)(_withheld_item(frame, verdict, on_block) for frame in image)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _blur_pil(image) if verdict.action is Action.BLURRED else placeholder(*image.size).convert(image.mode)
    if isinstance(image, np.ndarray):
        return _array_item(image, verdict)
    torch = sys.modules["torch"]
    channels_last = image.detach().movedim(-3, -1).float().cpu().numpy()
    changed = torch.from_numpy(_array_item(channels_last, verdict)).movedim(-1, -3)
    return changed.to(image.device, image.dtype)


def _array_item(array: np.ndarray[Any, Any], verdict: Verdict) -> np.ndarray[Any, Any]:
    """(..., h, w, c) in, the same shape and dtype out; c may be 1, 3 or 4."""
    if array.ndim > 3:
        return np.stack([_array_item(frame, verdict) for frame in array])
    from PIL import Image

    top = 255.0 if array.dtype == np.uint8 else 1.0
    height, width, channels = array.shape
    if verdict.action is Action.BLURRED:
        rgb = np.clip(np.asarray(array[..., :3], np.float32) * (255 / top), 0, 255).astype(np.uint8)
        picture = _blur_pil(Image.fromarray(rgb if rgb.shape[2] == 3 else rgb.repeat(3, axis=2)))
    else:
        picture = placeholder(width, height)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    pixels = np.asarray(picture.convert(mode), np.float32).reshape(height, width, channels)
    return (pixels * (top / 255)).astype(array.dtype)


def _blur_pil(image: Any) -> Any:
    """Average down to 4 px on the short side and back: nothing of the content can be recovered."""
    from PIL import Image

    scale = 4 / min(image.size)
    small = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
    )
    return small.resize(image.size, Image.Resampling.BICUBIC)


def placeholder(width: int, height: int) -> Any:
    """A grey RGB picture of that size that says that the image was withheld, where it is large enough to read."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (width, height), (58, 61, 66))
    draw = ImageDraw.Draw(picture)
    side = min(width, height)
    pen = max(1, side // 40)
    radius = side * 0.16
    cx, cy = width / 2, height * 0.36
    draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), outline=(214, 217, 222), width=pen)
    offset = radius * 0.7071
    draw.line((cx - offset, cy - offset, cx + offset, cy + offset), fill=(214, 217, 222), width=pen)
    size = max(9, side // 18)
    if side >= 96:
        font = ImageFont.load_default(size)
        lines = _wrap(NOTICE, lambda text: draw.textlength(text, font=font), width * 0.86)
        draw.multiline_text(
            (cx, height * 0.6), "\n".join(lines), font=font, fill=(214, 217, 222), anchor="ma", align="center"
        )
    return picture


def _wrap(text: str, measure: Callable[[str], float], width: float) -> Sequence[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and measure(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
