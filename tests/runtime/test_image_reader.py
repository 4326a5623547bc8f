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
from exportweb.errors import ArtifactError, CardError
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


# -- graphs that take any size, or answer for one image


ANY = {"height": 0, "width": 0, "resize": "none"}


def test_only_images_of_one_size_share_a_batch() -> None:
    reader = ImageReader(card_input(**ANY), [Port("image", "uint8", (None, None, None, 3))])
    batch = [reader.prepare(photo(*size, "PNG"), max_pixels=2_000_000) for size in ((30, 20), (20, 30), (30, 20))]
    assert reader.groups(batch) == [[0, 2], [1]]
    assert reader.feed([batch[0], batch[2]])["image"].shape == (2, 20, 30, 3)
    assert ImageReader(card_input(), [PORT]).groups([reader.blank()] * 3) == [[0, 1, 2]]


def test_an_output_of_one_image_is_its_row() -> None:
    reader = ImageReader(card_input(), [PORT], ranks={"boxes": 2, "logits": 1})
    boxes, logits = np.zeros((5, 4)), np.zeros((1, 7))
    (row,) = reader.rows({"boxes": boxes, "logits": logits}, 1)
    assert row["boxes"] is boxes
    assert row["logits"].shape == (7,)
    (row,) = reader.rows({"boxes": boxes[np.newaxis]}, 1)
    assert row["boxes"].shape == (5, 4)
    with pytest.raises(ArtifactError, match="takes 2 images at once, but 'boxes' answers for one"):
        reader.rows({"boxes": boxes}, 2)


def test_the_blank_image_of_any_size_is_an_ordinary_one() -> None:
    bounded = {**ANY, "resize": "bounded", "resize_height": 60, "resize_max": 100}
    blank = ImageReader(card_input(**bounded), [Port("image", "uint8", (1, None, None, 3))]).blank()
    assert (blank.arrays["image"].shape, blank.size) == ((60, 80, 3), (640, 480))


@pytest.mark.parametrize(
    ("changes", "shape", "says"),
    [
        ({"height": 0}, (None, None, None, 3), "0 x 56; a size is two numbers"),
        (ANY, (None, 56, 56, 3), r"says that 'image' is uint8 \[N, N, N, 3\]; the graph wants uint8 \[N, 56, 56, 3\]"),
    ],
)
def test_a_size_that_does_not_fit_the_graph(changes: dict[str, Any], shape: tuple[int | None, ...], says: str) -> None:
    with pytest.raises(CardError, match=says):
        ImageReader(card_input(**changes), [Port("image", "uint8", shape)])
