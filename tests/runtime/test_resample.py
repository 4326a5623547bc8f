"""Resampling a window: equal to Pillow's resize and crop in every bit, whichever way it is computed."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from exportweb.runtime import resample
from exportweb.runtime.resample import resize_window

FILTERS = [Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")]


def check(image: Image.Image, size: tuple[int, int], window: tuple[int, int, int, int], filter: Image.Resampling) -> None:
    expected, got = image.resize(size, filter).crop(window), resize_window(image, size, window, filter)
    assert got.size == expected.size
    assert got.tobytes() == expected.tobytes(), (image.mode, image.size, size, window, filter.name)


def noise(mode: str, width: int, height: int) -> Image.Image:
    return Image.frombytes(mode, (width, height), random.Random(width * height).randbytes(width * height * len(mode)))


@pytest.mark.parametrize("filter", FILTERS, ids=[filter.name for filter in FILTERS])
def test_random_sizes_and_windows(filter: Image.Resampling) -> None:
    rng = random.Random(filter.name)
    done = 0
    while done < 500:
        source = [int(2 ** rng.uniform(0, 9)) for _ in "wh"]
        size = [rng.choice((rng.randint(1, 200), 2 ** rng.randint(0, 7), side)) for side in source]
        if size[0] * max(size[1], source[1]) > 200_000:
            continue
        left, top = (rng.randrange(side) for side in size)
        window = left, top, rng.randint(left + 1, size[0]), rng.randint(top + 1, size[1])
        check(noise(rng.choice(("RGB", "L")), *source), (size[0], size[1]), window, filter)
        done += 1


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((500, 375), (341, 256)),  # exact in height only
        ((375, 500), (256, 341)),  # exact in width only
        ((600, 400), (384, 256)),  # exact in both
        ((500, 375), (313, 235)),  # in neither
        ((160, 400), (256, 640)),  # a high picture: columns first
        ((300, 900), (235, 705)),
        ((20, 2500), (256, 256)),  # the same in Pillow 12.3
        ((2000, 1600), (320, 256)),  # too large for a copy of the rows to pay
        ((2100, 1400), (353, 235)),
        ((28, 28), (256, 256)),
    ],
)
def test_each_way(source: tuple[int, int], size: tuple[int, int]) -> None:
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2

    check(noise("RGB", *source), size, (left, top, left + 224, top + 224), Image.Resampling.BICUBIC)


def test_equal_size_is_only_cropped() -> None:
    image = noise("L", 30, 20)

    assert resize_window(image, (30, 20), (0, 0, 30, 20), Image.Resampling.BICUBIC) is image
    check(image, (30, 20), (5, 5, 10, 15), Image.Resampling.BICUBIC)


def test_the_installed_pillow_follows_a_known_rule() -> None:
    """Without one the result is still right, but the gain is gone: teach `resample` what this Pillow does."""
    assert resample._pass_order() is not None


def test_an_unknown_rule_falls_back_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_pass_order", lambda: None)

    check(noise("RGB", 60, 40), (48, 32), (8, 0, 40, 32), Image.Resampling.BILINEAR)
