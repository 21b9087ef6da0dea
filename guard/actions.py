"""What a withheld image is replaced by, in the form that the host returns. Decides nothing.

The form never changes: a list of n pictures stays one, an array keeps shape and dtype, a tensor
its device. The pipeline's own output is never written to; it is copied only if something is withheld.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.errors import BlockedError, ConfigError, InputError
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
    (n, ..., 3, h, w), floating point in [0, 1], or uint8; or one picture, as `Guard.check` takes it too.
    A callable is given a picture (of videos: a clip) as it is returned, and gives back one of the same form; for
    an array or tensor it may also give back a PIL image of the same size.
    Raises ConfigError for `drop` on an array or tensor, where None has no place, or for a callable that gives
    back another form; BlockedError, with the images that are not withheld, for `raise`.
    """
    withheld = report.withheld
    if not withheld:
        return images
    if not isinstance(images, list | tuple) and getattr(images, "ndim", 0) < 4:
        return apply([images], report, on_block)[0]
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
        out[i] = _withheld_item(out[i], report[i], on_block)  # of the copy: a callable may write to what it gets
    return out


def _withheld_item(image: Any, verdict: Verdict, on_block: OnBlock | Callable[..., Any]) -> Any:
    if callable(on_block):
        return _same_form(image, on_block(image, verdict))
    if verdict.action is Action.DROPPED:
        return None
    if isinstance(image, list | tuple):  # the frames of a video
        return type(image)(_withheld_item(frame, verdict, on_block) for frame in image)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _blur_pil(image) if verdict.action is Action.BLURRED else placeholder(*image.size).convert(image.mode)
    if isinstance(image, np.ndarray):
        return _array_item(image, verdict)
    if not hasattr(image, "movedim"):
        raise InputError(f"a {type(image).__name__} cannot be replaced; only PIL images, arrays and tensors can")
    torch = sys.modules["torch"]
    channels_last = image.detach().movedim(-3, -1)
    if image.is_floating_point():
        channels_last = channels_last.float()  # numpy has no bfloat16
    changed = torch.from_numpy(_array_item(channels_last.cpu().numpy(), verdict)).movedim(-1, -3)
    return changed.to(image.device, image.dtype)


def _same_form(image: Any, made: Any) -> Any:
    """What a callable gave back for image, held to the form that the host returns. Raises ConfigError."""
    from PIL import Image

    if isinstance(image, Image.Image):
        fits = isinstance(made, Image.Image)
    elif isinstance(image, list | tuple):
        fits = type(made) is type(image) and len(made) == len(image)
    elif isinstance(made, Image.Image) and image.ndim == 3:
        fits = made.size == _size(image)
        made = _pil_as(made, image) if fits else made
    else:
        fits = type(made) is type(image) and made.shape == image.shape and _is_float(made) == _is_float(image)
    if not fits:
        raise ConfigError(f"on_block: the callable was given {_form(image)} and gave back {_form(made)}")
    return made


def _size(image: Any) -> tuple[int, int]:
    """Width and height of an array (h, w, c) or a tensor (c, h, w)."""
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[1:]
    return int(width), int(height)


def _is_float(image: Any) -> bool:
    return image.dtype.kind == "f" if isinstance(image, np.ndarray) else bool(image.is_floating_point())


def _form(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} frames"
    shape = f" {tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"


def _pil_as(picture: Any, like: Any) -> Any:
    """A PIL image in the form of an array (h, w, c) or a tensor (c, h, w)."""
    if not isinstance(like, np.ndarray):
        torch = sys.modules["torch"]
        form = np.empty((*like.shape[1:], like.shape[0]), np.float32 if like.is_floating_point() else np.uint8)
        return torch.from_numpy(_pil_as(picture, form)).movedim(-1, 0).to(like.device, like.dtype)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[like.shape[2]]
    pixels = np.asarray(picture.convert(mode), np.float32).reshape(like.shape)
    return (pixels / (1 if like.dtype == np.uint8 else 255)).astype(like.dtype)


def _array_item(array: np.ndarray[Any, Any], verdict: Verdict) -> np.ndarray[Any, Any]:
    """(h, w) or (..., h, w, c) in, the same shape and dtype out; c may be 1, 3 or 4."""
    if array.ndim == 2:
        return _array_item(array[..., None], verdict)[..., 0]
    if array.ndim > 3:
        return np.stack([_array_item(frame, verdict) for frame in array])
    from PIL import Image

    top = 255.0 if array.dtype == np.uint8 else 1.0
    height, width = array.shape[:2]
    if verdict.action is Action.BLURRED:
        rgb = np.clip(np.asarray(array[..., :3], np.float32) * (255 / top), 0, 255).astype(np.uint8)
        picture = _blur_pil(Image.fromarray(rgb if rgb.shape[2] == 3 else rgb.repeat(3, axis=2)))
    else:
        picture = placeholder(width, height)
    changed: np.ndarray[Any, Any] = _pil_as(picture, array)
    return changed


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
