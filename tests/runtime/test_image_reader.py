"""Fast decoding: a large JPEG is scaled down on the way, and everything else stays as it is, to the bit."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image

from exportweb.card import ImageInput
from exportweb.runtime.image_reader import ImageReader
from exportweb.runtime.images import decode
from exportweb.runtime.preprocess import Preprocess
from exportweb.runtime.reader import Prepared
from exportweb.runtime.session import Port

PORT = Port("image", "uint8", (None, 56, 56, 3))


def card_input(**changes: Any) -> ImageInput:
    sides = {"height": 56, "width": 56, "resize_height": 64, "resize_width": 64}
    return ImageInput(**{**sides, "interpolation": "bilinear", "mean": (0.0,) * 3, "std": (1.0,) * 3, **changes})


def photo(width: int = 1200, height: int = 800, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(skimage.data.coffee()).resize((width, height)).save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def prepare(data: bytes, decoding: Literal["exact", "fast"], **changes: Any) -> Prepared:
    return ImageReader(card_input(**changes), [PORT], decoding=decoding).prepare(data, max_pixels=2_000_000)


def pixels(data: bytes, decoding: Literal["exact", "fast"], **changes: Any) -> npt.NDArray[np.int64]:
    return prepare(data, decoding, **changes).arrays["image"].astype(np.int64)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_photo_keeps_its_place_and_nearly_its_pixels(orientation: int) -> None:
    data = photo(**turned(orientation))
    off = np.abs(pixels(data, "exact") - pixels(data, "fast"))
    assert 0 < off.max() <= 12
    assert off.mean() < 1


@pytest.mark.parametrize("resize", ["shortest", "cover", "contain", "exact"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_in_every_resize_and_kind_of_jpeg(resize: str, options: dict[str, Any]) -> None:
    data = photo(**options)
    off = np.abs(pixels(data, "exact", resize=resize) - pixels(data, "fast", resize=resize))
    assert 0 < off.max() <= 12


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (photo(kind="PNG"), {}),
        (photo(kind="WEBP"), {}),
        (photo(1201, 801), {}),  # no scale divides it
        (photo(240, 160), {}),  # less than four times as large as what it is resized to
        (photo(), {"interpolation": "nearest"}),
        (photo(), {"interpolation": "box"}),
        (photo(), {"resize": "none"}),
    ],
    ids=["png", "webp", "odd", "small", "nearest", "box", "not resized"],
)
def test_everything_else_is_decoded_exactly(data: bytes, changes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(pixels(data, "fast", **changes), pixels(data, "exact", **changes))


@pytest.mark.parametrize("decoding", ["exact", "fast"])
def test_the_upright_size_is_that_of_the_file(decoding: Literal["exact", "fast"]) -> None:
    assert prepare(photo(**turned(6)), decoding).size == (800, 1200)
    assert prepare(photo(kind="TIFF", **turned(6)), decoding).size == (800, 1200)


def test_as_far_as_twice_the_size_that_it_is_resized_to() -> None:
    """1200 x 800 is resized to 96 x 64: 4 leaves twice that and more, 8 would not."""
    picture = decode(photo(), max_pixels=2_000_000, at_least=Preprocess(card_input()).at_least)
    assert (picture.image.size, picture.size) == ((300, 200), (1200, 800))
