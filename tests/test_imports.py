"""What may import what: the lines between the rooms."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving import Artifacts

ROOT = Path(__file__).parents[1]

# What each room may never import at all, not even inside a function.
FORBIDDEN = {
    "runtime": {
        "exportweb.exporters",
        "exportweb.web",
        "starlette",
        "uvicorn",
        "timm",
        "onnx",
        "onnxscript",
        "detectron2",
    },
    "exporters": {"exportweb.web", "starlette", "uvicorn"},
    "web": {"exportweb.exporters", "torch", "timm", "onnx", "onnxruntime", "detectron2"},
    "exportweb": {"torch", "timm", "onnx", "onnxruntime", "starlette", "uvicorn", "numpy", "PIL"},
}


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter; return the names of all modules that it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    """The dotted names that the nodes under this one import, each with its parents."""
    found: set[str] = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return found


@pytest.mark.parametrize("path", [path for room in FORBIDDEN for path in files(room)], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    forbidden = FORBIDDEN[room]
    if path.name == "torchscript.py":
        forbidden = forbidden - {"torch"}
    assert imports(ast.parse(path.read_text("utf-8"))) & forbidden == set()


@pytest.mark.parametrize("path", files("exportweb"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shared_words_import_other_rooms_only_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    top = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)]  # if TYPE_CHECKING
    found = imports(ast.Module(top, []))
    assert found & {"exportweb.exporters", "exportweb.runtime", "exportweb.web"} == set()


@pytest.mark.parametrize("path", files("web"), ids=lambda path: path.name)
def test_web_uses_the_runtimes_public_names_only(path: Path) -> None:
    from exportweb import runtime

    found = {name for name in imports(ast.parse(path.read_text("utf-8"))) if name.startswith("exportweb.runtime.")}
    assert found <= {f"exportweb.runtime.{name}" for name in runtime.__all__}


@pytest.mark.parametrize("path", [path for room in FORBIDDEN for path in files(room)], ids=lambda path: str(path.relative_to(ROOT)))
def test_decoders_are_made_at_import(path: Path) -> None:
    """Two threads that each are the first to decode a Struct crash in msgspec (0.22): none is made by a call in a function."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = [node for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(outer)]
    for call in (node for node in inside if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name != "msgspec.json.Decoder"
        assert not (name == "msgspec.json.decode" and any(each.arg == "type" for each in call.keywords))


def test_importing_exportweb_costs_next_to_nothing() -> None:
    loaded = modules_after("import exportweb")
    heavy = {"numpy", "PIL", "onnxruntime", "starlette", "uvicorn", "torch", "timm", "onnx", "click", "asyncio"}
    assert loaded & heavy == set()


def test_serving_needs_no_training_framework() -> None:
    """All that `exportweb serve model.onnx` loads."""
    loaded = modules_after(
        "import exportweb.cli.serve, exportweb.cli.predict, exportweb.cli.inspect, exportweb.runtime, exportweb.web\n"
        "import exportweb.runtime.tasks.image_classification"
    )
    assert {"starlette", "uvicorn", "numpy", "PIL"} <= loaded
    assert "prometheus_client" not in loaded  # the page of metrics brings it, when it is asked for
    heavy = {"torch", "torchvision", "timm", "onnx", "onnxscript", "detectron2", "pandas", "scipy", "sympy"}
    assert loaded & heavy == set()


def test_a_server_that_answers_has_loaded_none_either(tmp_path: Path, artifacts: Artifacts) -> None:
    """Not only its imports: one that has loaded a model and answered, too."""
    path = artifacts.write(tmp_path / "colours.onnx")
    loaded = modules_after(
        "import io\n"
        "from PIL import Image\n"
        "from exportweb.runtime import Predictor\n"
        "out = io.BytesIO(); Image.new('RGB', (9, 9)).save(out, 'PNG')\n"
        f"print(Predictor.load({str(path)!r}).predict(out.getvalue()))"
    )
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "torchvision", "timm", "onnx", "onnxscript", "starlette", "uvicorn"} == set()
