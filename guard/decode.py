"""One encoded picture, from bytes or a file -> RGB array, bounded. Knows file formats; no descriptors and no index.

Limits on bytes and pixels hold before anything is decoded. Pillow's plugins are called by the
format that the first bytes name: formats that start other programs (EPS) or that hold no plain
raster are never tried, and Pillow's process-wide bomb limit is neither needed nor changed.
"""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from guard.errors import InputError
from guard.pixels import MAX_SIDE, MIN_SIDE, RGBArray, pil_to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Decoded",
    "ImageFileError",
    "UnreadableReason",
    "decode",
    "measure",
    "read_file",
    "sniff",
]

MAX_BYTES = 256 * 2**20  # of one encoded picture
MAX_PIXELS = 178_956_970  # the size at which Pillow itself refuses (512 MiB of RGB)
MAX_SCANS = 100  # of one JPEG; cameras and encoders write 1 to 15, and each one costs a pass over all pixels
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")
"""Pillow's names of what is read, most frequent first."""

UnreadableReason = Literal[
    "missing", "not_permitted", "empty", "file_too_large", "not_an_image", "too_small", "too_large", "damaged"
]
"""Why a picture cannot be read. "damaged": it starts as a picture and does not go on as one."""

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> PIL.Image.Transpose


class ImageFileError(InputError):
    """An encoded picture cannot be read; reason is one word of UnreadableReason."""

    def __init__(self, message: str, *, reason: UnreadableReason) -> None:
        super().__init__(message)
        self.reason: UnreadableReason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture as it is meant to be looked at."""

    rgb: RGBArray
    """(h, w, 3) uint8, upright."""
    format: str
    """One of FORMATS."""
    notes: tuple[str, ...] = ()
    """What was done to it, a word each: first_frame, rotated, cmyk, 16_bit, alpha, draft."""


def decode(
    source: bytes | str | Path,
    *,
    where: str = "",
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    enough_px: int | None = None,
) -> Decoded:
    """Decode one picture.

    source: the encoded bytes, or a path. where: its name in errors (default: the path).
    enough_px: a JPEG may be decoded at 1/2, 1/4 or 1/8 as long as both sides keep this many
    pixels; faster, but a descriptor then differs slightly from that of the full picture. Off by default.
    Of an animation or a multi-page file the first frame counts. Transparency is laid on white.
    Raises ImageFileError (an InputError) naming what, where and what to do.
    """
    if isinstance(source, bytes):
        data, where = source, where or "image"
    else:
        where = where or str(source)
        data = read_file(Path(source), where=where, max_bytes=max_bytes)
    if not data:
        raise ImageFileError(f"{where} is empty (0 bytes); fetch it again", reason="empty")
    if len(data) > max_bytes:
        raise _too_many_bytes(where, len(data), max_bytes)
    form = sniff(data)
    if form is None:
        raise ImageFileError(
            f"{where} is not a picture in a format that is read here ({', '.join(FORMATS)}); convert it",
            reason="not_an_image",
        )
    try:
        with _open(data, form) as image:
            _check_header(image.size, where, max_pixels)
            _check_scans(data, form, where)
            decoded = _to_decoded(image, form, enough_px)
            _check_header(decoded.rgb.shape[1::-1], where, max_pixels)  # an ICO may hold more than its header says
            return decoded
    except ImageFileError:
        raise
    except MemoryError as exc:
        raise ImageFileError(f"{where} needs more memory than there is to be decoded", reason="too_large") from exc
    except Exception as exc:  # the seam: plugins raise OSError, SyntaxError, struct.error, KeyError, ...
        raise ImageFileError(
            f"{where} is a damaged {form} ({type(exc).__name__}: {exc}); fetch or export it again", reason="damaged"
        ) from exc


def measure(data: bytes) -> int:
    """How many pixels `decode` would make of these bytes, by their header alone; 0 for what it would refuse."""
    form = sniff(data)
    if form is None:
        return 0
    try:
        with _open(data, form) as image:
            return int(image.size[0] * image.size[1])
    except Exception:  # the same seam as in decode, which will say what is wrong
        return 0


def read_file(path: Path, *, where: str = "", max_bytes: int = MAX_BYTES) -> bytes:
    """Read one file, refusing what is larger than max_bytes before it is read. Raises ImageFileError.

    Devices, pipes and sockets are refused before they are opened: they need not end, or even begin.
    """
    where = where or str(path)
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ImageFileError(f"{where} is a device, pipe or socket; give a file", reason="not_an_image")
        if status.st_size > max_bytes:
            raise _too_many_bytes(where, status.st_size, max_bytes)
        with path.open("rb") as file:
            return file.read(status.st_size)
    except PermissionError as exc:
        raise ImageFileError(f"{where} may not be read: {exc.strerror}", reason="not_permitted") from exc
    except IsADirectoryError as exc:
        raise ImageFileError(f"{where} is a folder; give a file", reason="missing") from exc
    except OSError as exc:
        raise ImageFileError(f"{where} cannot be opened: {exc.strerror}", reason="missing") from exc
    except ValueError as exc:
        if isinstance(exc, ImageFileError):
            raise
        raise ImageFileError(f"{where!r} is no name of a file: {exc}", reason="missing") from exc


def sniff(head: bytes) -> str | None:
    """Return the format that the first bytes (32 are enough) name, None if it is none of FORMATS."""
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return "AVIF"
    if head[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or head[:4] == b"\xff\x4f\xff\x51":
        return "JPEG2000"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # the two reserved words of a bitmap's header
        return "BMP"
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return "PPM"
    if head[:4] == b"\0\0\1\0" and 0 < head[4] + head[5] * 256 < 256:
        return "ICO"
    return None


def _open(data: bytes, form: str) -> PILImage:
    """Parse the header only. Image.open would also apply, and warn about, a process-wide limit."""
    from PIL import Image

    Image.preinit()
    if form not in Image.OPEN:
        Image.init()
    if form not in Image.OPEN:
        raise OSError(f"this build of Pillow reads no {form}")
    factory, _ = Image.OPEN[form]
    return factory(io.BytesIO(data), "")


def _to_decoded(image: PILImage, form: str, enough_px: int | None) -> Decoded:
    notes: list[str] = []
    if getattr(image, "is_animated", False):
        image.seek(0)
        notes.append("first_frame")
    if image.mode in ("CMYK", "YCCK"):
        notes.append("cmyk")
    elif image.mode.startswith("I") or ";16" in _raw_mode(image):
        notes.append("16_bit")
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        notes.append("alpha")
    if enough_px is not None and form == "JPEG":
        full = image.size
        image.draft(None, (enough_px, enough_px))
        if image.size != full:
            notes.append("draft")
    turn = _TURNS.get(_orientation(image))
    image.load()
    if turn is not None:
        from PIL.Image import Transpose

        image = image.transpose(Transpose(turn))
        notes.append("rotated")
    return Decoded(pil_to_rgb(image), form, tuple(notes))


def _raw_mode(image: PILImage) -> str:
    """Pillow's name of the samples as stored: "RGB;16B" of a 48-bit PNG whose mode is RGB; "" if unknown."""
    tiles = getattr(image, "tile", None) or [("",)]
    args = tiles[0][-1]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _orientation(image: PILImage) -> int:
    """EXIF orientation, 1 if there is none or the block is broken (viewers show such a picture as stored)."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken block raises anything from SyntaxError to struct.error
        return 1


def _check_header(size: tuple[int, int], where: str, max_pixels: int) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageFileError(
            f"{where} is {width} x {height} px; sides from {MIN_SIDE} px can be checked", reason="too_small"
        )
    if max(size) > MAX_SIDE or width * height > max_pixels:
        raise ImageFileError(
            f"{where} is {width} x {height} px; at most {max_pixels} pixels and {MAX_SIDE} px a side are decoded: "
            "scale it down, or raise the limit",
            reason="too_large",
        )


def _check_scans(data: bytes, form: str, where: str) -> None:
    scans = data.count(b"\xff\xda") if form == "JPEG" else 0  # no other place of a JPEG holds these two bytes
    if scans > MAX_SCANS:
        raise ImageFileError(
            f"{where} is a JPEG of {scans} scans; at most {MAX_SCANS} are decoded: export it again", reason="damaged"
        )


def _too_many_bytes(where: str, size: int, limit: int) -> ImageFileError:
    return ImageFileError(
        f"{where} has {size} bytes; at most {limit} are read: scale it down, or raise the limit",
        reason="file_too_large",
    )
