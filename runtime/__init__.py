"""The runtime: artifact in, predictions out, hot swaps. No HTTP, no PyTorch."""

from __future__ import annotations

from exportweb.runtime.cpus import usable_cpus
from exportweb.runtime.foreign import card_for_onnx
from exportweb.runtime.history import Event, VersionInfo
from exportweb.runtime.jobs import Answer, Handed, Job, OtherPreparation
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.preparation import described
from exportweb.runtime.reader import Prepared
from exportweb.runtime.served import ServedModel
from exportweb.runtime.session import available_devices
from exportweb.runtime.tasks import File
from exportweb.runtime.workers import Workers

__all__ = [
    "Answer",
    "Event",
    "File",
    "Handed",
    "Job",
    "OtherPreparation",
    "Predictor",
    "Prepared",
    "ServedModel",
    "VersionInfo",
    "Workers",
    "available_devices",
    "card_for_onnx",
    "described",
    "usable_cpus",
]
