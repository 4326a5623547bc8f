"""`exportweb predict`, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exportweb import Store
from scripts import exportweb as run


def test_predict(file: Path, image: Path) -> None:
    done = run("predict", file, image)
    assert done.returncode == 0, done.stderr
    scores = [(float(line.split()[0]), line.split()[1]) for line in done.stdout.splitlines()]
    assert scores[0][1] == "green"
    assert sum(score for score, _ in scores) == pytest.approx(1, abs=1e-3)


def test_predict_several_for_a_program(store: Store, image: Path, picture: Callable[..., bytes], tmp_path: Path) -> None:
    blue = tmp_path / "blue.jpg"
    blue.write_bytes(picture("blue", kind="JPEG"))
    found = json.loads(run("predict", store.folder, image, blue, "--top-k", 1, "--json").stdout)
    assert [entry["image"] for entry in found] == [str(image), str(blue)]
    assert [[each["label"] for each in entry["result"]] for entry in found] == [["green"], ["blue"]]


def test_predict_from_stdin(file: Path, picture: Callable[..., bytes]) -> None:
    done = run("predict", file, "-", "--top-k", 1, stdin=picture("blue"))
    assert done.stdout.split()[1] == "blue"


def test_predict_goes_on_after_a_bad_image(file: Path, image: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    done = run("predict", file, bad, tmp_path / "none.jpg", image)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{bad}: ")
    assert second == f"{tmp_path / 'none.jpg'}: No such file or directory"
    assert "green" in done.stdout


def test_predict_with_a_device_that_is_none(file: Path, image: Path) -> None:
    done = run("predict", file, image, "--device", "tpu")
    assert done.returncode == 2
    assert "'tpu' should be auto, cpu, cuda or cuda:N" in done.stderr
