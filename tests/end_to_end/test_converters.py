"""Models of other frameworks, converted by their own converters, and served as they come: the answers are the framework's own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import Server

Serve = Callable[..., Server]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def table(rows: int = 90, columns: int = 5, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Float32 features [rows, columns], and one of three classes for each row that they tell."""
    features = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return features, features[:, :3].argmax(1)


def ask(server: Server, inputs: object) -> dict[str, Any]:
    answer = server.http.post("/predict", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs: dict[str, Any] = answer.json()["outputs"]
    return outputs


def save(folder: Path, model: Any) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_scikit_learn_pipeline(serve: Serve, tmp_path: Path) -> None:
    """Probabilities as skl2onnx writes them by default: a map for each row."""
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, classes = table()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, classes)
    server = serve(save(tmp_path, skl2onnx.to_onnx(pipeline, features[:1])))
    outputs = ask(server, features[:7].tolist())
    assert outputs["output_label"] == pipeline.predict(features[:7]).tolist()
    scores = [[row[str(label)] for label in pipeline.classes_] for row in outputs["output_probability"]]
    np.testing.assert_allclose(scores, pipeline.predict_proba(features[:7]), **CLOSE)


def test_scikit_learn_forest(serve: Serve, tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.ensemble import RandomForestClassifier

    features, classes = table()
    forest = RandomForestClassifier(8, random_state=0).fit(features, np.array(["ash", "elm", "oak"])[classes])
    server = serve(save(tmp_path, skl2onnx.to_onnx(forest, features[:1], options={"zipmap": False})))
    outputs = ask(server, {"X": features[:7].tolist()})
    assert outputs["label"] == forest.predict(features[:7]).tolist()
    np.testing.assert_allclose(outputs["probabilities"], forest.predict_proba(features[:7]), **CLOSE)


def test_scikit_learn_with_columns_of_text(serve: Serve, tmp_path: Path) -> None:
    """Two inputs, one of strings; an unknown city is the client's mistake."""
    skl2onnx = pytest.importorskip("skl2onnx")
    pandas = pytest.importorskip("pandas")
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pandas.DataFrame({"city": ["Oslo", "Rome", "Århus", "Oslo"] * 10, "age": np.arange(40.0)})
    columns = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["age"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 1, 0] * 10)
    types = [("city", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    server = serve(save(tmp_path, skl2onnx.convert_sklearn(model, initial_types=types, options={"zipmap": False})))
    outputs = ask(server, {"city": [["Oslo"], ["Århus"]], "age": [[31], [4]]})
    expected = model.predict_proba(pandas.DataFrame({"city": ["Oslo", "Århus"], "age": [31.0, 4.0]}))
    np.testing.assert_allclose(outputs["probabilities"], expected, **CLOSE)
    unknown = server.http.post("/predict", json={"inputs": {"city": [["Paris"]], "age": [[1]]}})
    assert (unknown.status_code, "could not run the model on city string[1, 1]" in unknown.text) == (422, True)


def test_xgboost_with_a_missing_value(serve: Serve, tmp_path: Path) -> None:
    """null is a missing value, which XGBoost knows what to do with."""
    xgboost = pytest.importorskip("xgboost")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    features, classes = table()
    features[::7, 0] = np.nan
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(features, classes)
    server = serve(save(tmp_path, onnxmltools.convert_xgboost(model, initial_types=[("x", FloatTensorType([None, 5]))])))
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in features[:8]]
    assert rows[0][0] is None
    outputs = ask(server, rows)
    assert outputs["label"] == model.predict(features[:8]).tolist()
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(features[:8]), **CLOSE)


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
def test_keras(serve: Serve, tmp_path: Path) -> None:
    """By Keras's own exporter, with TensorFlow and tf2onnx behind it where they are installed, else PyTorch."""
    path = tmp_path / "keras.onnx"
    done = subprocess.run([sys.executable, "-c", KERAS, path], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "expected.npz") as arrays:
        features, expected = arrays["x"], arrays["y"]
    (scores,) = ask(serve(path), features.tolist()).values()
    np.testing.assert_allclose(scores, expected, **CLOSE)


KERAS = """
import importlib.util, os, sys
os.environ["KERAS_BACKEND"] = "tensorflow" if importlib.util.find_spec("tensorflow") else "torch"
import keras, numpy as np
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")])
x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
np.savez("expected.npz", x=x, y=model.predict(x, verbose=0))
model.export(sys.argv[1], format="onnx", verbose=False)
"""


def test_jax(serve: Serve, tmp_path: Path) -> None:
    jax = pytest.importorskip("jax")
    jax2onnx = pytest.importorskip("jax2onnx")
    weights = jax.random.normal(jax.random.PRNGKey(0), (5, 3))

    def model(x: Any) -> Any:
        return jax.nn.softmax(jax.numpy.tanh(x @ weights))

    features, _ = table(4)
    server = serve(save(tmp_path, jax2onnx.to_onnx(model, [("B", 5)])))
    (scores,) = ask(server, features.tolist()).values()
    np.testing.assert_allclose(scores, model(features), **CLOSE)
