"""Two processes of gloo, started once, hold parts of tiny networks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from ccsr.models.denoiser import Denoiser
from tests.tiny import LATENT_CHANNELS, tiny_lr_adapter, tiny_unet, tiny_vae
from training.config import LoopConfig
from training.data import Example
from training.discriminators import PatchDiscriminator
from training.draws import Draws
from training.loop import train
from training.sharding import (
    gathered,
    joined,
    own_parts,
    parts_of,
    shard,
    split_again,
    split_optimizer_state,
)

PROCESSES = 2


def losses() -> nn.ModuleDict:
    """Networks as a loss module has them: two share a discriminator, an encoder is frozen."""
    torch.manual_seed(0)
    unet, discriminator = tiny_unet(False), PatchDiscriminator(4)
    vae = tiny_vae("compact")
    vae.encoder.requires_grad_(False)
    denoiser = Denoiser(unet, tiny_lr_adapter())
    return nn.ModuleDict(
        {"denoiser": denoiser, "vae": vae, "one": discriminator, "other": discriminator}
    )


def trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def check_networks_are_split(module: nn.ModuleDict) -> None:
    """Each trained weight is split, block by block; what is frozen is whole."""
    for parameter in trained(module):
        assert isinstance(parameter, DTensor)
    held = sum(p.to_local().numel() for p in trained(module))
    total = torch.tensor([float(held)])
    distributed.all_reduce(total)
    assert int(total) == sum(p.numel() for p in trained(module))
    assert held < int(total)
    denoiser, vae = module["denoiser"], module["vae"]
    blocks = [*denoiser.unet.down_blocks, *denoiser.unet.up_blocks, *denoiser.controlnet.levels]
    networks = [denoiser.unet, denoiser.controlnet, vae.decoder, module["one"]]
    assert all(isinstance(part, FSDPModule) for part in (*blocks, *networks))
    assert not any(isinstance(p, DTensor) for p in vae.encoder.parameters())


def check_networks_compute_as_whole_ones(module: nn.ModuleDict) -> None:
    """Also where a method other than `forward` is called; weights are let go of afterwards."""
    sharded, whole = module["denoiser"], losses()["denoiser"]
    latent, x_t = torch.randn(
        2, 1, LATENT_CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        found, expected = (net(x_t, 500, net.features(latent)) for net in (sharded, whole))
    assert torch.allclose(found, expected, atol=1e-5)
    gathered_now = [p for p in sharded.parameters() if not isinstance(p, DTensor)]
    assert gathered_now
    split_again(module)
    assert all(isinstance(p, DTensor) for p in sharded.parameters())


def check_parts_and_wholes(module: nn.ModuleDict, rank: int) -> None:
    """Whole tensors -> own parts -> whole tensors, for the process that keeps them alone."""
    like = trained(module)
    wholes = [torch.arange(p.numel(), dtype=torch.float32).view(p.shape) for p in like]
    parts = parts_of(wholes, like)
    assert [x.shape for x in parts] == [p.to_local().shape for p in like]
    state = gathered({"step": 3, "averages": joined(parts, like)}, keep=rank == 0)
    assert state["step"] == 3
    if rank == 0:
        assert all(torch.equal(x, y) for x, y in zip(state["averages"], wholes, strict=True))
    else:
        assert state["averages"] == [None] * len(like)

    part, parameter = own_parts(like)[0], like[0]
    part.data.add_(1)
    assert torch.equal(parameter.to_local(), part)
    assert part.requires_grad

    steps = torch.tensor(5.0)
    entry = {"step": steps, "exp_avg": wholes[0]}
    split = split_optimizer_state({"state": {0: entry}, "param_groups": []}, like)
    assert split["state"][0]["step"] is steps
    assert isinstance(split["state"][0]["exp_avg"], DTensor)
    assert torch.equal(split["state"][0]["exp_avg"].to_local(), parts[0])


def process(rank: int, store: str) -> None:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(store, PROCESSES), rank=rank, world_size=PROCESSES
    )
    module = losses()
    shard(module, init_device_mesh("cpu", (PROCESSES,)))
    check_networks_are_split(module)
    check_networks_compute_as_whole_ones(module)
    check_parts_and_wholes(module, rank)
    distributed.destroy_process_group()


def test_networks_are_split_among_processes_and_made_whole_again(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(process, (str(tmp_path / "store"),), PROCESSES)


class Pictures(Dataset[Example]):
    def __getitem__(self, index: int) -> Example:
        return {"hr": torch.full((3, 32, 32), 0.5)}


class Logits(nn.Module):
    """Loss module that notes the number format which its network computes in."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator, self.formats = PatchDiscriminator(4), list[torch.dtype]()

    def forward(self, batch: Example, progress: float, draws: Draws) -> dict[str, torch.Tensor]:
        logits = self.discriminator(batch["hr"])
        self.formats.append(logits.dtype)
        return {"loss": logits.float().mean()}


class LogitsObjective:
    def __init__(self) -> None:
        self.modules, self.dataset = {"logits": Logits()}, Pictures()

    def learning_rate(self, module: str) -> float:
        return 1e-3

    def export(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def sharded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training is sharded, on a mesh of this process alone."""
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    monkeypatch.setattr("training.loop.is_sharded", lambda: True)
    monkeypatch.setattr("training.loop.own_mesh", lambda: init_device_mesh("cpu", (1,)))
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
@pytest.mark.usefixtures("sharded")
def test_sharded_networks_compute_in_the_number_format_of_the_recipe(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    loop = LoopConfig(max_steps=1, batch_size=1, learning_rate=1e-3, crop_px=64, warmup_steps=0,
                      mixed_precision=name)  # type: ignore[arg-type]  # fmt: skip
    objective = LogitsObjective()
    (step,) = train(objective, loop, tmp_path)
    assert objective.modules["logits"].formats == [dtype]
    assert "logits/loss" in step.losses
