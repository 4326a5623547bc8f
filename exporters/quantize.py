"""From a float32 graph to one that computes in int8, by ONNX Runtime's own static quantisation.

Weights become int8, channel by channel, and activations uint8, as ONNX Runtime's guide says for x64. Weights keep to 7 bits: without VNNI
the sum of two 8-bit products saturates, which moved logits by 0.4 of their range on an AVX2 CPU, and a file can't know on which CPU it will
run. What is quantised is where the time goes, convolutions and products with weights; the sums and products of activations in between
made a ViT's error six times as large, and saved next to nothing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.quant_utils import QuantFormat, QuantType
from onnxruntime.quantization.quantize import quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from exportweb.errors import ExportError
from exportweb.exporters.calibration import Progress

TOLERANCE = 0.1
"""How far the answers of two machines to one int8 graph may lie apart: where one rounds up and the other down, a whole step is between."""

_OPERATORS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]


def quantize(model: ModelProto, images: Sequence[NDArray[Any]], *, input: str, progress: Progress | None = None) -> bytes:
    """Return the quantised graph as a serialised ModelProto, in QDQ form: float32 operators between the steps to int8 and back.

    `images` are prepared ones, without a batch dimension, for the graph's input of this name. Raises `ExportError` with ONNX Runtime's
    reason if it can't quantise the graph.
    """
    with tempfile.TemporaryDirectory(prefix="exportweb-") as folder, _quiet():
        original, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("original", "prepared", "quantised"))
        onnx.save(model, original)
        try:
            # Folds batch normalisation into the convolutions. The symbolic shapes that it could add aren't needed, and fail on some graphs.
            quant_pre_process(original, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                quantised,
                _Reader(images, input, progress),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ExportError(f"ONNX Runtime can't quantise this model ({type(error).__name__}: {str(error)[:300]}).") from error
        return quantised.read_bytes()


class _Reader(CalibrationDataReader):
    """Gives the images one by one."""

    def __init__(self, images: Sequence[NDArray[Any]], input: str, progress: Progress | None) -> None:
        self._images, self._input, self._progress, self._given = images, input, progress, 0

    def get_next(self) -> dict[str, NDArray[Any]] | None:  # type: ignore[override]
        if self._progress is not None and self._given:
            self._progress("calibrating", self._given, len(self._images))
        if self._given == len(self._images):
            return None
        self._given += 1
        return {self._input: self._images[self._given - 1][None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's notes about its own internals off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
