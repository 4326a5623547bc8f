"""TorchScript, as the rest of the runtime sees it: what `runtime.session` is for ONNX Runtime. The one module here that imports torch.

A TorchScript file is a program. Loading one runs code of its own choosing, with all the rights of this process, so that whoever calls this
has to know where the file comes from (see `Predictor.load`).
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from exportweb.card import ROLES, UNSAMPLED, Card, ImageInput
from exportweb.errors import ArtifactError, CardError, DeviceError
from exportweb.runtime import tensors
from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.session import Array, Port, parse_device

log = logging.getLogger(__name__)


class TorchScriptSession:
    """A TorchScript module on a device, ready to run.

    It has the interface of `OnnxSession`, and `device` and `threads` mean the same. What a module calls its inputs and outputs, and what
    shapes they have, only the `card` says: its golden sample answers in the order of its outputs. A batch of more than one image is only
    for a module whose golden sample is one.

    Raises `DeviceError` if PyTorch isn't installed or can't have the device, `ArtifactError` if the file can't be loaded, `CardError` if
    the card doesn't say enough.
    """

    def __init__(self, path: str | os.PathLike[str], *, card: Card, device: str = "auto", threads: int = 0) -> None:
        self._torch = _torch()
        self.threads = threads or usable_cpus()
        self.inputs, self.outputs = _ports(card)
        sample = {name: tensors.decode(tensor) for name, tensor in card.golden.inputs.items()} if card.golden else {}
        kind, index = parse_device(device)
        cuda = bool(self._torch.cuda.is_available())
        if kind == "cuda" and not cuda:
            raise DeviceError(
                f"device={device!r} was asked for, but the PyTorch {self._torch.__version__} installed here can't use CUDA; "
                "use device='cpu', or install one that can."
            )
        self.device = f"cuda:{index}" if cuda and kind != "cpu" else "cpu"
        self._module = self._load(path)
        if self.device != "cpu":  # a module that was traced on the CPU may make tensors of its own there
            try:
                self.run(sample)
            except ArtifactError as error:
                if kind == "cuda":
                    raise DeviceError(f"{path} can't run on {self.device}: it was traced for the CPU. Use device='cpu'.") from error
                self.device = "cpu"
                self._module = self._load(path)
                log.info("%s was traced for the CPU, so it runs there.", path)
        self.providers: tuple[str, ...] = ("TorchScript",)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the module and return these of its outputs (all of them by default), by name; bfloat16 becomes float32.

        Raises `ArtifactError` if PyTorch can't run it on these arrays, or if it answers something other than its card says.
        """
        torch = self._torch
        if self.device == "cpu" and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)  # of this thread, and of those that it starts
        try:
            with torch.inference_mode():
                given = [self._tensor(inputs[port.name]) for port in self.inputs]
                answer = [self._array(tensor) for tensor in _flat(self._module(*given))]
        except Exception as error:  # whatever a program raises
            got = ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in inputs.items())
            log.warning("PyTorch failed to run on %s: %s", got, error)
            raise ArtifactError(f"PyTorch could not run the model on {got}.") from error
        names = [port.name for port in self.outputs]
        if len(answer) != len(names):
            raise ArtifactError(f"The model answered {len(answer)} arrays; its card says {len(names)}: {', '.join(names)}.")
        by_name = dict(zip(names, answer, strict=True))
        return by_name if outputs is None else {name: by_name[name] for name in outputs}

    def _load(self, path: str | os.PathLike[str]) -> Any:
        """Load a file, with torchvision's operators if it needs them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated
            try:
                return self._torch.jit.load(os.fspath(path), map_location=self.device).eval()
            except Exception as error:
                if "torchvision::" not in str(error) or sys.modules.get("torchvision"):
                    raise ArtifactError(f"{path} can't be loaded: {_reason(error, self._torch)}.") from error
        try:
            importlib.import_module("torchvision")
        except ImportError as error:
            raise DeviceError(f'{path} uses operators of torchvision, which is missing: pip install "exportweb[torchscript]"') from error
        return self._load(path)

    def _tensor(self, array: Array) -> Any:
        return self._torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)

    def _array(self, tensor: Any) -> Array:
        array: Array = (tensor.float() if tensor.dtype == self._torch.bfloat16 else tensor).cpu().numpy()
        return array


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise DeviceError(
            'A TorchScript file needs PyTorch, which is not installed: pip install "exportweb[torchscript]". An ONNX file needs none.'
        ) from error


def _ports(card: Card) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return a module's inputs and outputs as its card and golden sample tell them."""
    golden, image = card.golden, card.input
    if golden is None:
        raise CardError("The card has no golden sample; without one nothing says what shapes a TorchScript module answers with.")
    names = [image.name] if image else [spec.name for spec in card.inputs]
    unsaid = {
        output.name: Port(output.name, "float32", (None,) * ROLES[output.role]) for output in card.outputs if output.role in UNSAMPLED
    }
    missing = (set(names) - set(golden.inputs)) | ({output.name for output in card.outputs} - set(golden.outputs) - set(unsaid))
    if missing:
        raise CardError(
            f"The card's golden sample lacks {', '.join(map(repr, sorted(missing)))}, which a TorchScript module's should have."
        )
    if image:
        batch = None if golden.inputs[image.name].shape[0] > 1 else 1
        inputs = [Port(image.name, image.dtype, (batch, *_sides(image)))]
    else:
        inputs = [Port(spec.name, spec.dtype, spec.shape) for spec in card.inputs]
    outputs = []
    for output in card.outputs:
        if output.name not in golden.outputs:
            outputs.append(unsaid[output.name])
            continue
        tensor = golden.outputs[output.name]
        # Only where all images have one size have all answers but for their first dimension surely the sample's.
        rest: tuple[int | None, ...] = tensor.shape[1:] if image and image.height else (None,) * len(tensor.shape[1:])
        outputs.append(Port(output.name, tensor.dtype, (None, *rest) if tensor.shape else ()))
    return tuple(inputs), tuple(outputs)


def _sides(image: ImageInput) -> tuple[int | None, ...]:
    height, width = image.height or None, image.width or None
    return (height, width, image.channels) if image.layout == "NHWC" else (image.channels, height, width)


def _flat(answer: Any) -> Iterator[Any]:
    """Yield the tensors in what a module answered: one, or tuples and lists of them."""
    if isinstance(answer, tuple | list):
        for part in answer:
            yield from _flat(part)
    else:
        yield answer


def _reason(error: Exception, torch: Any) -> str:
    """Say what PyTorch makes of a file; its own text names places inside the file, and goes to the log."""
    text = str(error)
    log.info("PyTorch can't load it: %s", text)
    if "Unknown builtin op" in text or "unknown op" in text.lower():
        return f"it uses an operator that this PyTorch {torch.__version__} does not have: {text.strip().splitlines()[0][:120]}"
    return f"PyTorch {torch.__version__} refuses it ({type(error).__name__})"
