"""Images: from the bytes that a client sent to an upright picture, or to an error that says what is wrong with them.

Whatever the bytes are, the only exceptions that come out are `TooLarge`, `NotAnImage` and `TornImage`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

# Each of these modules registers its format with Pillow, which would else import every plugin that it has.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from exportweb.errors import NotAnImage, TooLarge, TornImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
"""How the names of such files end, in lower case."""

# Pillow resizes with float32 coordinates: beyond this many pixels a side they are no longer whole.
_MAX_SIDE = 1 << 24

# How to undo each value of the EXIF tag Orientation (EXIF 2.32, 4.6.4 A; 1 is upright).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TURNED = (5, 6, 7, 8)  # those that swap width and height

# How much smaller libjpeg can make a picture while it decodes it, per side.
_SCALES = (8, 4, 2)

# Pillow converts these modes to grey or RGB only by way of another.
_VIA = {"La": "LA", "LAB": "RGB"}


class Picture(NamedTuple):
    """An upright picture, and the size in pixels (width, height) that it has in its file: larger, if it was scaled down."""

    image: Image.Image
    size: tuple[int, int]


def decode(
    data: bytes,
    *,
    max_pixels: int,
    formats: Sequence[str] = FORMATS,
    at_least: Callable[[int, int], tuple[int, int] | None] | None = None,
) -> Picture:
    """Decode an image and turn it upright as its EXIF orientation says; of an animation, the first frame.

    `formats` are Pillow's names. The size is read from the header and checked before any pixel is decoded, whatever
    `PIL.Image.MAX_IMAGE_PIXELS` says. The picture keeps the file's colour mode: see `convert`.

    `at_least` is given the upright width and height, and says how far a JPEG may be scaled down while it is decoded (None: not at all),
    by 2, 4 or 8 where that divides both sides: nothing is rounded away, so what is resized or cropped next keeps its place.

    Raises `NotAnImage` if no format recognises the bytes, `TooLarge` above `max_pixels` pixels, `TornImage` if they
    begin as an image but can't be decoded.
    """
    name = recognise(data, formats)
    with _sound(name):
        image: Image.Image = Image.OPEN[name][0](io.BytesIO(data), "")
    width, height = image.size
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise TooLarge(f"The image is {width} x {height} pixels; the limit is {max_pixels:,}. Send a smaller one.")
    with _sound(name):
        scale = _scale_down(image, at_least) if name == "JPEG" and at_least is not None else 1
        image.load()
        if min(image.size) < 1:
            raise ValueError("an image without pixels")
    image = _upright(image)
    return Picture(image, (scale * image.width, scale * image.height))


def recognise(data: bytes, formats: Sequence[str] = FORMATS) -> str:
    """Return the name of the format that the first bytes announce; raise `NotAnImage` if it is none of `formats`."""
    prefix = bytes(data[:16])
    for name in formats:
        accept = Image.OPEN[name][1]
        if accept is not None and accept(prefix) is True:  # a string says why this build of Pillow can't read it
            return name
    what = f"The body begins with {prefix!r}, which is no image" if data else "The body is empty, not an image"
    raise NotAnImage(f"{what} in a format that this server reads: {', '.join(formats)}.")


def convert(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """Convert to RGB or grey as training frameworks do, by Pillow's `Image.convert`.

    So transparency is dropped, and the colour below it stays. One kind differs from Pillow: of 16-bit grey the high
    byte is kept, as Pillow does for 16-bit colour and browsers for both, where its `convert` would make every value
    above 255 white. Grey as 32-bit integers or floats, whose range no file says, is clipped to 0..255 as in Pillow.
    Nothing is copied if the mode is right already.

    Raises `NotAnImage` for a colour mode that Pillow can't convert.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image if mode == "L" else image.convert(mode)
    image.info.pop("transparency", None)  # Pillow would warn, or convert it too, and nobody looks at it
    try:
        return image.convert(_VIA.get(image.mode, mode)).convert(mode)
    except Exception as error:
        raise NotAnImage(f"The image's colour mode {image.mode!r} can't become {mode}. Send it as RGB.") from error


def _upright(image: Image.Image) -> Image.Image:
    """Undo the EXIF orientation; Pillow has done so already for TIFF, and then says it is 1."""
    transpose = _UPRIGHT.get(_orientation(image))
    return image if transpose is None else image.transpose(transpose)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF is no reason to refuse a whole picture
        return 1


def _scale_down(image: Image.Image, at_least: Callable[[int, int], tuple[int, int] | None]) -> int:
    """Have a JPEG that is not decoded yet scaled down while it is; return by how much."""
    width, height = image.size
    turned = _orientation(image) in _TURNED
    least = at_least(*((height, width) if turned else (width, height)))
    if least is not None:
        least = least[::-1] if turned else least
        for scale in _SCALES:
            small = width // scale, height // scale
            if width % scale == height % scale == 0 and small[0] >= least[0] and small[1] >= least[1]:
                image.draft(None, small)
                return scale
    return 1


@contextmanager
def _sound(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises for bytes that it can't decode into one of our errors.

    Corrupt files make its plugins raise nearly everything: OSError, SyntaxError, ValueError, struct.error, EOFError,
    ZeroDivisionError, zlib.error, MemoryError. The bomb errors come from plugins that check a frame's or tile's size.
    """
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"The {name} image holds a frame of too many pixels. Send a smaller one.") from error
    except Exception as error:
        raise TornImage(f"The body begins as a {name} image but is cut short or damaged.") from error
