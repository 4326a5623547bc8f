"""What a training loop pays for being published: the call, and the epoch beside which a version is written.

    python benchmarks/stall.py [MODEL] [calls | epochs] [cuda]

The call is compared with a plain copy of the weights, with saving them, and with exporting afresh; an epoch of real training beside which
the publisher works with the same epoch without it, turn by turn. Training wants all cores all the time here, so that whatever publishing
takes is taken from it: what it had of a core meanwhile, what a version needs in all, and how many of the epochs of a training without a
pause become versions, are the last figures. With `cuda` the model is on a GPU, and what is timed ends when the GPU has done it.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import timm
import torch
from torch.nn import functional as F

from exportweb import export_hook
from exportweb.exporters.pace import ran_and_waited
from measure import interleaved, ratio, table

EPOCH = {"cpu": 5.0, "cuda": 1.0}  # seconds of training between two versions
PAIRS = 41  # on shared cores an epoch alone takes a tenth more or less than the one before
WARM = 2  # pairs in which memory is touched for the first time
ROW = 24  # epochs one after the other
BATCH = {"cpu": 8, "cuda": 64}


def main() -> None:
    name, *parts = sys.argv[1:] or ["resnet50"]
    device = "cuda" if "cuda" in parts else "cpu"
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).to(device)
    with tempfile.TemporaryDirectory() as folder, export_hook(model, to=Path(folder) / "store", keep=2) as hook:
        if "epochs" not in parts:
            calls(name, model, hook, Path(folder), device)
        if "calls" not in parts:
            epochs(name, model, hook, device)


def calls(name: str, model: torch.nn.Module, hook, folder: Path, device: str) -> None:
    """How long the training thread stands still for one version."""
    tensors = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    copies = [t.detach().clone() for t in tensors]
    image = torch.zeros(2, 3, 224, 224, device=device)

    @torch.no_grad()
    def copy() -> None:
        torch._foreach_copy_(copies, tensors)
        arrive(device)

    def export() -> None:
        torch.onnx.export(model.eval(), (image,), folder / "fresh.onnx", dynamo=True, external_data=False, verbose=False)
        model.train()

    contenders = {
        "copying the weights": copy,
        "hook.step()": hook.step,
        "torch.save to memory": lambda: torch.save(model.state_dict(), io.BytesIO()),
        "torch.save to a file": lambda: torch.save(model.state_dict(), folder / "state.pt"),
    }
    seconds = interleaved(contenders, rounds=15, between=hook.flush)
    seconds |= interleaved({"torch.onnx.export": export}, rounds=2)
    rows = []
    for label, values in seconds.items():
        against = f"{ratio(values, seconds['copying the weights'][: len(values)]):.2f}x"
        rows.append([label, f"{1e3 * statistics.median(values):.1f}", f"**{against}**" if label == "hook.step()" else against])
    table(f"What the training loop waits for ({name}{', on a GPU' if device == 'cuda' else ''})", ["call", "ms", "against a copy"], rows)


def epochs(name: str, model: torch.nn.Module, hook, device: str) -> None:
    """How much longer an epoch takes beside which a version is written, and how long after its epoch that is in the store."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    batch = BATCH[device]
    images, labels = torch.rand(batch, 3, 224, 224, device=device), torch.randint(0, 10, (batch,), device=device)

    def train(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        arrive(device)
        return time.perf_counter() - start

    model.train()
    train(2)
    steps = max(1, round(EPOCH[device] / (train(2) / 2)))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    shares, needs = [], []
    for pair in range(-WARM, PAIRS):
        if pair == 0:
            seconds, shares, needs = {True: [], False: []}, [], []
        for published in (True, False) if pair % 2 else (False, True):
            start, taken = time.perf_counter(), publishing()
            if published:
                hook.step()
            train(steps)
            seconds[published].append(time.perf_counter() - start)
            if published:
                shares.append((publishing() - taken) / seconds[published][-1])
                hook.flush()
                needs.append(publishing() - taken)
        print(
            f"{seconds[False][-1]:.2f} s without, {seconds[True][-1]:.2f} with, {shares[-1]:.3f} of a core, {needs[-1]:.2f} s", flush=True
        )
    before = max(hook.store.versions())
    for _ in range(ROW):
        hook.step()
        train(steps)
    versions = max(hook.store.versions()) - before
    cells = [f"{statistics.median(values):.2f}" for values in (seconds[False], seconds[True])]
    error = 1.25 * statistics.stdev(w / wo for w, wo in zip(seconds[True], seconds[False], strict=True)) / PAIRS**0.5  # of a median
    found = [
        f"**{ratio(seconds[True], seconds[False]):.3f}x** ± {error:.3f}",
        f"{100 * statistics.median(shares):.1f} %",
        f"{statistics.median(needs):.2f}",
        f"{versions} of {ROW}",
    ]
    header = ["training", "without, s", "with, s", "with / without", "of one core, publishing had", "of one core, a version needs, s"]
    header += ["epochs in a row that became versions"]
    title = "An epoch beside which a version is written"
    table(
        f"{title}, on a GPU" if device == "cuda" else title,
        header,
        [[f"{name}, {steps} steps of {batch} images", *cells, *found]],
    )


def arrive(device: str) -> None:
    """Wait until the GPU has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def publishing() -> float:
    """Seconds for which the threads that publish have run so far."""
    return ran_and_waited(thread.native_id for thread in threading.enumerate() if thread.name.startswith("exportweb"))[0]


if __name__ == "__main__":
    main()
