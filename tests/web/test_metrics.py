from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exportweb import Store
from serving import Artifacts, Server
from streams import read


def test_requests_are_counted_by_path_and_status(
    serve: Callable[..., Server], artifacts: Artifacts, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    server = serve(artifacts.write(tmp_path / "m.onnx", version=5))
    for content in (picture(), picture(), b"no image"):
        server.http.post("/predict", content=content)
    server.http.get("/unknown/path")
    server.http.get("/static/none.js")
    found = read(server)
    assert found["exportweb_requests_total", "m", "/predict", "200"] == 2
    assert found["exportweb_requests_total", "m", "/predict", "415"] == 1
    assert found["exportweb_requests_total", "", "other", "404"] == 1
    assert found["exportweb_requests_total", "", "/static", "404"] == 1
    for stage in ("queue", "decode", "resize", "inference", "post"):
        assert found["exportweb_stage_seconds_count", "m", stage] == 2
        assert found["exportweb_stage_seconds_sum", "m", stage] >= 0
    assert found["exportweb_batch_size_count", "m"] == 2
    assert found["exportweb_model_version", "m"] == 5
    assert found["exportweb_ready", "m"] == 1
    assert found["exportweb_queue_length", "m"] == 0
    assert found["exportweb_in_flight", "m"] == 0
    assert found["process_resident_memory_bytes",] > 1e6


def test_what_happens_to_versions_is_counted(serve: Callable[..., Server], artifacts: Artifacts, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.folder.mkdir()
    server = serve(store.folder)
    found = read(server)
    assert found["exportweb_ready", "store"] == found["exportweb_model_version", "store"] == found["exportweb_swaps_total", "store"] == 0

    artifacts.publish(store)
    server.wait_for_version(1)
    artifacts.publish(store, damage=True)
    store.refuse("not finite")
    server.wait(lambda: len(server.http.get("/versions").json()["versions"]) == 3, what="the rejected and the refused one")
    artifacts.publish(store)
    server.wait_for_version(3)
    found = read(server)
    assert found["exportweb_swaps_total", "store"] == 2
    assert found["exportweb_rejections_total", "store"] == 1
    assert found["exportweb_refusals_total", "store"] == 1
    assert found["exportweb_model_version", "store"] == 3
