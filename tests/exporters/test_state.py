from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from exportweb import Store, export_hook
from exportweb.exporters.state import PlainState
from exportweb.exporters.weights import Weights
from models import Tiny, batches, example, train_round
from published import answer, evaluate


class Recurrent(nn.Module):
    """A classifier by an LSTM, which keeps its weights in a list of its own, too."""

    def __init__(self):
        super().__init__()
        self.rows = nn.LSTM(3 * 16, 8, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.rows(x.permute(0, 2, 3, 1).flatten(2))[0].mean(1))


class Stateful(Tiny):
    """A classifier with state that is no weight, some of which matters."""

    def __init__(self):
        super().__init__()
        self.steps = 0  # a counter
        self.temperature = 1.0
        self.offset = torch.zeros(4)  # a tensor, but no buffer
        self.scales = [1.0, 1.0]
        self.activation = F.relu
        self.last = None  # what a forward leaves behind, with its history

    def forward(self, x):
        self.steps += 1
        logits = super().forward(x) / self.temperature + self.offset
        self.last = self.activation(logits) if self.training else None
        return self.activation(logits) * self.scales[0] * self.scales[1]


def changes(weights: Weights, state: PlainState) -> set[str]:
    return {".".join(key) for key in state.changed(weights)}


def test_what_has_changed_is_named_once():
    model = Stateful()
    weights = Weights(model)
    state = PlainState(weights)
    assert changes(weights, state) == set()
    model.temperature = 0.5
    model.scales.append(2.0)
    model.offset += 1
    model.conv.extra = "new"
    assert changes(weights, state) == {".temperature", ".scales", ".offset", "conv.extra"}
    assert changes(weights, state) == set()
    del model.conv.extra
    model.activation = F.gelu
    model.norm = nn.InstanceNorm2d(8)
    assert weights.refreshed() is not weights
    assert changes(weights.refreshed(), state) >= {"conv.extra", ".activation", "norm."}


def test_mode_weights_and_gradients_are_no_plain_state(model):
    weights = Weights(model)
    state = PlainState(weights)
    model.eval()
    train_round(model, torch.optim.SGD(model.parameters(), 0.1), batches(1))
    model.requires_grad_(False)
    model.register_forward_hook(lambda *args: None)
    assert changes(weights, state) == set()


def test_what_changes_all_the_time_is_asked_about_ever_more_rarely():
    model = Stateful()
    weights = Weights(model)
    state = PlainState(weights)
    asked = []
    for step in range(1, 20):
        model.steps += 1
        if changes(weights, state):
            asked.append(step)
    assert asked == [1, 2, 4, 8, 16]


def test_versions_follow_the_state_that_matters(tmp_path, caplog):
    torch.manual_seed(0)
    model = Stateful()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with export_hook(model, to=tmp_path, example=example()) as hook:
        graph = hook._exporter.graph

        def published():
            train_round(model, optimizer, batches(1))
            hook.step()
            assert hook.flush(60)
            store = Store(tmp_path)
            torch.testing.assert_close(answer(store.path(store.latest().number)), evaluate(model), rtol=1e-4, atol=1e-5)

        published()
        published()
        assert hook._exporter.graph is graph  # a counter and a leftover are no reason to export again
        assert "exporting its graph again" not in caplog.text
        for change in ({"temperature": 0.1}, {"offset": torch.ones(4)}, {"activation": F.gelu, "scales": [2.0, 3.0]}):
            vars(model).update(change)
            caplog.clear()
            published()
            assert all(name in caplog.text for name in change) and "exporting its graph again" in caplog.text


def test_what_a_module_says_of_its_weights_is_no_state(tmp_path, caplog):
    """Or an LSTM would be exported again for each version."""
    torch.manual_seed(0)
    model = Recurrent()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with export_hook(model, to=tmp_path, example=example()) as hook:
        graph = hook._exporter.graph
        for _ in range(2):
            train_round(model, optimizer, batches(1))
            hook.step()
        assert hook.flush(60)
        assert hook._exporter.graph is graph and graph.whole is None
    store = Store(tmp_path)
    torch.testing.assert_close(answer(store.path(store.latest().number)), evaluate(model), rtol=1e-4, atol=1e-5)
    assert "again" not in caplog.text
