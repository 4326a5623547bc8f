"""The public surface: a name appears or goes on purpose, or this fails."""

from __future__ import annotations

import exportweb
import exportweb.runtime
import exportweb.web


def test_exportweb() -> None:
    assert exportweb.__all__ == [
        "Card",
        "ExportHook",
        "ExportwebError",
        "Store",
        "__version__",
        "errors",
        "export",
        "export_hook",
    ]


def test_runtime() -> None:
    assert sorted(exportweb.runtime.__all__) == [
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


def test_web() -> None:
    assert exportweb.web.__all__ == ["create_app", "run", "suitable"]


def test_every_public_name_is_there_and_documented() -> None:
    for package in (exportweb, exportweb.runtime, exportweb.web):
        for name in package.__all__:
            value = getattr(package, name)
            assert isinstance(value, str) or value.__doc__, f"{package.__name__}.{name}"
