"""The training loop of all stages: mixed precision, accumulation, EMA, checkpoints, exact resume.

A stage is an `Objective`: loss modules, whose forward returns losses, and a dataset. Most stages
have one loss module; adversarial training has two, which are stepped in turn on every batch.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from ccsr.degradation.draws import generator_for
from ccsr.inference.device import choose_device, choose_dtype
from ccsr.models.residual_branches import BranchStatistics, recorded_branches
from training.config import LoopConfig
from training.data import Example

KEPT_CHECKPOINTS = 2


class Objective(Protocol):
    """Loss modules of a stage, its examples and its learning rates."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Loss modules by name, called as module(batch, progress, generator) -> scalars by name.

        `progress` is the share of the run that is done, in [0,1). The parameters that require a
        gradient are trained on the scalar "loss"; the other scalars are logged. A module that
        gives no "loss" does not take part in the step.
        """
        ...

    @property
    def dataset(self) -> Dataset[Example]:
        """The examples, visited in their order."""
        ...

    def learning_rate(self, module: str) -> float:
        """Peak learning rate of a loss module."""
        ...

    def export(self, folder: Path) -> None:
        """Save the trained networks to `folder`."""
        ...


@dataclass(frozen=True)
class TrainStep:
    """One finished optimiser step of every loss module."""

    step: int
    """From 1."""
    losses: Mapping[str, float]
    """Of the last micro-step, as "module/scalar"."""
    learning_rates: Mapping[str, float]
    """By module."""
    seconds: float
    branch_shares: Mapping[str, float] = field(default_factory=dict)
    """At a checkpoint, of every residual block as "module/block": RMS of what it adds over RMS of
    the stream that it is added to. A block near 0 does nothing."""


def mixed_precision(choice: str) -> str:
    """Accelerate's name of a number format; "auto" is resolved as at inference, untested."""
    if choice != "auto":
        return choice
    return "bf16" if choose_dtype("auto", choose_device("auto")) == torch.bfloat16 else "no"


def rate_factor(step: int, warmup_steps: int, max_steps: int, schedule: str = "cosine") -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then `LoopConfig.schedule`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(max_steps - warmup_steps, 1)
    return 0.5 * (1 + cos(pi * min(done, 1.0)))


def train(objective: Objective, config: LoopConfig, folder: Path) -> Iterator[TrainStep]:
    """Train to `max_steps`, from the newest checkpoint in `folder` if it holds one.

    A checkpoint is written every `checkpoint_every` steps, at the end, and when the iterator is
    closed. At the end the modules hold their averaged (EMA) weights.

    Args:
        objective: What to train.
        config: Steps, batches, optimiser.
        folder: An existing folder for checkpoints and log.jsonl.

    Yields:
        One `TrainStep` an optimiser step.
    """
    accelerator = Accelerator(
        mixed_precision=mixed_precision(config.mixed_precision),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
    )
    set_seed(config.seed)
    run = _Run(objective, config, folder, accelerator)
    run.resume()
    try:
        yield from run.steps()
    finally:
        # Within a step some modules may be one optimiser step ahead of the others.
        if run.between_steps and run.step > run.saved_step:
            run.save()
    run.take_averages()


class _Run:
    """State of one call of `train`."""

    def __init__(
        self, objective: Objective, config: LoopConfig, folder: Path, accelerator: Accelerator
    ) -> None:
        self.objective, self.config, self.folder = objective, config, folder
        self.accelerator = accelerator
        self.step = self.saved_step = 0
        self.between_steps = True
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.averages: dict[str, EMAModel] = {}
        for name, module in objective.modules.items():
            trained = [p for p in module.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(
                trained,
                lr=objective.learning_rate(name),
                betas=config.betas,
                weight_decay=config.weight_decay,
            )
            self.modules[name], self.optimizers[name] = accelerator.prepare(module, optimizer)
            self.averages[name] = EMAModel(trained, decay=config.ema_decay, foreach=True)
            accelerator.register_for_checkpointing(self.averages[name])

    def trained(self, name: str) -> list[nn.Parameter]:
        """The parameters of a module that require a gradient."""
        return [p for p in self.objective.modules[name].parameters() if p.requires_grad]

    def batches(self) -> Iterator[Example]:
        """Batches from the current step on, one a micro-step."""
        config, accelerator = self.config, self.accelerator
        per_step = (
            config.batch_size * config.gradient_accumulation_steps * accelerator.num_processes
        )
        examples = Subset(
            self.objective.dataset, range(self.step * per_step, config.max_steps * per_step)
        )
        loader = DataLoader(examples, batch_size=config.batch_size)
        yield from accelerator.prepare(loader)

    def steps(self) -> Iterator[TrainStep]:
        """Take the remaining optimiser steps."""
        batches = self.batches()
        while self.step < self.config.max_steps:
            started = time.perf_counter()
            config = self.config
            factor = rate_factor(self.step, config.warmup_steps, config.max_steps, config.schedule)
            rates = {name: factor * self.objective.learning_rate(name) for name in self.modules}
            for name, optimizer in self.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = rates[name]
            losses: dict[str, float] = {}
            checkpoint = (self.step + 1) % self.config.checkpoint_every == 0
            self.between_steps = False
            with ExitStack() as contexts:
                branches = {
                    name: contexts.enter_context(recorded_branches(module)) if checkpoint else {}
                    for name, module in self.modules.items()
                }
                for micro in range(self.config.gradient_accumulation_steps):
                    losses = self.micro_step(next(batches), micro)
            self.step += 1
            self.between_steps = True
            if checkpoint:
                self.save()
            seconds = time.perf_counter() - started
            done = TrainStep(self.step, losses, rates, seconds, shares_of(branches))
            self.log(done)
            yield done

    def micro_step(self, batch: Example, micro: int) -> dict[str, float]:
        """Accumulate the gradients of one batch in every module; returns "module/scalar" values."""
        progress = self.step / self.config.max_steps
        generator = generator_for(
            self.config.seed, self.step, micro, self.accelerator.process_index, 2
        )
        logged: dict[str, float] = {}
        with self.accelerator.accumulate(*self.modules.values()):
            for name, module in self.modules.items():
                with self.accelerator.autocast():
                    losses = module(batch, progress, generator)
                logged |= {f"{name}/{key}": float(value.detach()) for key, value in losses.items()}
                if "loss" not in losses:
                    continue
                self.accelerator.backward(losses["loss"])
                if self.accelerator.sync_gradients and self.config.max_grad_norm > 0:
                    self.accelerator.clip_grad_norm_(self.trained(name), self.config.max_grad_norm)
                self.optimizers[name].step()
                self.optimizers[name].zero_grad()
                if self.accelerator.sync_gradients:
                    self.averages[name].step(self.trained(name))
        return logged

    def log(self, done: TrainStep) -> None:
        """Append every `log_every`-th step, and those with branch shares, to log.jsonl."""
        due = done.step % self.config.log_every == 0 or done.branch_shares
        if self.accelerator.is_main_process and due:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(dataclasses.asdict(done)) + "\n")

    def save(self) -> None:
        """Write a checkpoint under a temporary name, rename it, and delete the oldest."""
        final = self.folder / f"checkpoint-{self.step:07d}"
        partial = self.folder / f"partial-{self.step:07d}"
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        self.saved_step = self.step
        if not self.accelerator.is_main_process:
            return
        partial.replace(final)
        for old in checkpoints(self.folder)[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one."""
        if found := checkpoints(self.folder):
            self.accelerator.load_state(str(found[-1]))
            self.step = self.saved_step = int(found[-1].name.rpartition("-")[2])
            for average in self.averages.values():
                # load_state reads them to the CPU.
                average.to(self.accelerator.device)

    def take_averages(self) -> None:
        """Copy the EMA weights into the modules."""
        for name, average in self.averages.items():
            average.copy_to(self.trained(name))


def shares_of(branches: Mapping[str, Mapping[str, BranchStatistics]]) -> dict[str, float]:
    """Shares of the blocks of all modules as "module/block"."""
    return {
        f"{module}/{block}": statistics.share
        for module, blocks in branches.items()
        for block, statistics in blocks.items()
    }


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*"))
