"""The README's commands and code, run as they stand."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_commands_on_a_console(tmp_path):
    pytest.importorskip("timm")
    Image.effect_noise((300, 200), 80).convert("RGB").save(tmp_path / "photo.jpg")
    port, lines = str(free_port()), []
    for block in blocks("console"):
        for line in block.splitlines():
            command = line.removeprefix("$ ").replace("8000", port).replace("exportweb ", f"{sys.executable} -m exportweb ", 1)
            lines.append(command.replace("curl ", "curl -fsS "))
            if command.endswith("&"):
                lines.append(f"for _ in $(seq 300); do curl -fsS localhost:{port}/readyz >/dev/null 2>&1 && break; sleep 0.1; done")
    assert len(lines) >= 7
    script = "set -e\ntrap 'kill $(jobs -p)' EXIT\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"label":') == 7  # two from the first curl, five from the second
    assert '"serving":1' in done.stdout
    assert "image-classification" in done.stdout


def test_the_code(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from exportweb import Store
    from models import Tiny, batches, train_round

    monkeypatch.chdir(tmp_path)
    first, second = blocks("python")
    model = Tiny(2)
    model.pretrained_cfg = {}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = [(images, labels % 2) for images, labels in batches(1)]
    space = {
        "model": model, "epochs": 1, "images": data[0][0], "evaluate": lambda model: 0.5,
        "train": lambda model: train_round(model, optimizer, data),
    }  # fmt: skip
    exec(first.replace("labels=", "example=images, labels=").replace("serve=True", "serve=True, port=0"), space)
    space["hook"].close()
    assert list(Store("runs/Tiny").versions()) == [1]
    exec(second, space)
    space["hook"].close()


def test_the_commands_for_make_exist():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_option_of_the_hook_is_in_the_table():
    import inspect

    pytest.importorskip("torch")
    from exportweb import export_hook

    table = README[README.index("| option |") : README.index("`hook.step(")]
    for name in list(inspect.signature(export_hook).parameters)[1:]:
        assert f"`{name}" in table, name
