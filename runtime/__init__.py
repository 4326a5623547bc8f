"""The runtime: artifact in, predictions out, hot swaps. No HTTP, no PyTorch."""

from __future__ import annotations

from exportweb.runtime.foreign import card_for_onnx
from exportweb.runtime.history import Event, VersionInfo
from exportweb.runtime.jobs import Answer, Job
from exportweb.runtime.predictor import Predictor
from exportweb.runtime.served import ServedModel
from exportweb.runtime.session import available_devices
from exportweb.runtime.tasks import File
from exportweb.runtime.workers import Workers

__all__ = ["Answer", "Event", "File", "Job", "Predictor", "ServedModel", "VersionInfo", "Workers", "available_devices", "card_for_onnx"]
