"""The processes of a training: one, or several that share every batch.

Started by `torchrun` or `accelerate launch`, for which `training/launch` has config files; each GPU
has one process, and CPUs have as many as are asked for.
"""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import reduce
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ccsr.errors import InputError
from ccsr.inference.device import choose_device, choose_dtype
from ccsr.whole_file import make_folder
from training.config import LoopConfig

LOCK_FILE = ".lock"
USE_FSDP = "ACCELERATE_USE_FSDP"
"""Variable by which `accelerate launch` tells that its config asks for FSDP."""


def join_processes() -> PartialState:
    """The state of this process among those of the training; the first call connects them.

    Raises:
        InputError: If there are fewer than were asked for: each would train by itself.
    """
    environment = os.environ
    asked = int(environment.get("WORLD_SIZE", "1"))
    # An address to meet at, without ranks: `accelerate launch` sets it for several processes, of
    # which it starts one where it finds no GPU for each.
    if "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment:
        asked = max(asked, 1 if "RANK" in environment else 2)
    state = PartialState(cpu=choose_device("auto").type == "cpu")
    if state.num_processes < asked:
        raise InputError(
            f"{'several' if 'RANK' not in environment else asked} processes were asked for, and "
            f"{state.num_processes} was started; on CPUs start them by: "
            "torchrun --nproc_per_node 2 -m training ..."
        )
    return state


def own_device() -> torch.device:
    """Where this process computes."""
    device = join_processes().device
    assert device is not None
    return device


def own_mesh() -> DeviceMesh:
    """All processes in a row."""
    return init_device_mesh(own_device().type, (join_processes().num_processes,))


def mixed_precision(choice: str) -> str:
    """Accelerate's name of a number format; "auto" is resolved as at inference, untested."""
    if choice != "auto":
        return choice
    return "bf16" if choose_dtype("auto", choose_device("auto")) == torch.bfloat16 else "no"


def make_accelerator(config: LoopConfig) -> Accelerator:
    """What shares the steps of a training among its processes, in the number format of a recipe.

    Raises:
        InputError: If batches cannot be shared equally, or the device lacks the number format.
    """
    state = join_processes()
    parts = state.num_processes * config.gradient_accumulation_steps
    if config.batch_size % parts:
        raise InputError(
            f"batch_size must be divisible by processes * gradient_accumulation_steps = {parts}, "
            f"got {config.batch_size}; change one of them"
        )
    on_cpu = own_device().type == "cpu"
    if config.mixed_precision == "fp16" and on_cpu:
        raise InputError('mixed_precision = "fp16" needs a GPU; take "bf16", "no" or "auto"')
    if is_sharded():
        require_shardable(config)
    # The steps of a recipe may have number formats of their own.
    AcceleratorState._reset_state()  # type: ignore[reportPrivateUsage] - it has no public name
    # It would shard a loss module as one network, whose parts are called one by one.
    with _hidden(USE_FSDP):
        accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision=mixed_precision(config.mixed_precision),
            gradient_accumulation_steps=config.gradient_accumulation_steps,
        )
    if accelerator.distributed_type.name in ("DEEPSPEED", "MEGATRON_LM"):
        raise InputError(
            f"{accelerator.distributed_type.value} is not supported: stage 2 reads gradients at "
            "single weights, which it splits; start with --multi_gpu, or with FSDP"
        )
    return accelerator


def is_sharded() -> bool:
    """Whether the launcher asks that weights are split among the processes (FSDP)."""
    return _flag(USE_FSDP) and join_processes().num_processes > 1


def require_shardable(config: LoopConfig) -> None:
    """Check that a training loop can be sharded, as the launcher asks.

    Raises:
        InputError: If it cannot.
    """
    if _flag("FSDP_OFFLOAD_PARAMS"):
        raise InputError("fsdp_offload_params is not supported; leave it out of the config file")
    if config.mixed_precision == "fp16":
        raise InputError(
            'mixed_precision = "fp16" is not supported with FSDP; take "bf16", "no" or "auto"'
        )
    if config.optimizer == "adamw-8bit":
        raise InputError('optimizer = "adamw-8bit" is not supported with FSDP; take "adamw"')


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


@contextmanager
def _hidden(name: str) -> Generator[None]:
    """Without a variable of the environment while the context is open."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def mean_over_processes(x: torch.Tensor) -> torch.Tensor:
    """The mean of x, of any shape, over all processes; x itself where there is one."""
    mean = reduce(x, "mean") if PartialState().num_processes > 1 else x
    assert isinstance(mean, torch.Tensor)
    return mean


def any_process(value: bool) -> bool:
    """Whether the value is true in any process; all take part."""
    if PartialState().num_processes == 1:
        return value
    total = reduce(torch.tensor(float(value), device=own_device()), "sum")
    return bool(total)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other trainings out of a run folder while the context is open.

    Raises:
        InputError: If another one writes to it.
    """
    if sys.platform == "win32" or not PartialState().is_main_process:
        yield
        return
    import fcntl

    make_folder(folder)
    with (folder / LOCK_FILE).open("w") as file:
        try:
            # The system unlocks it when the process ends, however that happens.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another training writes to {folder}; wait for it, or give another run folder"
            ) from error
        try:
            yield
        finally:
            # A recipe that is refused leaves nothing.
            if [path.name for path in folder.iterdir()] == [LOCK_FILE]:
                shutil.rmtree(folder)
