"""The command itself, and what each command does before it begins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exportweb import __version__
from scripts import exportweb as run
from scripts import fails

COMMANDS = ["serve", "export", "predict", "evaluate", "inspect", "card", "versions", "rollback", "pin"]


def test_help_lists_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()] == COMMANDS
    assert run("-h").stdout == done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"exportweb {command}" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    """What makes it answer at once."""
    code = """if True:
        import sys
        from exportweb.cli import main
        try:
            main(["--help"])
        except SystemExit:
            pass
        print(sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in json.loads(done.stdout.splitlines()[-1].replace("'", '"')) if not name.startswith("_")}
    assert loaded <= {"blake3", "click", "exportweb", "msgspec", "typing_extensions", "distutils-precedence", "sitecustomize"}, loaded


def test_version() -> None:
    assert run("--version").stdout == f"exportweb, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("train")
    assert done.returncode == 2
    assert "No such command 'train'" in done.stderr


def test_export_reads_labels_before_it_starts(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\n\ndog\n")
    fails("export", "timm/resnet18", "-o", tmp_path / "m.onnx", "--labels", labels, says="one label per line")


def test_export_without_torch_says_what_to_install(tmp_path: Path) -> None:
    """In an environment that has no torch: here, one that can't find it."""
    code = """if True:
        import sys
        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "timm"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, NoTorch())
        from exportweb.cli import main
        main(["export", "timm/resnet18", "-o", sys.argv[1]])
    """
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'pip install "exportweb[export]"' in done.stderr
    assert "Traceback" not in done.stderr
