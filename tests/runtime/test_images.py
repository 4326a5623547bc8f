"""Decoding: every kind of file comes out upright, and whatever else the bytes are, one of our errors comes out."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from exportweb.errors import NotAnImage, RequestError, TooLarge, TornImage
from exportweb.runtime import images
from exportweb.runtime.images import FORMATS, convert

LIMIT = 50_000_000


def decode(data: bytes, **options: Any) -> Image.Image:
    return images.decode(data, **options).image


def picture(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A picture in which every corner looks different."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    image = decode(encode(picture(), format, **options), max_pixels=LIMIT)

    assert image.size == (48, 32)
    difference = np.asarray(convert(image, "RGB")).astype(int) - np.asarray(picture())
    assert np.abs(difference).mean() < {"JPEG": 3, "GIF": 8}.get(format, 1e-9)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)

    assert convert(decode(data, max_pixels=LIMIT), "RGB").getpixel((3, 3)) == (255, 0, 0)


def test_first_picture_of_a_phone_that_stores_two() -> None:
    data = encode(Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")])

    assert decode(data, max_pixels=LIMIT).size == (8, 8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_once(format: str, orientation: int) -> None:
    """The file holds the picture turned away by the inverse of its orientation; what comes out is the picture."""
    turn = Image.Transpose
    away = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    upright = picture()
    stored = upright.transpose(away[orientation]) if orientation in away else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}

    image = decode(encode(stored, format, exif=exif, **options), max_pixels=LIMIT)

    assert image.size == upright.size
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).max() <= (16 if format == "JPEG" else 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00",
        b"Exif\x00\x00II*\x00",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\xff" * 30,
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x07\x00\x04\x00\x00\x00abcd\x00\x00\x00\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x63\x00\x00\x00\x00\x00\x00\x00",
    ],
    ids=["empty", "cut", "garbage", "bytes", "99"],
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert decode(encode(picture(), "JPEG", exif=exif), max_pixels=LIMIT).size == (48, 32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89",
        b"hello",
        b"{}",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\0" * 64,
        b"P6 1 1 255 abc",
    ],
)
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(NotAnImage, match=r"JPEG, PNG, WEBP, GIF, BMP, TIFF") as caught:
        decode(data, max_pixels=LIMIT)

    assert caught.value.status == 415


def test_only_the_formats_that_are_allowed() -> None:
    with pytest.raises(NotAnImage, match="JPEG, PNG"):
        decode(encode(picture(), "TIFF"), max_pixels=LIMIT, formats=("JPEG", "PNG"))


@pytest.mark.parametrize("size", [(7072, 7072), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (1 << 25, 1)])
def test_too_many_pixels_before_decoding(size: tuple[int, int]) -> None:
    """Pillow would warn or raise for some of these by a limit of its own; ours is the only one that counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TooLarge, match=f"{size[0]} x {size[1]} pixels; the limit is 50,000,000") as caught:
            decode(png(*size), max_pixels=LIMIT)

    assert caught.value.status == 413


def test_the_limit_may_be_above_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert decode(data, max_pixels=48 * 32).size == (48, 32)
    with pytest.raises(TooLarge):
        decode(data, max_pixels=48 * 32 - 1)


def test_a_frame_larger_than_its_gif() -> None:
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)

    with pytest.raises(TooLarge):
        decode(data + b"\x02\x02\x44\x01\x00;", max_pixels=LIMIT)


@pytest.mark.parametrize("format", FORMATS)
def test_cut_short(format: str) -> None:
    data = encode(picture(200, 150), format)

    for share in (0.05, 0.5, 0.9):
        with pytest.raises(TornImage, match=f"begins as a {format} image but is cut short or damaged") as caught:
            decode(data[: max(16, int(len(data) * share))], max_pixels=LIMIT)
        assert caught.value.status == 422


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_damage_never_raises_anything_else(format: str) -> None:
    """Cut anywhere and with bytes changed, a file gives a picture or one of our errors."""
    rng = random.Random(format)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    whole = [encode(picture(mode=mode), format) for mode in ("RGB", "L")]
    if format in ("JPEG", "PNG", "WEBP", "TIFF"):
        whole.append(encode(picture(), format, exif=exif))
    if format == "TIFF":
        whole += [encode(picture(), format, compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    outcomes = set()
    for _ in range(400):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randint(0, 8)):
            data[rng.randrange(4, min(len(data), rng.choice((64, 400, len(data)))))] = rng.randrange(256)
        if rng.random() < 0.4:
            del data[rng.randrange(len(data)) :]
        try:
            image = decode(bytes(data), max_pixels=1_000_000)
            convert(image, "RGB")
            outcomes.add("picture")
        except RequestError as error:
            outcomes.add(type(error).__name__)

    assert {"picture", "TornImage"} <= outcomes <= {"picture", "TornImage", "NotAnImage", "TooLarge"}


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    """Pillow's own convert would make all of it above 255 white."""
    values = np.array([[0, 255, 256, 4096, 32768, 65535]], np.uint16)
    for data in (encode(Image.fromarray(values), format) for format in ("PNG", "TIFF")):
        image = decode(data, max_pixels=LIMIT)
        assert np.asarray(convert(image, "L")).tolist() == [[0, 0, 1, 16, 128, 255]]
        assert np.asarray(convert(image, "RGB"))[0, :, 2].tolist() == [0, 0, 1, 16, 128, 255]


def test_grey_of_no_known_range_is_clipped() -> None:
    for values in (np.array([[-5, 7, 300]], np.int32), np.array([[-5, 7, 300]], np.float32)):
        image = decode(encode(Image.fromarray(values), "TIFF"), max_pixels=LIMIT)
        assert np.asarray(convert(image, "L")).tolist() == [[0, 7, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
@pytest.mark.parametrize("target", ["RGB", "L"])
def test_every_mode_converts(mode: str, target: Any) -> None:
    image = convert(Image.new(mode, (2, 2)), target)

    assert (image.mode, image.size) == (target, (2, 2))


def test_transparency_is_dropped_without_a_warning() -> None:
    palette = picture().quantize(16)
    palette.info["transparency"] = bytes(range(16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(encode(palette, "PNG"), max_pixels=LIMIT)
        assert image.mode == "P"
        expected = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
        assert np.array_equal(np.asarray(convert(image, "RGB")), expected)
    assert convert(Image.new("RGBA", (1, 1), (9, 8, 7, 0)), "RGB").getpixel((0, 0)) == (9, 8, 7)


def test_cmyk_of_adobe_is_not_inverted() -> None:
    """Pillow writes and reads CMYK JPEGs in Adobe's inverted way; red has to stay red."""
    data = encode(Image.new("RGB", (16, 16), "red").convert("CMYK"), "JPEG", quality=95)
    image = decode(data, max_pixels=LIMIT)

    assert image.mode == "CMYK"
    assert b"Adobe" in data
    red, green, blue = np.asarray(convert(image, "RGB"))[8, 8]
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


def test_nothing_is_copied_when_the_mode_is_right() -> None:
    image = picture()

    assert convert(image, "RGB") is image
