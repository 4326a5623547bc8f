"""The commands on a TorchScript file, which is code: who trusts it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripted import script
from scripts import exportweb as run
from serving import Server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "colours.torchscript"
    path.write_bytes(script(version=4, epoch=3))
    return path


def test_inspect_reads_the_card_and_runs_nothing(file: Path) -> None:
    done = run("inspect", file)
    assert done.returncode == 0, done.stderr
    assert "colours, version 4" in done.stdout
    assert "TorchScript, which is code" in done.stdout
    assert "verified" in done.stdout


@pytest.mark.parametrize("command", ["serve", "predict"])
def test_it_is_refused_and_the_refusal_says_why_and_what_to_do(file: Path, command: str, picture: Callable[..., bytes]) -> None:
    image = file.with_suffix(".png")
    image.write_bytes(picture("green"))
    done = run(command, file, *([image] if command == "predict" else ["--port", 0]))
    assert done.returncode == 1
    assert "which is code" in done.stderr
    assert "--trust-torchscript" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_without_a_card_is_refused_by_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    bare = tmp_path / "model.onnx"  # whatever it is called
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1)).save(bare)
    done = run("serve", bare, "--port", 0)
    assert done.returncode == 1
    assert "TorchScript, which is code" in done.stderr


def test_who_trusts_it_is_answered(file: Path, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    image = file.with_suffix(".png")
    image.write_bytes(picture("green"))
    done = run("predict", file, image, "--trust-torchscript")
    assert done.stdout.split()[1] == "green", done.stderr
    with Server(file, log=tmp_path / "log", env={"EXPORTWEB_TRUST_TORCHSCRIPT": "1"}) as server:
        answer = server.http.post("/predict", content=picture("blue"))
        assert answer.json()[0]["label"] == "blue"
        assert answer.headers["x-model-version"] == "4"


def test_options_that_describe_a_foreign_file_are_not_for_it(file: Path) -> None:
    done = run("serve", file, "--task", "tensor", "--port", 0)
    assert done.returncode == 1
    assert "has a card, which says what it is; leave out --task" in done.stderr
