"""Proof that new weights can be put into a graph by name.

That every name is in the graph proves nothing by itself: an optimiser can leave a weight there under its name and use a folded copy, and a
module can have remembered what it computed from a weight. Nor do equal numbers, if both sides forgot the same weight. So both are
asked: each weight that matters is in the graph, and after all of them changed the graph still answers as PyTorch does. A tied weight is
in the graph if one of its names is, yet another of its uses may not be: each is changed alone, and the graph must follow all the way.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from exportweb.errors import ArtifactError, ExportError
from exportweb.exporters import golden
from exportweb.exporters.image_model import Detector, Outputs
from exportweb.exporters.template import Template
from exportweb.exporters.weights import Snapshot
from exportweb.runtime.session import OnnxSession

if TYPE_CHECKING:
    from exportweb.exporters.traced import Traced

_NOISE = 1e-4  # what the order alone in which sums are taken may make, as a part of the largest score


def disprove(graph: Traced, snapshot: Snapshot) -> str | None:
    """Return why new weights can't be put into a graph; None if they can.

    `snapshot` holds the model's weights; they are changed in place. Raises `ExportError` if the graph is for images of any size and holds
    for one only.
    """
    graph.borrow(snapshot)
    if not graph.description.batch:
        return _retraced(graph, snapshot)
    batch = np.repeat(graph.sample, 3, axis=0)
    batch[1] = 255 - batch[1]
    batch[2] = batch[2][::-1]
    _any_size(graph, snapshot, batch)
    # Before anything else is changed: does a weight that isn't in the graph matter?
    before = graph.eager(batch)
    missing = [name for name, i in graph.names.items() if name in graph.template.missing and snapshot.tensors[i].is_floating_point()]
    absent = {graph.names[name] for name in missing}
    if absent:
        _perturb(snapshot, absent)
        after = graph.eager(batch)
        if not all(np.array_equal(before[name], after[name], equal_nan=True) for name in before):
            return f"{missing[0]} (of {len(missing)} such) is not in the graph under its own name"
    for i, names in _tied(graph, snapshot, absent).items():
        kept = snapshot.tensors[i].clone()
        _perturb(snapshot, {i}, by=1.0)
        expected = graph.eager(batch)
        got = graph.answer(snapshot, batch)
        snapshot.tensors[i].copy_(kept)
        if not _follows(got, expected, before):
            return f"{' and '.join(names[:2])} are one tensor, but not all that it does is in the graph"
    present = set(graph.names.values()) - absent
    off = _loses(graph, snapshot, present, batch)
    if off is not None and _settle(graph.twin, batch):
        off = _loses(graph, snapshot, present, batch, by=0.01)
    return None if off is None else f"with other weights in it, the graph's answers were {off:.1e} off"


def _loses(graph: Traced, snapshot: Snapshot, present: set[int], batch: np.ndarray, *, by: float = 0.1) -> float | None:
    """Change all weights that are in a graph; return how far its answers are from PyTorch's then, None if it follows."""
    before = graph.eager(batch)
    _perturb(snapshot, present, by=by)
    expected = graph.eager(batch)
    with tempfile.TemporaryDirectory(prefix="exportweb-") as folder:
        path = Path(folder) / "proof.onnx"
        assert isinstance(graph.template, Template)
        with path.open("wb") as file:
            file.writelines(graph.template.fill(snapshot.tensors))
        got = OnnxSession(path, device="cpu", threads=1).run({"image": batch}, graph.outputs)
    return None if _follows(got, expected, before) else golden.difference(got, expected)


@torch.no_grad()
def _settle(twin: nn.Module, images: np.ndarray) -> bool:
    """Give the batch normalisations of a network these images' statistics, as training would; return whether there are any.

    Without them the numbers of some networks grow from layer to layer until they magnify what is rounded, and PyTorch's own float32 and
    float64 are apart: EfficientNetV2's, for one.
    """
    norms = [module for module in twin.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]
    kept = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        twin(torch.from_numpy(images))
    except Exception:  # whatever a model raises
        return False
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.eval()
    return bool(norms)


def _any_size(graph: Traced, snapshot: Snapshot, images: np.ndarray) -> None:
    """Raise `ExportError` unless a graph for images of any size answers some of a size that was not traced as PyTorch does."""
    if graph.description.input.height:
        return
    upended = np.ascontiguousarray(images.swapaxes(1, 2))
    off = _off(graph, snapshot, upended)
    if off is not None:
        traced, other = (f"{each.shape[1]} x {each.shape[2]}" for each in (images, upended))
        raise ExportError(
            f"Images of {graph.description.architecture} may have any size, but its graph, traced with {traced} pixels, doesn't hold for "
            f"{other}: {off}. If one size will do, show images of that size, where such a model takes that: example=images."
        )


def _off(graph: Traced, snapshot: Snapshot, images: np.ndarray) -> str | None:
    """Return how the graph's answer to images in which something is found differs from PyTorch's; None if it doesn't."""
    with graph.twin.relaxed(torch.from_numpy(images)) if isinstance(graph.twin, Detector) else contextlib.nullcontext():
        try:
            got = graph.answer(snapshot, images)
        except (ArtifactError, RuntimeError):  # the latter of TorchScript
            return "it can't be run"
        return golden.disagreement(got, graph.eager(images), tolerance=graph.tolerance)


def _retraced(graph: Traced, snapshot: Snapshot) -> str | None:
    """Trace the model again with other weights: the graph has to be the same to the byte but for those. And they have to be followed.

    Objects come and go with the weights, so their places and scores show only roughly whether each weight is in use.
    """
    _perturb(snapshot, set(graph.names.values()))
    if not graph.retraced(snapshot):
        return "traced again with other weights, it is another graph"
    off = _off(graph, snapshot, graph.sample)
    if off is not None:
        return f"with other weights in it, the graph's answers are not PyTorch's: {off}"
    _any_size(graph, snapshot, graph.sample)
    return None


def _follows(got: Outputs, expected: Outputs, before: Outputs) -> bool:
    """Whether ONNX Runtime's answers moved as PyTorch's did, from `before` to `expected`, however small both are.

    Objects, which come in another order where scores are nearly the same, have to be those that PyTorch finds.
    """
    if "boxes" in expected:
        return golden.disagreement(got, expected, tolerance=_NOISE) is None
    return all(golden.near(got[name], expected[name], before[name], noise=_NOISE) for name in expected)


def _tied(graph: Traced, snapshot: Snapshot, absent: set[int]) -> dict[int, list[str]]:
    """Return the floating tensors in the graph that go by several names, with those."""
    groups: dict[int, list[str]] = {}
    for name, i in graph.names.items():
        if snapshot.tensors[i].is_floating_point() and i not in absent:
            groups.setdefault(i, []).append(name)
    return {i: names for i, names in groups.items() if len(names) > 1}


@torch.no_grad()
def _perturb(snapshot: Snapshot, which: set[int], *, by: float = 0.1) -> None:
    """Change each floating number by half of that part to all of it, up or down, and what is zero too.

    What is positive (a variance) stays so, and on average nothing grows, which a deep model would turn into infinity.
    """
    random = torch.Generator().manual_seed(0)
    for i in sorted(which):
        tensor = snapshot.tensors[i]
        if tensor.is_floating_point():
            zero = tensor == 0
            change = torch.rand(tensor.shape, generator=random) - 0.5
            tensor.mul_(1 + by * (change + 0.5 * change.sign()))
            tensor.add_(zero * 0.01 * torch.rand(tensor.shape, generator=random))
