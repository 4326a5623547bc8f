"""Ways to train: after each, the store holds what an evaluation of the model would have used at that moment."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

from exportweb import Store, export_hook
from models import LABELS, Tiny, batches, example, train_round
from published import answer, evaluate, sources, weights


def attach(model, folder, **options):
    return export_hook(model, **{"to": folder, "example": example(), **options})


def sgd(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)


def last(folder):
    store = Store(folder)
    return store.path(store.latest().number)


def close_to(folder, model, *, tolerance=1e-5):
    """The last version answers as the model does."""
    torch.testing.assert_close(answer(last(folder)), evaluate(model), rtol=tolerance, atol=tolerance)


def compiled_before(model):
    return torch.compile(model, backend="aot_eager")


def compiled_in_place(model):
    model.compile(backend="aot_eager")
    return model


def compiled_in_part(model):
    model.conv = torch.compile(model.conv, backend="aot_eager")
    return model


def two_epochs(model, optimizer, hook):
    for _ in range(2):
        model.train()
        hook.flush(60)  # only for the test: a loop this quick would skip versions
        train_round(model, optimizer, batches(2))
        model.eval()


@pytest.mark.parametrize("wrap", [compiled_before, compiled_in_place, compiled_in_part])
def test_compiled(model, tmp_path, wrap):
    model = wrap(model)
    optimizer = sgd(model)
    train_round(model, optimizer, batches(1))
    with attach(model, tmp_path) as hook:
        two_epochs(model, optimizer, hook)
    assert [s.epoch for s in sources(tmp_path)] == [1, 2]
    close_to(tmp_path, model)
    assert "conv.weight" in weights(last(tmp_path))


def test_compiled_after_the_hook(model, tmp_path):
    with attach(model, tmp_path) as hook:
        fast = torch.compile(model, backend="aot_eager")
        train_round(fast, sgd(fast), batches(2))
        hook.step()
    close_to(tmp_path, model)


def test_autocast_with_a_scaler(model, tmp_path):
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu")
    with attach(model, tmp_path) as hook:
        for images, labels in batches(3):
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        hook.step()
    assert sources(tmp_path)[0].step == 3
    close_to(tmp_path, model)


def test_weights_in_bfloat16_become_float32(model, tmp_path):
    model.to(torch.bfloat16)
    with attach(model, tmp_path) as hook:
        data = [(images.bfloat16(), labels) for images, labels in batches(2)]
        train_round(model, sgd(model), data)
        hook.step()
    assert torch.equal(weights(last(tmp_path))["conv.weight"], model.conv.weight.float())
    close_to(tmp_path, model, tolerance=3e-2)
    close_to(tmp_path, model.float())


@pytest.mark.parametrize("average", [{"multi_avg_fn": get_ema_multi_avg_fn(0.5), "use_buffers": True}, {}])
def test_an_averaged_model_publishes_the_average(model, tmp_path, average):
    averaged = AveragedModel(model, **average)
    optimizer = sgd(model)
    schedule = SWALR(optimizer, 0.05)
    with attach(averaged, tmp_path) as hook:
        for _ in range(2):
            model.train()
            train_round(model, optimizer, batches(2))
            averaged.update_parameters(model)
            schedule.step()
            if "use_buffers" not in average:  # SWA: the statistics are those of the averaged weights
                update_bn([images for images, _ in batches(2)], averaged)
            hook.step()
            assert hook.flush(60)
            close_to(tmp_path, averaged)
    assert [s.epoch for s in sources(tmp_path)] == [1, 2]
    assert not torch.equal(weights(last(tmp_path))["head.weight"], model.head.weight)


def test_tied_weights_are_right_under_both_names(tmp_path):
    class Tied(Tiny):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(8, 8)
            self.down = nn.Linear(8, 8)
            self.down.weight = self.up.weight

        def forward(self, x):
            x = F.relu(self.norm(self.conv(x))).mean((2, 3))
            return self.head(self.down(F.relu(self.up(x))))

    model = Tied()
    with attach(model, tmp_path) as hook:
        train_round(model, sgd(model), batches(2))
        hook.step()
    held = weights(last(tmp_path))
    names = [name for name in ("up.weight", "down.weight") if name in held]
    assert names and all(torch.equal(held[name], model.up.weight) for name in names)
    close_to(tmp_path, model)


def test_frozen_layers_stay_as_they_are(tmp_path):
    class Frozen(Tiny):
        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()  # its statistics stay
            return self

    model = Frozen()
    model.conv.requires_grad_(False)
    before = model.conv.weight.clone()
    optimizer = sgd(model)
    with attach(model, tmp_path) as hook:
        two_epochs(model, optimizer, hook)
    assert [s.epoch for s in sources(tmp_path)] == [1, 2]
    assert torch.equal(weights(last(tmp_path))["conv.weight"], before)
    assert model.norm.num_batches_tracked == 0
    close_to(tmp_path, model)


def test_a_head_replaced_in_mid_training(model, tmp_path, caplog):
    with attach(model, tmp_path, labels=LABELS) as hook:
        train_round(model, sgd(model), batches(1))
        hook.step()
        assert hook.flush(60)
        model.head = nn.Linear(8, 6)
        train_round(model, sgd(model), batches(1))
        hook.step()
    assert answer(last(tmp_path)).shape == (4, 6)
    close_to(tmp_path, model)
    assert "the model now has 6 classes, but 4 labels were given; numbering them" in caplog.text


def test_a_module_replaced_by_one_with_the_same_weights(model, tmp_path):
    with attach(model, tmp_path) as hook:
        model.drop = nn.Sigmoid()
        hook.step()
    close_to(tmp_path, model)


def test_training_mode_left_on_for_the_whole_loop(model, tmp_path):
    optimizer = sgd(model)
    model.train()
    with attach(model, tmp_path) as hook:
        for _ in range(2):
            train_round(model, optimizer, batches(2))
            hook.step()
            assert hook.flush(60)
            close_to(tmp_path, model)
    assert model.training
    assert [s.epoch for s in sources(tmp_path)] == [1, 2]


def test_training_mode_set_before_every_step(model, tmp_path):
    optimizer = sgd(model)
    with attach(model, tmp_path, unit="step", every=2) as hook:
        for batch in batches(4):
            model.train()
            train_round(model, optimizer, [batch])
            hook.flush(60)
    assert [s.step for s in sources(tmp_path)] == [2, 4]
    close_to(tmp_path, model)
