"""The detector of examples/shapes.py: a little of its training, and what a server answers meanwhile."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("torchmetrics")

SCRIPT = Path(__file__).parents[2] / "examples" / "shapes.py"


@pytest.fixture(scope="module")
def shapes():
    spec = importlib.util.spec_from_file_location("shapes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_a_detector_that_answers_with_masks(tmp_path):
    command = [sys.executable, str(SCRIPT), "--epochs", "1", "--pictures", "16", "--port", "0", "--store", str(tmp_path / "shapes")]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in training.stdout:
            lines.append(line)
            if "until Ctrl-C" in line:
                break
        said = "".join(lines)
        assert re.search(r"epoch 1: loss [\d.]+, map50 [\d.]+", said), said
        url = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
        picture = (tmp_path / "shapes-pictures" / "0.png").read_bytes()
        deadline = time.monotonic() + 60
        while json.load(urllib.request.urlopen(f"{url}/versions", timeout=30))["serving"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        request = urllib.request.Request(f"{url}/predict?threshold=0&top_k=3&masks=rle", picture)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert 1 <= len(answer) <= 3
        for found in answer:
            assert found["label"] in ("circle", "square", "triangle") and found["mask"]["size"] == [128, 128]
            assert 0 <= found["box"]["xmin"] < found["box"]["xmax"] <= 128
        training.send_signal(signal.SIGINT)
        assert training.wait(60) == 0
    finally:
        training.kill()
        training.wait()


def test_its_pictures_show_what_they_say(shapes):
    random = np.random.default_rng(0)
    for _ in range(20):
        image, objects = shapes.draw(random)
        assert image.shape == (3, 128, 128) and image.min() >= 0 and image.max() <= 1
        assert 1 <= len(objects["labels"]) == len(objects["boxes"]) == len(objects["masks"])
        assert (objects["masks"].sum(0) <= 1).all()  # what lies behind isn't seen
        assert (objects["boxes"][:, 2:] > objects["boxes"][:, :2]).all()
