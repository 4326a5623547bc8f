from __future__ import annotations

import pytest
import torch

from exportweb.errors import ExportError
from exportweb.exporters.beside import Beside
from exportweb.exporters.frameworks import Hints, describe
from exportweb.exporters.onnx_graph import Graph
from exportweb.exporters.proof import disprove
from exportweb.exporters.weights import Snapshot, Weights
from models import Growing, Tiny, example


def reason(model: torch.nn.Module, hints: Hints | None = None) -> str | None:
    """Trace a model and try to disprove that its graph can be refreshed."""
    weights = Weights(model)
    snapshot = Snapshot(weights)
    snapshot.take(weights)
    return disprove(Graph(model, weights, describe(model, hints or Hints(example())), Beside()), snapshot)


def test_a_graph_with_all_its_weights_under_their_names_holds(model):
    assert reason(model) is None


def test_a_weight_without_effect_in_evaluation_may_be_absent(model):
    model.auxiliary = torch.nn.Linear(3, 3)
    assert reason(model) is None


def test_a_buffer_that_the_first_forward_makes_anew_is_no_weight():
    class Positions(Tiny):
        def __init__(self):
            super().__init__()
            self.register_buffer("grid", torch.zeros(1), persistent=False)

        def forward(self, x):
            if self.grid.shape[-1] != x.shape[-1]:
                self.grid = torch.linspace(0, 1, x.shape[-1])
            return super().forward(x * self.grid)

    model = Positions()
    assert reason(model) is None  # as it was constructed
    model(example())
    assert reason(model) is None  # and once it has been used


def test_a_network_that_magnifies_what_is_rounded_is_asked_with_numbers_as_training_makes_them():
    torch.manual_seed(0)
    assert reason(Growing()) is None


def test_what_a_forward_leaves_behind_is_not_baked_into_the_graph():
    class Caches(Tiny):
        """Keeps what it computes from a weight until it is trained again, as attention biases are kept."""

        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.ones(6))
            self.register_buffer("index", torch.tensor([5, 0, 3, 1]), persistent=False)
            self.cache = {}

        def train(self, mode=True):
            if mode:
                self.cache = {}
            return super().train(mode)

        def forward(self, x):
            if self.training:
                return super().forward(x) + self.bias[self.index]
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias[self.index]
            return super().forward(x) + self.cache["bias"]

    assert reason(Caches()) is None


def test_a_weight_that_was_baked_into_the_graph_is_found():
    class Bakes(Tiny):
        """Remembers a value computed from a weight when it is constructed, and again never."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))
            self.remembered = 2.0

        def forward(self, x):
            return super().forward(x) * self.remembered + 0 * self.scale

    class Reads(Tiny):
        """Reads a weight's value into Python, where no graph can follow it."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            return super().forward(x) * (self.scale.tolist()[0] if not torch.compiler.is_compiling() else 2.0)

    assert reason(Bakes()) is None  # the remembered number is no weight: nothing to refresh
    assert reason(Reads()) == "scale (of 1 such) is not in the graph under its own name"


def test_the_models_own_weights_are_untouched(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    reason(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_each_use_of_a_tied_weight_is_asked_for():
    class Shares(Tiny):
        """Weighs its answer by one weight under two names."""

        def __init__(self, *, bakes: bool):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))
            self.small = self.scale
            self.bakes = bakes

        def forward(self, x):
            small = torch.tensor([2.0]) if self.bakes and torch.compiler.is_compiling() else self.small
            return super().forward(x) * self.scale + 0.01 * small

    assert reason(Shares(bakes=False)) is None
    assert reason(Shares(bakes=True)) == "scale and small are one tensor, but not all that it does is in the graph"


def test_a_forgotten_use_is_found_however_small_the_answers():
    class Whispers(Tiny):
        """Answers with scores of a millionth, and bakes one of two uses of a weight."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            second = torch.tensor([2.0]) if torch.compiler.is_compiling() else self.scale
            return super().forward(x) * self.scale * second * 1e-6

    assert reason(Whispers()).startswith("with other weights in it, the graph's answers were ")


def test_a_detector_whose_graph_can_be_run_on_one_size_alone_is_refused():
    pytest.importorskip("torchvision")
    from detectors import mask_rcnn

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x + torch.zeros([int(side) for side in x.shape])

    model = mask_rcnn(threshold=0.0)
    model.backbone.append(Fixed())
    with pytest.raises(ExportError, match=r"MaskRCNN may have any size, but its graph, traced with .* for 64 x 320: it can't be run"):
        reason(model, Hints())


def test_a_segmenter_for_any_size_whose_graph_holds_for_one_is_refused():
    pytest.importorskip("torchvision")
    from segmenters import fcn

    class Scaled(torch.nn.Module):
        """Divides by a height that a trace takes for a constant."""

        def forward(self, features):
            return {name: x / int(x.shape[2]) for name, x in features.items()}

    model = fcn()
    model.backbone = torch.nn.Sequential(model.backbone, Scaled())
    with pytest.raises(
        ExportError, match=r"Images of FCN may have any size, but its graph, traced with .* doesn't hold for .* example=images"
    ):
        reason(model, Hints())
