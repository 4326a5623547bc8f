from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from exportweb.exporters.rounds import ModeSwitch, OptimizerSteps, Rounds
from models import Tiny, batches, train_round


def epochs_of(loop: str, *, whole: bool = True) -> list[int]:
    """Play a loop, written as t(rain), e(val), s(tep); return after how many steps each epoch was noticed."""
    steps, ends = 0, []
    rounds = Rounds(end=lambda: ends.append(steps))
    for word in loop.replace(" ", ""):
        if word == "s":
            steps += 1
            rounds.stepped()
        else:
            rounds.switched(word == "t")
    rounds.finish(whole=whole)
    return ends


@pytest.mark.parametrize(
    ("loop", "ends"),
    [
        ("tsss e tsss e tsss e", [3, 6, 9]),  # train, evaluate
        ("tsss tsss tsss", [3, 6, 9]),  # no evaluation at all
        ("tsss e e tsss e e", [3, 6]),  # validation, then test
        ("e tsss e tsss e", [3, 6]),  # evaluated once before training
        ("sss e sss e sss e", [6, 9]),  # train() never called: the first epoch goes by unnoticed
        ("ts ts ts ts", [4]),  # train() before every step is not an epoch
        ("ts e ts e", [1, 2]),  # one step an epoch
        ("e e t e t", []),  # never trained
    ],
)
def test_epochs_are_noticed_in(loop, ends):
    assert epochs_of(loop) == ends


def test_a_round_that_an_exception_cut_is_not_an_epoch():
    assert epochs_of("tsss e tss", whole=False) == [3]
    assert epochs_of("tsss e", whole=False) == [3]
    assert epochs_of("tss", whole=False) == []


def test_the_first_evaluation_is_held_until_the_loop_has_had_its_say():
    ends = []
    rounds = Rounds(end=lambda: ends.append(1))
    rounds.switched(True)
    rounds.stepped()
    rounds.switched(False)
    assert ends == []
    rounds.switched(True)
    assert ends == [1]


def test_calls_of_train_and_eval_are_noticed_and_passed_on(model):
    calls = []
    switch = ModeSwitch(model, notice=calls.append)
    model.eval()
    assert not model.training and not model.drop.training
    model.train()
    assert model.training and model.drop.training
    nn.DataParallel(model).eval()  # through a wrapper
    torch.compile(model).train()
    assert calls == [False, True, False, True]
    switch.close()
    model.eval()
    assert len(calls) == 4
    assert "train" not in vars(model)


def test_a_copy_or_a_pickle_of_the_model_is_not_listened_to(model):
    calls = []
    ModeSwitch(model, notice=calls.append)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.eval() is twin
        assert not twin.training and not twin.head.training
        assert model.training
    assert calls == []


def test_a_pickled_model_does_not_need_exportweb(model):
    ModeSwitch(model, notice=lambda mode: None)
    assert b"exportweb" not in pickle.dumps(model)


def test_a_method_that_was_replaced_before_is_kept(model):
    calls = []
    model.train = lambda mode=True: calls.append(mode)
    switch = ModeSwitch(model, notice=lambda mode: None)
    model.eval()
    assert calls == [False]
    switch.close()
    model.train()
    assert calls == [False, True]


def test_steps_of_the_models_own_optimizers_are_counted(model):
    ticks = []
    steps = OptimizerSteps(model, notice=lambda: ticks.append(1))
    train_round(model, torch.optim.SGD(model.parameters(), 0.1), batches(3))
    assert steps.count == len(ticks) == 3

    stranger = Tiny()
    train_round(stranger, torch.optim.SGD(stranger.parameters(), 0.1), batches(2))
    assert steps.count == 3

    steps.close()
    train_round(model, torch.optim.SGD(model.parameters(), 0.1), batches(2))
    assert steps.count == 3


def test_an_optimizer_that_gets_the_models_parameters_later_counts(model):
    steps = OptimizerSteps(model, notice=lambda: None)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    optimizer.step()
    assert steps.count == 0
    optimizer.add_param_group({"params": model.head.parameters()})
    optimizer.step()
    assert steps.count == 1
    steps.close()
