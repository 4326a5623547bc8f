"""Preprocessing: what a graph gets is, bit for bit, what timm's own evaluation transform makes of the same picture."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from exportweb.card import ImageInput
from exportweb.errors import CardError, TooLarge
from exportweb.exporters.timm_input import image_input
from exportweb.runtime.images import convert
from exportweb.runtime.preprocess import Preprocess

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


# --- pictures ---


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(width).randbytes(3 * width * height)).convert(mode)


def gradient(width: int, height: int, mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@functools.cache
def photo() -> Image.Image:
    datasets = pytest.importorskip("sklearn.datasets")
    return Image.fromarray(datasets.load_sample_image("china.jpg"))


def deep(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(((x * 65535 // width + y * 7) % 65536).astype(np.uint16))


ZOO: dict[str, Callable[[], Image.Image]] = {
    "photo": photo,
    "photo high": lambda: photo().transpose(Image.Transpose.ROTATE_90),
    "photo 500 x 375": lambda: photo().resize((500, 375)),
    "noise": lambda: noise(301, 233),
    "noise high": lambda: noise(149, 320),
    "gradient": lambda: gradient(400, 300),
    "square": lambda: gradient(256, 256),
    "dot": lambda: noise(1, 1),
    "tiny": lambda: noise(3, 2),
    "wide": lambda: noise(400, 31),
    "high": lambda: noise(31, 400),
    "grey": lambda: gradient(211, 307, "L"),
    "grey alpha": lambda: gradient(120, 90, "LA"),
    "alpha": lambda: noise(310, 200, "RGBA"),
    "palette": lambda: gradient(280, 190).quantize(64),
    "cmyk": lambda: gradient(190, 280, "CMYK"),
    "black and white": lambda: gradient(230, 170, "1"),
    "16-bit": lambda: deep(260, 200),
    "integers": lambda: deep(90, 80).convert("I"),
    "floats": lambda: gradient(70, 90, "F"),
}


@functools.cache
def zoo(name: str) -> Image.Image:
    return ZOO[name]()


# --- parity with timm ---


@functools.cache
def timm_configs() -> list[dict[str, Any]]:
    """Every distinct evaluation transform of timm's pretrained weights, at their training and test sizes."""
    pytest.importorskip("timm", reason="parity is measured against timm")
    import timm.data
    import timm.models

    configs = {}
    for name in timm.list_pretrained():
        cfg = timm.models.get_pretrained_cfg(name)
        for use_test_size in (False, True):
            config = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict(), use_test_size=use_test_size)
            configs[repr(config)] = config
    return [configs[key] for key in sorted(configs)]


def timm_pixels(config: dict[str, Any], image: Image.Image, mode: Any = "RGB") -> npt.NDArray[np.float32]:
    """What timm feeds the model: the normalised tensor, [channels, height, width]."""
    import timm.data

    tensor: npt.NDArray[np.float32] = timm.data.create_transform(**config, is_training=False)(convert(image, mode)).numpy()
    return tensor


def our_pixels(input: ImageInput, image: Image.Image) -> npt.NDArray[np.float32]:
    """What our graph makes of the uint8 pixels that it gets, as [channels, height, width]."""
    pixels = Preprocess(input)(image)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (input.height, input.width, input.channels))
    mean, std = (np.array(values, np.float32) for values in (input.mean, input.std))
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)


def test_every_transform_that_timm_publishes() -> None:
    """Each with one picture of the zoo, in turn: all 4,000 pairs (they are equal too) would take minutes."""
    configs = timm_configs()
    assert len(configs) > 150
    names = list(ZOO)
    for index, config in enumerate(configs):
        name = names[(index + index // len(names)) % len(names)]
        got, expected = our_pixels(image_input(config), zoo(name)), timm_pixels(config, zoo(name))
        assert np.array_equal(got, expected), (config, name)


@pytest.mark.parametrize("name", list(ZOO))
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_every_picture(name: str, crop_mode: str) -> None:
    pytest.importorskip("timm", reason="parity is measured against timm")
    for interpolation in ("bicubic", "bilinear"):
        for crop_pct in (0.875, 1.0):
            config = {"input_size": (3, 96, 96), "crop_pct": crop_pct, "crop_mode": crop_mode, **IMAGENET}
            config["interpolation"] = interpolation
            assert np.array_equal(our_pixels(image_input(config), zoo(name)), timm_pixels(config, zoo(name))), config


@pytest.mark.parametrize("size", [(3000, 2000), (10, 1000), (1000, 10)])
def test_large_and_elongated_pictures(size: tuple[int, int]) -> None:
    pytest.importorskip("timm", reason="parity is measured against timm")
    config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic", **IMAGENET}
    image = photo().resize(size)

    assert np.array_equal(our_pixels(image_input(config), image), timm_pixels(config, image))


def test_random_sizes_and_transforms() -> None:
    """The property that counts, over whatever sizes and settings hypothesis thinks of."""
    pytest.importorskip("timm", reason="parity is measured against timm")
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    side = st.integers(1, 120)

    @hypothesis.settings(max_examples=250, deadline=None, database=None, derandomize=True)
    @hypothesis.given(
        source=st.tuples(st.one_of(side, st.integers(1, 400)), st.one_of(side, st.integers(1, 400))),
        target=st.one_of(st.sampled_from([(32, 32), (56, 56), (64, 48)]), st.tuples(side, side)),
        channels=st.sampled_from([1, 3]),
        mode=st.sampled_from(["RGB", "L", "RGBA", "P", "LA"]),
        crop_mode=st.sampled_from(["center", "squash", "border"]),
        crop_pct=st.one_of(st.sampled_from([0.875, 0.95, 1.0, 1.15]), st.floats(0.5, 1.3)),
        interpolation=st.sampled_from(INTERPOLATIONS),
    )
    def check(
        source: tuple[int, int],
        target: tuple[int, int],
        channels: int,
        mode: str,
        crop_mode: str,
        crop_pct: float,
        interpolation: str,
    ) -> None:
        config: dict[str, Any] = {"input_size": (channels, *target), "crop_pct": crop_pct, "crop_mode": crop_mode}
        config |= {
            "interpolation": interpolation,
            "mean": (0.5, 0.4, 0.3)[:channels],
            "std": (0.2, 0.3, 0.25)[:channels],
        }
        if min(target) < crop_pct:  # timm would resize to nothing
            return
        image = noise(*source, mode)
        try:
            expected = timm_pixels(config, image, "L" if channels == 1 else "RGB")
        except ValueError:  # Pillow: timm's border resize rounded a side to nothing
            assert crop_mode == "border"
            return
        assert np.array_equal(our_pixels(image_input(config), image), expected)

    check()


# --- what the card can say besides ---


def described(**changes: Any) -> ImageInput:
    settings: dict[str, Any] = {
        "height": 48,
        "width": 40,
        "resize_height": 56,
        "resize_width": 56,
        **IMAGENET,
        **changes,
    }
    return ImageInput(**settings)


def test_float32_is_normalised_in_either_layout() -> None:
    """By a table of 256 entries a channel, which gives exactly what the arithmetic gives."""
    image = gradient(90, 70)
    expected = our_pixels(described(), image)

    planes = Preprocess(described(dtype="float32", layout="NCHW"))(image)
    pixels = Preprocess(described(dtype="float32", layout="NHWC"))(image)

    assert (planes.dtype, planes.shape, planes.flags.c_contiguous) == (np.float32, (3, 48, 40), True)
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.float32, (48, 40, 3), True)
    assert np.array_equal(planes, expected)
    assert np.array_equal(pixels.transpose(2, 0, 1), expected)


def test_uint8_planes() -> None:
    image = gradient(90, 70)
    planes = Preprocess(described(layout="NCHW"))(image)

    assert planes.flags.c_contiguous
    assert np.array_equal(planes.transpose(1, 2, 0), Preprocess(described())(image))


def test_bgr_reverses_the_colours_and_its_fill() -> None:
    rgb = Preprocess(described(resize="contain", fill=(1, 2, 3)))(gradient(90, 30))
    bgr = Preprocess(described(resize="contain", fill=(3, 2, 1), color="BGR"))(gradient(90, 30))

    assert bgr[0, 0].tolist() == [3, 2, 1]
    assert np.array_equal(bgr, rgb[:, :, ::-1])


def test_no_resize_crops_or_pads_around_the_centre() -> None:
    image = noise(50, 30)
    pixels = Preprocess(described(resize="none", fill=(9,)))(image)

    assert np.array_equal(pixels[9:39], np.asarray(image)[:, 5:45])
    assert (pixels[:9] == 9).all()
    assert (pixels[39:] == 9).all()


def test_any_size_is_as_large_as_it_is_resized_to() -> None:
    """Bilinear on 8 bits, the whole picture, in BGR: what detectron2's `DefaultPredictor` feeds its models."""
    image = photo()
    pixels = Preprocess(described(height=0, width=0, resize="bounded", resize_max=80, interpolation="bilinear", color="BGR"))(image)

    assert image.size == (640, 427)
    assert pixels.shape == (53, 80, 3)
    assert np.array_equal(pixels, np.asarray(image.resize((80, 53), Image.Resampling.BILINEAR))[:, :, ::-1])
    assert np.array_equal(Preprocess(described(height=0, width=0, resize="none"))(image), np.asarray(image))


@pytest.mark.parametrize("name", list(ZOO))
def test_every_picture_as_detectron2_prepares_it(name: str) -> None:
    transforms = pytest.importorskip("detectron2.data.transforms")
    array = np.asarray(convert(zoo(name), "RGB"))[:, :, ::-1]
    expected = transforms.ResizeShortestEdge([160, 160], 200).get_transform(array).apply_image(array)
    input = described(height=0, width=0, resize_height=160, resize_max=200, resize="bounded", interpolation="bilinear", color="BGR")

    assert np.array_equal(Preprocess(input)(zoo(name)), expected)


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (96, 40)])
def test_linear_is_opencvs(size: tuple[int, int]) -> None:
    """No pixel is off by more than 1, where Pillow's bilinear, which smooths what it shrinks, is off by tens."""
    cv2 = pytest.importorskip("cv2")
    image = noise(500, 375)
    expected = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_LINEAR).astype(int)
    sides = {"height": size[1], "width": size[0], "resize_height": size[1], "resize_width": size[0], "resize": "exact"}
    linear = Preprocess(described(interpolation="linear", **sides))(image)
    assert np.abs(linear - expected).max() <= 1


def test_linear_looks_at_four_pixels_however_much_the_image_shrinks() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 0, 0, 200]], np.uint8), (8, 10)))
    sides = {"height": 8, "width": 10, "resize_height": 8, "resize_width": 10, "resize": "exact", "color": "L", "mean": (0,), "std": (1,)}
    assert (Preprocess(described(interpolation="linear", **sides))(stripes) == 0).all()
    assert (Preprocess(described(interpolation="bilinear", **sides))(stripes)[:, 1:-1] == 50).all()


def test_grey_input() -> None:
    pixels = Preprocess(described(color="L", mean=(0.5,), std=(0.5,)))(gradient(90, 70))

    assert pixels.shape == (48, 40, 1)


def test_too_elongated_to_resize() -> None:
    """50,000 pixels, but 10,280,960,000 once the shortest edge is 448."""
    input = described(resize_height=448, resize_width=448)

    for size in ((1, 50_000), (50_000, 1)):
        with pytest.raises(TooLarge, match=f"{size[0]} x {size[1]} pixels: resized for the model it would be") as caught:
            Preprocess(input)(Image.new("RGB", size))
        assert caught.value.status == 413


@pytest.mark.parametrize("changes", [{"mean": (0.5,)}, {"std": (1.0, 1.0)}, {"fill": (1, 2)}, {"color": "L"}])
def test_values_that_do_not_fit_the_channels(changes: dict[str, Any]) -> None:
    with pytest.raises(CardError, match="The card's input has colour"):
        Preprocess(described(**changes))
