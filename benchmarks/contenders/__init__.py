"""The servers that peers.py compares: who they are, how each is installed, started, asked and given a new model.

Each peer's own program is beside this file, tuned as a competent user would: a session of one thread in as many processes as there are
cores, batches where they help it, no access log.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from exportweb import artifact

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CORES = os.cpu_count() or 1
WORK = ["onnxruntime", "pillow", "numpy"]
BOUNDARY = "a-boundary-that-is-in-no-photo"


@dataclass(frozen=True)
class Contender:
    """A server. `update` says what it is told when its model's file was replaced."""

    name: str
    packages: list[str]
    command: list[str]
    path: str = "/predict"
    form: str | None = None  # the field of a form that it takes images in; None: it takes them as they are
    update: Literal["nothing", "hangup", "restart"] = "restart"
    environment: str = ""  # where two share one

    def body(self, image: bytes) -> tuple[str, bytes]:
        """Return the Content-Type and the body by which it is asked."""
        if self.form is None:
            return "image/jpeg", image
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{self.form}"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        return f"multipart/form-data; boundary={BOUNDARY}", head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


OURS = Contender("exportweb", [f"{ROOT}[cpu]"], ["{bin}/exportweb", "serve", "{model}", "--port", "{port}"], update="nothing")
UVICORN = ["{python}", "-m", "uvicorn", "with_fastapi:app", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
FASTAPI = [*WORK, "fastapi", "uvicorn[standard]"]
CONTENDERS = [
    OURS,
    Contender("mosec", [*WORK, "mosec"], ["{python}", "with_mosec.py"], path="/inference"),
    Contender("FastAPI, one process", FASTAPI, UVICORN, environment="fastapi"),
    Contender("FastAPI, a process a core", FASTAPI, [*UVICORN, "--workers", str(CORES)], update="hangup", environment="fastapi"),
    Contender("LitServe", [*WORK, "litserve", "python-multipart"], ["{python}", "with_litserve.py"], form="request"),
    Contender(
        "BentoML",
        [*WORK, "bentoml"],
        ["{python}", "-m", "bentoml", "serve", "with_bentoml:Classifier", "--host", "127.0.0.1", "--port", "{port}"],
        form="image",
    ),
    Contender("Ray Serve", [*WORK, "ray[serve]"], ["{python}", "with_ray.py"], update="hangup"),
]


class Environment:
    """A virtual environment with a contender's packages, made when it isn't there yet."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        self.folder = folder / (contender.environment or contender.name.lower().replace(" ", "-"))
        ready = self.folder / ".ready"
        pip = [self.folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        if not ready.exists():
            subprocess.run(["python3", "-m", "venv", self.folder], check=True)
            subprocess.run([*pip, *contender.packages], check=True)
            ready.touch()
        if contender is OURS:  # as it is now
            subprocess.run([*pip, "--no-deps", "--force-reinstall", str(ROOT)], check=True)

    @property
    def megabytes(self) -> float:
        """What was installed, without pip and setuptools themselves and without compiled copies."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        bare = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
        roots = [entry for entry in site.iterdir() if not entry.name.startswith(bare)]
        files = (file for root in roots for file in ([root] if root.is_file() else root.rglob("*")))
        return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") / 1e6


@dataclass
class Running:
    """A contender that is being run; `with` ends it."""

    contender: Contender
    environment: Environment
    model: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    cold: float = field(init=False)  # seconds from its start to its first answer

    def start(self, image: bytes) -> None:
        """Start it and wait for its first answer."""
        card = artifact.read(self.model).card
        assert card is not None
        folder = self.environment.folder / "bin"
        env = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(HERE),
            "MODEL": str(self.model),
            "PORT": str(self.port),
            "RESIZE": str(card.input.resize_height),
            "CROP": str(card.input.height),
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        words = [w.format(python=folder / "python", bin=folder, port=self.port, model=self.model) for w in self.contender.command]
        begin = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, env=env, cwd=HERE, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while (answer := self.ask(image))[0] != 200:
            if self.process.poll() is not None or answer[0] in (400, 405, 413, 415, 422) or time.perf_counter() - begin > 90:
                self.close()
                raise SystemExit(f"{self.contender.name} answers {answer}:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        self.cold = time.perf_counter() - begin

    def ask(self, image: bytes) -> tuple[int, bytes]:
        """Ask once; status 0 where there was no answer."""
        kind, body = self.contender.body(image)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", self.contender.path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def replace(self, model: Path, image: bytes) -> None:
        """Put another model in the place of its own, and tell it as it wants to be told."""
        new = self.model.with_suffix(".new")
        new.write_bytes(model.read_bytes())
        new.replace(self.model)
        if self.contender.update == "hangup":
            self.process.send_signal(signal.SIGHUP)
        elif self.contender.update == "restart":
            self.close()
            self.start(image)

    def megabytes(self) -> float:
        """Resident memory of all its processes, pages that they share counted once."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 1e6

    def close(self) -> None:
        """End it and all that it started."""
        family = self._family()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for process in psutil.wait_procs(family, timeout=2)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
