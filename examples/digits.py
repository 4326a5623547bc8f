"""Train a small timm model on handwritten digits, and watch it learn in the browser.

    python examples/digits.py

The images are scikit-learn's digits: 1,797 real ones of 8 x 8 pixels, enlarged to what the model takes. Draw one on the page and
see the answer get better with every epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import logging

import timm
import timm.data
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from exportweb import export_hook


def make_model() -> torch.nn.Module:
    """A timm model from random weights, for images of 64 x 64 pixels."""
    return timm.create_model("test_efficientnet", num_classes=10, pretrained_cfg_overlay={"input_size": (3, 64, 64), "crop_pct": 1.0})


def load_data(model: torch.nn.Module) -> list[torch.Tensor]:
    """Training and held-out images [N, 3, 64, 64] and their labels [N], prepared by the model's own transform."""
    digits = load_digits()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    pictures = [Image.fromarray((image * (255 / 16)).astype("uint8")).convert("RGB") for image in digits.images]
    images, labels = torch.stack([transform(picture) for picture in pictures]), torch.tensor(digits.target)
    return train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Turn, scale and move each image a little, as people do who draw digits: [N, 3, H, W] to the same."""
    angle = torch.empty(len(images)).uniform_(-0.3, 0.3)
    scale = torch.empty(len(images)).uniform_(0.85, 1.6)
    shift = torch.empty(len(images), 2).uniform_(-0.15, 0.15)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="only publish versions, start no server")
    parser.add_argument("--store", default="runs/digits", help="where the versions go (default: %(default)s)")
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    model = make_model()
    train_images, test_images, train_labels, test_labels = load_data(model)
    batches = -(-len(train_images) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs=options.epochs, steps_per_epoch=batches)

    hook = export_hook(
        model, every=1, labels=[str(digit) for digit in range(10)], name="digits", to=options.store, serve=options.serve, port=options.port
    )

    for epoch in range(options.epochs):
        model.train()
        for batch in torch.randperm(len(train_images)).split(64):
            loss = F.cross_entropy(model(augment(train_images[batch])), train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(test_images).argmax(1) == test_labels).float().mean()
        print(f"epoch {epoch + 1}: loss {loss:.3f}, accuracy {accuracy:.4f}", flush=True)
        hook.step(loss=loss, accuracy=accuracy)

    hook.wait()  # the page stays up until Ctrl-C


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C stops trainer and server
        main()
