"""Weights that are spread over two processes, put together in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from exportweb import Store
from exportweb.exporters.sharded import is_sharded, plain_class
from models import Tiny
from published import answer, evaluate, sources, weights
from ranks import run_ranks

FSDP1 = """
from torch.distributed.fsdp import FullyShardedDataParallel
options = {{"use_orig_params": {}, "device_id": torch.device("cpu")}}
model.head = FullyShardedDataParallel(model.head, **options)
model = FullyShardedDataParallel(model, **options)
"""
FSDP2 = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
mesh = init_device_mesh("cpu", (2,))
fully_shard(model.head, mesh=mesh)
fully_shard(model, mesh=mesh)
"""
ATTACH = "hook = export_hook(model, to=folder / 'store', example=example(), every=2)\n"
WAYS = {
    "fully_shard before the hook": FSDP2 + ATTACH,
    "the hook before fully_shard": ATTACH + FSDP2,
    "FullyShardedDataParallel": FSDP1.format(False) + ATTACH,
    "FullyShardedDataParallel with the original parameters": FSDP1.format(True) + ATTACH,
}
BEGIN = """
folder = Path(sys.argv[1]) / {!r}
torch.manual_seed(0)
model = Tiny()
"""
TRAIN = """
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    model.train()
    for batch in batches(2, seed=rank):
        train_round(model, optimizer, [batch])
    hook.step(accuracy=0.5)
    hook.flush(60)
state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if rank == 0:
    torch.save(state, folder / "state.pt")
hook.close()
"""
END = """
dist.barrier()  # a process that ends while a thread of gloo still lets go of what was gathered can be aborted
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have trained a model in each of the ways, one after another."""
    folder = tmp_path_factory.mktemp("sharded")
    done = run_ranks("".join(BEGIN.format(way) + script + TRAIN for way, script in WAYS.items()) + END, folder)
    assert [p.returncode for p in done] == [0, 0], done[0].stderr + done[1].stderr
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_every_rank_gives_its_part_and_rank_0_publishes(trained: Path, way: str):
    store = Store(trained / way / "store")
    assert [(s.epoch, s.step) for s in sources(store.folder)] == [(2, 4), (3, 6)]  # the last by close()
    state = torch.load(trained / way / "state.pt")
    last = store.path(2)
    published = weights(last)
    for name in ("conv.weight", "head.weight", "head.bias", "norm.running_mean"):
        assert torch.equal(published[name], state[name]), name
    model = Tiny()
    model.load_state_dict(state)
    torch.testing.assert_close(answer(last), evaluate(model), rtol=1e-4, atol=1e-5)


def test_where_only_rank_0_evaluates_nobody_waits_for_ever(tmp_path):
    """Epochs that nobody marks aren't published, and what could wait for a rank that is gone isn't tried."""
    done = run_ranks(
        FSDP2
        + """
hook = export_hook(model, to=folder / "store", example=example())
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    if rank == 0:
        model.train()
    train_round(model, optimizer, batches(2, seed=rank))
    if rank == 0:
        model.eval()
if rank == 0:
    hook.close()
dist.destroy_process_group()
""",
        tmp_path,
    )
    assert [p.returncode for p in done] == [0, 0], done[0].stderr + done[1].stderr
    assert "the model is sharded; its epochs become versions when every rank calls hook.step()" in done[0].stderr
    assert sources(tmp_path / "store") == []


def test_a_model_in_one_piece_is_not_sharded(model):
    assert not is_sharded(model)
    assert plain_class(model) is Tiny
