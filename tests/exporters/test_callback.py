from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from exportweb import export_hook
from exportweb.errors import ExportError, StoreLocked
from exportweb.exporters.callback import Options, TrainingHook, scalars
from models import batches, example, train_round
from published import sources


def test_callbacks_take_all_options_of_the_hook():
    assert Options.__optional_keys__ == set(inspect.signature(export_hook).parameters) - {"model"}


def test_a_misspelt_option_is_an_error_at_once():
    with pytest.raises(TypeError, match="evry"):
        TrainingHook(evry=2)


def test_metrics_that_are_one_number_are_shown():
    metrics = {
        "accuracy": 0.5,
        "val/loss": torch.tensor([0.25], requires_grad=True),
        "f1": np.float32(0.5),
        "count": 3,
        "confusion": torch.zeros(2, 2),
        "note": "good",
        "missing": None,
        "epoch": 7.0,  # are no metrics: the card has a place for them
        "step": 70.0,
    }
    assert scalars(metrics) == {"accuracy": 0.5, "val/loss": 0.25, "f1": 0.5, "count": 3.0}


@pytest.mark.parametrize("choice", ["net", lambda whole: whole.net])
def test_a_model_within_what_is_trained_is_chosen_by_name_or_function(model, tmp_path, choice):
    whole = nn.Module()
    whole.net = model
    callback = TrainingHook(choice, to=tmp_path, example=example())
    callback._attach(whole)
    callback._epoch_ended(1)
    callback._detach()
    assert [s.model for s in sources(tmp_path)] == ["Tiny"]


def test_a_callback_that_is_pickled_leaves_its_hook_behind(model, tmp_path):
    callback = TrainingHook(to=tmp_path, example=example(), every=3)
    callback._attach(model)
    copy = pickle.loads(pickle.dumps(callback))
    assert copy.hook is None and callback.hook.store is not None
    callback.close()
    copy._attach(model)
    copy.close()


def test_a_choice_that_is_no_module_names_those_that_there_are(model):
    with pytest.raises(ExportError, match=r"model='other' chose NoneType in Tiny.*\(conv, norm, drop, head\)"):
        TrainingHook("other")._attach(model)


def test_evaluation_before_the_first_epoch_has_ended_is_no_epoch_of_the_hook_that_knows_its_loop(model, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with export_hook(model, to=tmp_path, example=example()) as hook:
        hook.begin(epoch=4, step=40)
        for _ in range(2):
            model.train()
            train_round(model, optimizer, batches(2))
            model.eval()
        hook.step(accuracy=0.5)
    assert [(s.epoch, s.step, s.metrics) for s in sources(tmp_path)] == [(5, 44, {"accuracy": 0.5})]


def test_a_hook_outside_the_callbacks_keeps_its_store(model, tmp_path):
    with export_hook(model, to=tmp_path, example=example()), pytest.raises(StoreLocked):
        TrainingHook(to=tmp_path, example=example())._attach(model)
