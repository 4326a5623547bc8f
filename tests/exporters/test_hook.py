from __future__ import annotations

import copy
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from exportweb import Store, artifact, export_hook
from exportweb.errors import ExportError, StoreLocked
from models import LABELS, batches, example, train_round
from scripts import run, script


def attach(model, folder, **options):
    return export_hook(model, **{"to": folder, "example": example(), "labels": LABELS, **options})


def sources(folder):
    """Where the versions in a store came from, oldest first."""
    return [artifact.read(path).card.source for path in Store(folder).versions().values()]


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.1)


def test_every_epoch_that_the_loop_marks_becomes_a_version(model, tmp_path):
    optimizer = sgd(model)
    with attach(model, tmp_path) as hook:
        for epoch in range(3):
            model.train()
            train_round(model, optimizer, batches(2))
            model.eval()
            hook.step(accuracy=epoch / 10, loss=torch.tensor(0.5, requires_grad=True))
            assert hook.flush(30)
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(1, 2), (2, 4), (3, 6)]
    assert sources(tmp_path)[2].metrics == {"accuracy": 0.2, "loss": 0.5}


def test_a_plain_loop_needs_not_a_word_more(model, tmp_path):
    hook = attach(model, tmp_path)
    optimizer = sgd(model)
    for _ in range(3):
        model.train()
        hook.flush(30)  # only for the test: a loop this quick would skip versions
        train_round(model, optimizer, batches(2))
        model.eval()
    hook.close()
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(1, 2), (2, 4), (3, 6)]


def test_a_loop_without_evaluation_too(model, tmp_path):
    optimizer = sgd(model)
    with attach(model, tmp_path) as hook:
        for _ in range(3):
            model.train()
            hook.flush(30)
            train_round(model, optimizer, batches(2))
    assert [s.step for s in sources(tmp_path)] == [2, 4, 6]


def test_every_second_epoch_and_always_the_last(model, tmp_path):
    optimizer = sgd(model)
    with attach(model, tmp_path, every=2) as hook:
        for _ in range(5):
            train_round(model, optimizer, batches(1))
            hook.step()
            assert hook.flush(30)
    assert [s.epoch for s in sources(tmp_path)] == [2, 4, 5]


def test_optimizer_steps_can_be_counted_instead(model, tmp_path):
    optimizer = sgd(model)
    with attach(model, tmp_path, every=2, unit="step") as hook:
        for _ in range(2):
            train_round(model, optimizer, batches(1))
            train_round(model, optimizer, batches(1))
            hook.flush(30)
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(None, 2), (None, 4)]


def test_a_resumed_run_goes_on_counting(model, tmp_path):
    with attach(model, tmp_path) as hook:
        hook.step(epoch=7)
    with attach(model, tmp_path) as hook:
        hook.step(epoch=8)
    assert [s.epoch for s in sources(tmp_path)] == [7, 8]
    assert list(Store(tmp_path).versions()) == [1, 2]


def test_training_with_the_hook_gives_the_same_weights_to_the_bit(model, tmp_path):
    def trained(model, hook=None):
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        for _ in range(3):
            model.train()
            train_round(model, optimizer, batches(4))
            model.eval()
            if hook is not None:
                hook.step()
        return model.state_dict()

    plain = trained(copy.deepcopy(model))
    torch.manual_seed(5)
    with attach(model, tmp_path) as hook:
        hooked = trained(model, hook)
    assert all(torch.equal(plain[name], hooked[name]) for name in plain)


def test_wrapped_models_publish_the_module_inside(model, tmp_path):
    with attach(nn.DataParallel(model), tmp_path) as hook:
        hook.step()
    card = artifact.read(Store(tmp_path).path(1)).card
    assert card.name == "Tiny"


def test_after_closing_nothing_is_left_in_the_model(model, tmp_path):
    before = set(vars(model))
    hook = attach(model, tmp_path)
    hook.close()
    hook.close()
    assert set(vars(model)) == before
    hook.step(accuracy=1.0)  # too late, and harmless
    assert Store(tmp_path).versions() == {}


def test_two_runs_cannot_publish_into_one_store(model, tmp_path):
    with attach(model, tmp_path), pytest.raises(StoreLocked, match="give this run a store of its own"):
        attach(copy.deepcopy(model), tmp_path)
    attach(model, tmp_path).close()


def test_a_model_that_cannot_be_exported_says_so_before_the_first_epoch(tmp_path):
    with pytest.raises(ExportError, match="Show an example"):
        export_hook(nn.Linear(3, 3), to=tmp_path)
    attach_again = export_hook  # and the store is free again
    from models import Tiny

    attach_again(Tiny(), to=tmp_path, example=example()).close()


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": 0}, {"unit": "hour"}])
def test_options_out_of_range_are_named(model, tmp_path, options):
    with pytest.raises(ExportError, match="every and keep should be 1 or more"):
        attach(model, tmp_path, **options)


def test_the_store_is_named_after_the_model(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with export_hook(model, example=example()) as hook:
        hook.step()
    assert list(Store("runs/Tiny").versions()) == [1]


def test_training_goes_on_when_the_store_breaks(model, tmp_path, caplog):
    folder = tmp_path / "store"
    with attach(model, folder) as hook:
        (folder / ".lock").unlink()
        folder.rmdir()
        folder.write_text("a file where the store was")
        hook.step()
        assert not hook.flush(30)
        assert "training goes on" in caplog.text
        folder.unlink()
        hook.step()
        assert hook.flush(30)
    assert [s.epoch for s in sources(folder)] == [2]


def test_training_goes_on_when_the_model_becomes_one_that_cannot_be_exported(model, tmp_path, caplog):
    with attach(model, tmp_path) as hook:
        hook.step()
        assert hook.flush(30)
        model.head = nn.Sequential(nn.Linear(8, 4), nn.Unflatten(1, (2, 2)))
        hook.step()
        assert "training goes on" in caplog.text
        assert "answered [2, 2, 2]" in caplog.text
        model.head = nn.Linear(8, 3)
        hook.step()
        assert hook.flush(30)
    assert [s.epoch for s in sources(tmp_path)] == [1, 3]
    assert [refusal.epoch for refusal in Store(tmp_path).refusals()] == [2]


SETUP = """
import time, torch
from models import Tiny, batches, example, train_round
from exportweb import export_hook
model = Tiny(); optimizer = torch.optim.SGD(model.parameters(), 0.1)
hook = export_hook(model, to=sys.argv[1], example=example())
"""


def test_a_script_that_just_ends_loses_nothing(tmp_path):
    done = run(
        """
        for _ in range(2):
            model.train(); hook.flush(30)
            train_round(model, optimizer, batches(2)); model.eval()
        """,
        tmp_path,
        setup=SETUP,
    )
    assert done.returncode == 0, done.stderr
    assert [s.step for s in sources(tmp_path)] == [2, 4]


def test_an_exception_loses_no_complete_epoch_and_publishes_no_half_one(tmp_path):
    done = run(
        """
        model.train(); train_round(model, optimizer, batches(2)); model.eval()
        hook.step(accuracy=0.5)
        model.train(); train_round(model, optimizer, batches(1))
        raise RuntimeError("the loop broke")
        """,
        tmp_path,
        setup=SETUP,
    )
    assert done.returncode == 1 and "the loop broke" in done.stderr
    assert [s.step for s in sources(tmp_path)] == [2]


def test_ctrl_c_ends_the_script_and_keeps_the_last_epoch(tmp_path):
    body = """
        for epoch in range(1000):
            model.train(); train_round(model, optimizer, batches(2)); model.eval()
            print("epoch", epoch, flush=True)
            model.train(); train_round(model, optimizer, batches(1))
            time.sleep(60)
        """
    words = script(body, tmp_path, setup=SETUP)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith("epoch 0")
    while not Store(tmp_path).versions():  # the first epoch is published when the next round begins
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 130, -signal.SIGINT) and "KeyboardInterrupt" in errors
    assert [s.step for s in sources(tmp_path)] == [2]


def test_the_server_beside_a_trainer_ends_with_it_however_that_ends(tmp_path):
    served = SETUP.replace("example=example())", "example=example(), serve=True, port=0)")
    words = script("print(hook.url, hook._server._process.pid, flush=True); time.sleep(60)", tmp_path, setup=served)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    first, second = process.stdout.readline(), process.stdout.readline()
    url, pid = second.split()
    assert url in first and url.startswith("http://127.0.0.1:")
    process.kill()
    process.wait(30)
    process.stdout.close()
    for _ in range(100):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        import time

        time.sleep(0.1)
    else:
        pytest.fail("the server outlived its trainer")
