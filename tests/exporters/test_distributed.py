"""Distributed data parallel: two processes, one store."""

from __future__ import annotations

import torch

from exportweb import Store
from published import sources, weights
from ranks import run_ranks

TRAIN = """
def train(model, hook, epochs):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(epochs):
        model.train()
        train_round(model, optimizer, batches(2, seed=rank))
        model.eval()
        hook.step(accuracy=0.5)
        hook.flush(60)
"""


def test_rank_0_publishes_what_all_trained(tmp_path):
    done = run_ranks(
        TRAIN
        + """
with export_hook(model, to=folder / "inner", example=example()) as hook:      # attached to the module inside
    train(nn.parallel.DistributedDataParallel(model), hook, epochs=2)
torch.save(model.state_dict(), folder / f"{rank}.pt")
wrapped = nn.parallel.DistributedDataParallel(model)
with export_hook(wrapped, to=folder / "wrapped", example=example()) as hook:  # attached to the wrapper
    train(wrapped, hook, epochs=1)
with export_hook(wrapped, to=folder / "alone", example=example()) as hook:    # only rank 0 says when an epoch has ended
    train_round(wrapped, torch.optim.SGD(model.parameters(), 0.1), batches(1))
    if rank == 0:
        hook.step()
dist.destroy_process_group()
""",
        tmp_path,
    )
    assert [p.returncode for p in done] == [0, 0], done
    trained = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0] if not name.startswith("norm.running"))
    assert [(s.epoch, s.step) for s in sources(tmp_path / "inner")] == [(1, 2), (2, 4)]
    assert torch.equal(weights(Store(tmp_path / "inner").path(2))["conv.weight"], trained[0]["conv.weight"])
    assert [(s.epoch, s.step) for s in sources(tmp_path / "wrapped")] == [(1, 2)]
    assert [(s.epoch, s.step) for s in sources(tmp_path / "alone")] == [(1, 1)]


def test_an_exception_in_one_rank_ends_both_and_keeps_the_last_epoch(tmp_path):
    done = run_ranks(
        TRAIN
        + """
wrapped = nn.parallel.DistributedDataParallel(model)
hook = export_hook(wrapped, to=folder, example=example())
train(wrapped, hook, epochs=1)
if rank == 1:
    raise RuntimeError("rank 1 broke")
train(wrapped, hook, epochs=1)
""",
        tmp_path,
    )
    assert all(p.returncode != 0 for p in done)
    assert "rank 1 broke" in done[1].stderr
    assert [(s.epoch, s.step) for s in sources(tmp_path)] == [(1, 2)]
