"""`exportweb serve`: what it takes, and what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from exportweb import Store
from exportweb.cli.paths import Locations
from scripts import exportweb as run
from scripts import fails
from serving import Artifacts, Server
from tensors import linear


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
    done = run("serve", f"good={artifacts.write(tmp_path / 'good.onnx')}", broken, "--port", 0)
    assert (done.returncode, done.stderr.splitlines()[-1][:35]) == (1, "Error: broken: Its golden sample fa")


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


def test_paths_with_spaces_from_the_environment(serve: Callable[..., Server], file: Path, store: Store, tmp_path: Path) -> None:
    """Quoted as in a shell where there are several; one that is there needs no quotes, with a name or without."""
    spaced = file.rename(tmp_path / "my first model's.onnx")
    several = serve(env={"EXPORTWEB_PATH": f"""'{tmp_path}/my first model'"'"'s.onnx' b="{store.folder}" {store.folder}"""})
    one = serve(env={"EXPORTWEB_PATH": f"{spaced}"})
    named = serve(env={"EXPORTWEB_PATH": f"mine={spaced}"})
    for server, names in ((several, ["my first model's", "b", "store"]), (one, ["my first model's"]), (named, ["mine"])):
        assert [model["name"] for model in server.http.get("/models").json()["models"]] == names


def test_a_quote_without_an_end_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORTWEB_PATH", "/my 'runs")
    done = run("serve")
    assert done.returncode == 2
    assert "EXPORTWEB_PATH=/my 'runs can't be read (No closing quotation); quote paths as in a shell" in done.stderr


def test_a_url_from_the_environment_stays_whole() -> None:
    assert Locations().split_envvar_value("s3://bucket/a:b cats=https://host:9000/x") == ["s3://bucket/a:b", "cats=https://host:9000/x"]


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
