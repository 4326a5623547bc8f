"""The demo, as `make demo` runs it, for two epochs."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("timm")
datasets = pytest.importorskip("sklearn.datasets")

ROOT = Path(__file__).parents[2]


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


def ask(url: str, digit: int) -> list[dict]:
    file = io.BytesIO()
    Image.fromarray((datasets.load_digits().images[digit] * 15).astype("uint8")).resize((100, 100)).save(file, "PNG")
    with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", file.getvalue()), timeout=30) as response:
        assert response.headers["X-Model-Version"] == "2"
        return json.load(response)


def test_the_demo_trains_serves_and_stops(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--epochs", "2", "--port", "0", "--store", str(tmp_path / "runs")]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", demo.stdout.readline())
        assert address, "the first line says where the page is"
        url = address[0]
        with pytest.raises(urllib.error.HTTPError, match="503"):  # up before the first epoch, and honest about it
            get(f"{url}/readyz")
        with urllib.request.urlopen(f"{url}/", timeout=30) as page:
            assert "text/html" in page.headers["Content-Type"]

        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "until Ctrl-C" in line:
                break
        said = "".join(lines)
        assert re.search(r"epoch 2: loss [\d.]+, accuracy [\d.]+", said), said

        deadline = time.monotonic() + 30
        while get(f"{url}/versions")["serving"] != 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        versions = get(f"{url}/versions")["versions"]
        assert [v["epoch"] for v in versions] == [1, 2]
        assert all(0 < v["metrics"]["accuracy"] <= 1 for v in versions)
        assert {answer["label"] for answer in ask(url, 0)} <= set(get(f"{url}/model")["card"]["labels"])

        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=30)
        assert demo.returncode == 0, rest
        assert "Traceback" not in rest
        with pytest.raises(urllib.error.URLError):
            get(f"{url}/healthz")
    finally:
        demo.kill()
        demo.wait()
