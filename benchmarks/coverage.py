"""What exports: timm's architectures, torchvision's and transformers' models, each in a process of its own, into docs/coverage.md.

A row holds when the ONNX file answers batches of 1, 2 and 5 as the model itself does after all its weights have changed, with every weight
that matters in the file under its own name. Rows of the table that hold are kept; the others, and models that are named, are tried again.

    python benchmarks/coverage.py [--fresh] [--timeout SECONDS] [timm/NAME | torchvision/NAME | transformers/NAME ...]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import finders

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "coverage.md"
MEASURED = ("torch", "onnx", "onnxscript", "onnxruntime", "timm", "torchvision", "transformers")
INTRODUCTION = """# What exports

`python benchmarks/coverage.py` makes these tables: each model in a process of its own, with random weights, on {python}, {versions}.
A row without **bold** words holds.

- *format*: what the model became. *MB*: the size of that file.
- *refresh*: how a new version is written. *by name*: as new weights in the known graph. That is proved, not assumed: the weights that are
  not in the file under their names were changed and the model's answer stayed the same to the bit; then all weights were changed, and
  the file followed, by the graph that was traced at the beginning.
- *weights*: how many are in the file by name, without those that have no effect in evaluation (*unused*). *tied*: how many of those names
  stand for how many tensors; each such tensor was changed alone, and the file followed.
- *1, 2, 5*: whether batches of 1, 2 and 5 images are answered as the model itself answers them after all its weights have changed, and the
  worst `max|ONNX - PyTorch| / max|PyTorch|`; up to 1e-3 is the same answer.
- *sample*: the sides of the image that each version is checked with, where one that is smaller than the model's own shows as much (see
  [exporters/any_size.py](../exporters/any_size.py)).
- *attach, version*: seconds to export and prove the graph, and to write and check a version, on two busy cores: orders of magnitude.
"""
THEIRS = "\n## detectron2\n"  # from here on the page is detectron2_models.py's
COLUMNS = ("model", "format", "MB", "refresh", "weights", "unused", "tied", "1, 2, 5", "sample", "attach, s", "version, s")

TIMM = "## timm\n\nThe model with the fewest parameters of each of timm's architectures."
TORCHVISION = "## torchvision\n\nOne small model of each family of classifiers."
TRANSFORMERS = (
    "## transformers\n\nImage classifiers built from a configuration smaller than the published ones, for images of 64 x 64 where it says "
    "a size."
)

TORCHVISION_MODELS = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2"),
)
_VIT = {"image_size": 64, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
_SWIN = {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 2, 1, 1]}
TRANSFORMERS_MODELS: dict[str, dict[str, Any]] = {
    "beit": {**_VIT, "use_relative_position_bias": True, "use_absolute_position_embeddings": True},
    "bit": {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 2, 1, 1], "num_groups": 8},
    "clip": {"vision_config": {**_VIT, "patch_size": 16}},
    "convnext": {"image_size": 64, **_STAGES},
    "convnextv2": {"image_size": 64, **_STAGES},
    "cvt": {"embed_dim": [16, 48, 96], "depth": [1, 2, 3]},
    "data2vec-vision": {**_VIT, "use_relative_position_bias": True},
    "deit": _VIT,
    "dinov2": _VIT,
    "dinov2_with_registers": _VIT,
    "donut-swin": {**_SWIN, "image_size": [64, 64]},
    "efficientnet": {"image_size": 64, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
    "focalnet": {"image_size": 64, "embed_dim": 16, "depths": [1, 2], "focal_levels": [2, 2], "focal_windows": [3, 3]},
    "hgnet_v2": {"image_size": 64},
    "hiera": {"image_size": [224, 224], "embed_dim": 16, "depths": [1, 1, 2, 1]},
    "ijepa": {**_VIT, "patch_size": 16},
    "levit": {"image_size": 64},
    "metaclip_2": {"vision_config": {**_VIT, "patch_size": 16}},
    "mobilenet_v1": {"image_size": 64, "depth_multiplier": 0.5},
    "mobilenet_v2": {"image_size": 64, "depth_multiplier": 0.35},
    "mobilevit": {"image_size": 64},
    "mobilevitv2": {"image_size": 64, "width_multiplier": 0.5},
    "poolformer": {"hidden_sizes": [16, 24, 32, 48]},
    "pvt": {"image_size": 64, "hidden_sizes": [16, 32, 80, 96]},
    "pvt_v2": {"image_size": 64, "hidden_sizes": [16, 32, 80, 96]},
    "regnet": {"embedding_size": 8, "groups_width": 8, **_STAGES},
    "resnet": {"embedding_size": 8, **_STAGES},
    "siglip": {"vision_config": {**_VIT, "patch_size": 16}},
    "swiftformer": {"image_size": 64},
    "swin": _SWIN,
    "swinv2": _SWIN,
    "textnet": {},
    "vit": _VIT,
    "vit_msn": _VIT,
}


def sections() -> dict[str, list[str]]:
    """Return the models to try, as ``framework/name``, under their headings."""
    lines = (HERE / "timm_models.txt").read_text("utf-8").splitlines()
    return {
        TIMM: ["timm/" + line.split()[1] for line in lines if not line.startswith("#")],
        TORCHVISION: [f"torchvision/{name}" for name in TORCHVISION_MODELS],
        TRANSFORMERS: [f"transformers/{name}" for name in TRANSFORMERS_MODELS],
        finders.HEADING: finders.SPECS,
    }


def create(spec: str) -> Any:
    """Make a model with random weights."""
    framework, _, name = spec.partition("/")
    if framework == "timm":
        import timm

        return timm.create_model(name)
    if framework == "torchvision":
        import torchvision

        return torchvision.models.get_model(name, weights=None)
    import transformers

    config = transformers.AutoConfig.for_model(name, num_labels=10, **TRANSFORMERS_MODELS.get(name, {"image_size": 64}))
    config.architectures = []  # of several classes the first
    return transformers.AutoModelForImageClassification.from_config(config)


def one(spec: str) -> dict[str, Any]:
    """Export a model, change its weights, publish a version, and compare that with the model."""
    import numpy as np
    import torch

    from exportweb.exporters import golden
    from exportweb.exporters.exporter import Exporter
    from exportweb.exporters.image_model import ImageModel
    from exportweb.runtime.session import OnnxSession

    torch.manual_seed(0)
    model = create(spec)
    start = time.perf_counter()
    exporter = Exporter(model)
    attach, traced = time.perf_counter() - start, exporter.graph
    with torch.no_grad():
        for tensor in exporter.weights.tensors:
            if tensor.is_floating_point():
                tensor.add_((tensor == 0) * 0.01 * torch.rand_like(tensor)).mul_(0.9 + 0.2 * torch.rand_like(tensor))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "version.onnx"
        start = time.perf_counter()
        with path.open("wb") as file:
            exporter.write(file)
        version = time.perf_counter() - start
        size, session = path.stat().st_size / 1e6, OnnxSession(path, device="cpu")
        # The model itself answers, not the copy that was exported.
        image = exporter.description.input
        itself = ImageModel(model.train().eval(), image)
        worst = 0.0
        for batch in (1, 2, 5):
            images = golden.mosaic(image, batch=batch)
            with torch.no_grad():
                expected = itself(torch.from_numpy(images)).numpy()
            worst = max(worst, float(np.abs(session.run({"image": images})["logits"] - expected).max() / np.abs(expected).max()))
    graph = exporter.graph
    floating = {name: i for name, i in graph.names.items() if exporter.weights.tensors[i].is_floating_point()}
    tied = [i for i in floating.values() if list(floating.values()).count(i) > 1]
    return {
        "mb": size,
        "refresh": finders.how_refreshed(exporter, traced),
        "weights": len(floating.keys() - graph.template.missing),
        "unused": len(floating.keys() & graph.template.missing),
        "tied": f"{len(tied)} of {len(set(tied))}" if tied else "",
        "worst": worst,
        "sample": graph.sample.shape[1] if graph.sample.shape[1] < image.height else "",
        "attach": attach,
        "version": version,
    }


def row(spec: str, timeout: int) -> str:
    """Run `one` in a process of its own; return its row, with what does not hold in bold."""
    command = [sys.executable, __file__, "--one", spec, "--timeout", str(timeout)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode == -signal.SIGXCPU:
        found = {"error": f"took more than {timeout} s of processor time"}
    elif done.returncode < 0:
        found = {"error": f"ended by {signal.Signals(-done.returncode).name}"}  # SIGKILL most often for want of memory
    elif done.returncode or not lines:
        found = {"error": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    else:
        found = json.loads(lines[-1])
    if spec in finders.SPECS:
        cells = finders.cells(found)
    elif "error" in found:
        cells = ["**none**", "", f"**{found['error'][:200].replace('|', '/')}**", "", "", "", "", "", "", ""]
    else:
        cells = [
            "ONNX",
            f"{found['mb']:.1f}",
            found["refresh"],
            str(found["weights"]),
            str(found["unused"] or ""),
            found["tied"],
            f"{found['worst']:.0e}" if found["worst"] <= 1e-3 else f"**{found['worst']:.0e}**",
            str(found["sample"]),
            f"{found['attach']:.1f}",
            f"{found['version']:.2f}",
        ]
    return f"| {spec} | " + " | ".join(cells) + " |"


def read() -> dict[str, str]:
    """Return the rows of the tables as they stand, by model."""
    lines = TABLE.read_text("utf-8").splitlines() if TABLE.exists() else []
    return {line.split()[1]: line for line in lines if line.startswith("| ") and "/" in line.split()[1]}


def write(rows: dict[str, str]) -> None:
    """Write the tables, as far as they go."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in MEASURED)
    text = INTRODUCTION.format(python=f"Python {sys.version_info.major}.{sys.version_info.minor}", versions=versions)
    for heading, specs in sections().items():
        here = [rows[spec] for spec in specs if spec in rows]
        held = sum("**" not in line for line in here)
        how, columns = (" with a batch of any size", COLUMNS) if specs != finders.SPECS else ("", finders.COLUMNS)
        text += f"\n{heading} **{held} of {len(specs)}** export to ONNX{how} and are refreshed by name.\n\n"
        text += "\n".join([f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", *here]) + "\n"
    before = TABLE.read_text("utf-8") if TABLE.exists() else ""
    if THEIRS in before:
        text += before[before.index(THEIRS) :]
    TABLE.write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="only these, though they be in the table already or belong to no table")
    parser.add_argument("--fresh", action="store_true", help="forget the table")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds of processor time for each, however busy the machine is")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        resource.setrlimit(resource.RLIMIT_CPU, (options.timeout, resource.RLIM_INFINITY))
        print(json.dumps((finders.one if options.one in finders.SPECS else one)(options.one)))
        return
    if options.fresh:
        write({})
    listed = [spec for specs in sections().values() for spec in specs]
    held = {spec for spec, line in read().items() if "**" not in line}
    for spec in options.models or [spec for spec in listed if spec not in held]:
        line = row(spec, options.timeout)
        print(line, flush=True)
        if spec in listed:
            write({**read(), spec: line})


if __name__ == "__main__":
    main()
