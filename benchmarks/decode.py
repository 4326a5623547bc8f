"""What `--decode fast` saves on a 12-megapixel photo, and how far it moves what the model sees.

python benchmarks/decode.py

The photos are scikit-image's, enlarged. The hard pictures are noise, which is nothing but fine detail, and small squares of black and
white, which are nothing but edges: more than any photo holds. Of the two sizes, one is a model's usual one; the other leaves the scaled
photo as little larger than what it is resized to as the rule allows, twice as large, and so moves the most. Differences are in the
normalised tensor (ImageNet's mean and std).
"""

from __future__ import annotations

import io
import itertools
import statistics

import msgspec
import numpy as np
import skimage.data
from PIL import Image

from exportweb.card import ImageInput
from exportweb.runtime.image_reader import ImageReader
from exportweb.runtime.session import Port
from measure import interleaved, ratio, table

SIZE = (4000, 3000)
ROUNDS = 7
INTERPOLATIONS = ("bilinear", "hamming", "bicubic", "lanczos")  # the others are never scaled down
EDGES = {256: 224, 187: 160}  # the shortest edge, and the crop
INPUT = ImageInput(
    height=224, width=224, resize_height=256, resize_width=256, dtype="float32", layout="NCHW",
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
)  # fmt: skip


def photos() -> dict[str, bytes]:
    """JPEGs of 12 megapixels, as a phone writes them."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    found = {name: Image.fromarray(getattr(skimage.data, name)()).resize(SIZE, Image.Resampling.LANCZOS) for name in names}
    return {name: jpeg(image) for name, image in found.items()}


def hard() -> dict[str, bytes]:
    """JPEGs of 12 megapixels, as no phone writes them."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
    squares = Image.fromarray(random.integers(0, 2, (150, 200), dtype=np.uint8) * 255).resize(SIZE, Image.Resampling.NEAREST)
    return {"noise": jpeg(noise), "squares": jpeg(squares.convert("RGB"))}


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    rows = []
    seen, unseen = photos(), hard()
    for (edge, crop), interpolation in itertools.product(EDGES.items(), INTERPOLATIONS):
        sides = {"height": crop, "width": crop, "resize_height": edge, "resize_width": edge}
        input = msgspec.structs.replace(INPUT, interpolation=interpolation, **sides)
        port = Port("image", "float32", (None, 3, crop, crop))
        exact, fast = (ImageReader(input, [port], decoding=decoding) for decoding in ("exact", "fast"))

        def tensor(reader: ImageReader, data: bytes) -> np.ndarray:
            return reader.prepare(data, max_pixels=SIZE[0] * SIZE[1]).arrays["image"]

        off, worst = ([np.abs(tensor(exact, data) - tensor(fast, data)) for data in files.values()] for files in (seen, unseen))
        photo = seen["coffee"]
        contenders = {"exact": lambda: tensor(exact, photo), "fast": lambda: tensor(fast, photo)}  # noqa: B023
        seconds = interleaved(contenders, rounds=ROUNDS)
        rows.append(
            [
                interpolation,
                f"{edge}, {crop}",
                *(f"{statistics.median(seconds[key]) * 1e3:.0f}" for key in contenders),
                f"**{ratio(seconds['exact'], seconds['fast']):.1f}x**",
                *(text for each in (off, worst) for text in (f"{np.max(each):.2f}", f"{np.mean(each):.4f}")),
            ]
        )
    header = ["interpolation", "resize, crop", "exact, ms", "fast, ms", "exact / fast", "photos: largest", "mean", "hard: largest", "mean"]
    table("Decoding", header, rows)


if __name__ == "__main__":
    main()
