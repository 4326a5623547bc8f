from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exportweb import Store, __version__
from exportweb.cli.table import metrics, size, table, when
from scripts import exportweb as run
from serving import Artifacts, Server
from tensors import linear

COMMANDS = ["serve", "export", "predict", "evaluate", "inspect", "card", "versions", "rollback", "pin"]


def fails(*args: object, says: str) -> None:
    """Assert that a command ends with 1 and one line that matches."""
    done = run(*args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(says, done.stderr), done.stderr


@pytest.fixture
def file(artifacts: Artifacts, tmp_path: Path) -> Path:
    path: Path = artifacts.write(tmp_path / "colours.onnx", version=4, epoch=3, metrics={"accuracy": 0.5, "loss": 1.25})
    return path


@pytest.fixture
def store(artifacts: Artifacts, tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for epoch in (1, 2, 3):
        artifacts.publish(store, epoch=epoch, metrics={"accuracy": epoch / 10})
    return store


@pytest.fixture
def image(picture: Callable[..., bytes], tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    path.write_bytes(picture("green"))
    return path


# -- the command itself ------------------------------------------------------------------------------------------------


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
    assert loaded <= {"click", "exportweb", "msgspec", "typing_extensions", "distutils-precedence", "sitecustomize"}, loaded


def test_version() -> None:
    assert run("--version").stdout == f"exportweb, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("train")
    assert done.returncode == 2
    assert "No such command 'train'" in done.stderr


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_shows_the_card(file: Path) -> None:
    done = run("inspect", file)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "colours, version 4"
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["task"] == "image-classification"
    assert shown["input"] == "image: 8 x 8, RGB, uint8 NHWC, normalised in the graph"
    assert shown["resize"] == "shortest edge to 8, bicubic, then the centre"
    assert shown["labels"] == "3: red, green, blue"
    assert shown["source"] == "numpy mean, epoch 3"
    assert shown["metrics"] == "accuracy 0.5, loss 1.25"
    assert shown["golden"] == "image uint8 [2, 8, 8, 3] -> logits float32 [2, 3], tolerance 0.001"
    assert shown["digest"].endswith("verified")
    assert shown["size"].endswith("kB")
    assert len({line.index(line.split(maxsplit=1)[1]) for line in lines}) == 1, "the values are aligned"


def test_inspect_for_a_program(file: Path) -> None:
    shown = json.loads(run("inspect", file, "--json").stdout)
    assert shown["torn"] is None
    assert shown["size"] == file.stat().st_size
    assert shown["card"]["labels"] == ["red", "green", "blue"]
    assert "golden" not in shown["card"]


def test_inspect_a_store_shows_its_latest(store: Store) -> None:
    store.rollback(2)
    assert run("inspect", store.folder).stdout.startswith("colours, version 2\n")


def test_inspect_an_altered_file(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b"colours", b"colourS", 1))
    done = run("inspect", file)
    assert done.returncode == 1
    assert "does NOT match" in done.stdout
    assert "altered" in done.stderr
    assert "altered" in json.loads(run("inspect", file, "--json").stdout)["torn"]


def test_inspect_a_foreign_file_says_how_to_serve_it(artifacts: Artifacts, tmp_path: Path) -> None:
    done = run("inspect", artifacts.write(tmp_path / "foreign.onnx", carded=False))
    assert done.returncode == 0
    assert "without a card" in done.stdout
    assert "--task image-classification" in done.stdout


def test_inspect_what_is_no_model(tmp_path: Path) -> None:
    text = tmp_path / "notes.onnx"
    text.write_text("hello, world")
    fails("inspect", text, says="notes.onnx is (torn, or )?not an ONNX file")
    fails("inspect", tmp_path / "none.onnx", says="nothing at .*none.onnx")
    (tmp_path / "empty").mkdir()
    fails("inspect", tmp_path / "empty", says="no version yet")
    script = tmp_path / "model.pt"
    script.write_bytes(b"PK\x03\x04" + bytes(100))
    fails("inspect", script, says="TorchScript")


# -- predict -----------------------------------------------------------------------------------------------------------


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


# -- versions, rollback ------------------------------------------------------------------------------------------------


def test_versions_are_a_table(store: Store) -> None:
    header, *rows = run("versions", store.folder).stdout.splitlines()
    assert header.split() == ["version", "epoch", "metrics", "created", "size"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert [("latest" in row) for row in rows] == [False, False, True]
    assert "accuracy 0.3" in rows[2]


def test_versions_for_a_program(store: Store) -> None:
    (store.folder / "000004.onnx").write_bytes(b"torn")
    found = json.loads(run("versions", store.folder, "--json").stdout)
    assert [entry["version"] for entry in found] == [1, 2, 3, 4]
    assert [entry["latest"] for entry in found] == [False, False, True, False]
    assert [entry["epoch"] for entry in found] == [1, 2, 3, None]
    assert found[3]["error"]
    assert "unreadable" in run("versions", store.folder).stdout


def test_rollback(store: Store) -> None:
    done = run("rollback", store.folder, "--to", 1)
    assert done.returncode == 0, done.stderr
    assert "version 1 is the latest now (was 3)" in done.stdout
    latest = store.latest()
    assert latest is not None
    assert (latest.number, latest.rollback) == (1, True)
    assert "latest, by rollback" in run("versions", store.folder).stdout.splitlines()[1]


def test_rollback_to_what_is_not_there(store: Store) -> None:
    fails("rollback", store.folder, "--to", 9, says="has no version 9; it has 1, 2, 3")


def test_an_empty_store(tmp_path: Path) -> None:
    assert "no version yet" in run("versions", tmp_path).stdout
    assert json.loads(run("versions", tmp_path, "--json").stdout) == []


# -- export ------------------------------------------------------------------------------------------------------------


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


# -- serve -------------------------------------------------------------------------------------------------------------


def test_serve_refuses_what_it_can_not_serve(artifacts: Artifacts, tmp_path: Path) -> None:
    fails("serve", tmp_path / "none.onnx", says="nothing at .*none.onnx.*mkdir")
    script = tmp_path / "model.pt"
    script.write_bytes(b"PK\x03\x04" + bytes(100))
    fails("serve", script, says="TorchScript")
    text = tmp_path / "notes.onnx"
    text.write_text("hello, world")
    fails("serve", text, "--port", 0, says="not an ONNX file")
    torn = artifacts.write(tmp_path / "torn.onnx")
    torn.write_bytes(torn.read_bytes().replace(b"colours", b"colourS", 1))
    fails("serve", torn, "--port", 0, says="torn")
    broken = artifacts.write(tmp_path / "broken.onnx", damage=True)
    fails("serve", broken, "--port", 0, says="golden")


def test_serve_a_file(serve: Callable[..., Server], file: Path, picture: Callable[..., bytes]) -> None:
    server = serve(file)
    assert re.fullmatch(r"exportweb: serving colours on http://127\.0\.0\.1:\d+", server.hello)
    assert server.http.post("/predict", content=picture("blue")).json()[0]["label"] == "blue"
    server.wait(lambda: "version 4 serves (epoch 3, accuracy 0.5, loss 1.25)" in server.log)


def test_serve_a_file_that_is_replaced(
    serve: Callable[..., Server], artifacts: Artifacts, file: Path, picture: Callable[..., bytes]
) -> None:
    server = serve(file)
    artifacts.write(file.with_suffix(".new"), version=5, scale=20.0).replace(file)
    server.wait_for_version(5)
    assert server.http.post("/predict", content=picture()).headers["x-model-version"] == "5"


def test_serve_a_store_says_what_happens_to_versions(serve: Callable[..., Server], artifacts: Artifacts, store: Store) -> None:
    server = serve(store.folder)
    server.wait_for_version(3)
    artifacts.publish(store, damage=True)
    store.refuse("the weights aren't finite", epoch=9)
    server.wait(lambda: "was not published" in server.log and "rejected" in server.log)
    assert "exportweb: version 3 serves (epoch 3, accuracy 0.3)" in server.log
    assert re.search(r"exportweb: version 4 is rejected: .*golden", server.log)
    assert "exportweb: a version (epoch 9) was not published: the weights aren't finite" in server.log
    store.rollback(1)
    server.wait_for_version(1)


def test_serve_a_foreign_file(serve: Callable[..., Server], artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Path) -> None:
    path = artifacts.write(tmp_path / "foreign.onnx", carded=False)
    labels = tmp_path / "labels.txt"
    labels.write_text("rot\ngrün\nblau\n", "utf-8")
    fails("serve", path, "--port", 0, says="--task image-classification")
    server = serve(path, "--task", "image-classification", "--labels", str(labels), "--mean", "0,0,0", "--std", "1,1,1")
    assert server.http.post("/predict", content=picture("green")).json()[0]["label"] == "grün"


def test_serve_does_not_let_options_contradict_a_card(file: Path, store: Store) -> None:
    fails("serve", file, "--task", "image-classification", says="has a card.*leave out --task")
    fails("serve", store.folder, "--mean", "0,0,0", says="--mean say what a single ONNX file")


def test_serve_needs_a_name_for_each_of_several(file: Path, store: Store, tmp_path: Path) -> None:
    done = run("serve", file, tmp_path / "other" / "colours.onnx")
    assert done.returncode == 2
    assert re.search(r"would both be called 'colours'. Name one of them: other=", done.stderr)
    fails("serve", file, store.folder, "--task", "tensor", says="has a card.*leave out --task")
    fails("serve", f"a={file}", f"b={tmp_path / 'none.onnx'}", says="nothing at .*none.onnx")


def test_serve_several_from_the_environment(serve: Callable[..., Server], file: Path, store: Store, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(linear())
    server = serve(env={"EXPORTWEB_PATH": f"{file} {store.folder} x={foreign}", "EXPORTWEB_KEEP_LOADED": "2"})
    server.wait(lambda: server.http.get("/readyz").status_code == 200)
    models = server.http.get("/models").json()["models"]
    assert [(model["name"], model["task"]) for model in models] == [
        ("colours", "image-classification"),
        ("store", "image-classification"),
        ("x", "tensor"),
    ]


def test_serve_reads_its_settings_from_the_environment(serve: Callable[..., Server], file: Path, picture: Callable[..., bytes]) -> None:
    server = serve(file, env={"EXPORTWEB_MAX_UPLOAD": "50", "EXPORTWEB_HOST": "localhost", "EXPORTWEB_THREADS": "1"})
    assert server.hello.split()[-1].startswith("http://localhost:")
    assert server.http.post("/predict", content=picture()).status_code == 413
    assert server.http.get("/model").json()["runtime"]["threads"] == 1


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--device", "gpu", "auto, cpu, cuda or cuda:N"),
        ("--mean", "a,b", "numbers with commas"),
        ("--port", "70000", "70000"),
        ("--log-level", "loud", "loud"),
    ],
)
def test_serve_explains_a_value_that_is_none(file: Path, option: str, value: str, says: str) -> None:
    done = run("serve", file, option, value)
    assert done.returncode == 2
    assert says in done.stderr


# -- how values are shown ----------------------------------------------------------------------------------------------


def test_a_table_is_aligned() -> None:
    assert table([("a", "1"), ("long", "22")], right=(1,)) == "a      1\nlong  22"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (44_700_000, "44.7 MB"), (999_999, "1.0 MB"), (2e15, "2000.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        assert when("2026-01-02T03:04:05.678+00:00") == when("2026-01-02T03:04:05Z") == "2026-01-02 05:04:05"
        assert when("2026-01-02T03:04:05") == "2026-01-02 05:04:05"
        assert when("yesterday") == "yesterday"
        assert when(None) == "-"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_metrics_in_four_digits() -> None:
    assert metrics({"accuracy": 0.973111, "loss": 0.0812}) == "accuracy 0.9731, loss 0.0812"
    assert metrics({}) == "-"
