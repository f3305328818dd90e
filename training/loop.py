"""The training loop of all stages: mixed precision, accumulation, EMA, checkpoints, exact resume.

A stage is an `Objective`: loss modules, whose forward returns losses, and a dataset. Most stages
have one loss module; adversarial training has two, which are stepped in turn on every batch.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ccsr.errors import InputError
from ccsr.models.residual_branches import BranchStatistics, recorded_branches
from training.checkpoints import (
    checkpoints,
    load_trained_state,
    read_checkpoint,
    remove_old,
    trained_state,
    write_checkpoint,
)
from training.config import LoopConfig, MachineConfig
from training.data import Example
from training.draws import Draws
from training.log import JsonLog, TensorBoardLog
from training.perceptual import set_number_format
from training.processes import is_sharded, make_accelerator, mean_over_processes, own_mesh
from training.sharding import (
    gathered,
    joined,
    own_parts,
    parts_of,
    shard,
    split_again,
    split_optimizer_state,
)
from training.stopwatch import Stopwatch
from training.validation import Validation

LOG_FILE = "log.jsonl"


class Objective(Protocol):
    """Loss modules of a stage, its examples and its learning rates."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Loss modules by name, called as module(batch, progress, draws) -> scalars by name.

        `progress` is the share of the run that is done, in [0,1). The parameters that require a
        gradient are trained on the scalar "loss"; the other scalars are logged. A module that
        gives no "loss" does not take part in the step. A scalar is a mean over the examples: its
        mean over equal parts of a batch is that of the whole.
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
    total: int
    """Steps of the whole run."""
    losses: Mapping[str, float]
    """Means over the batch, as "module/scalar"."""
    learning_rates: Mapping[str, float]
    """By module."""
    seconds: float
    parts: Mapping[str, float]
    """Seconds of them in data, forward, loss networks, backward and optimiser, by `Stopwatch`."""
    branch_shares: Mapping[str, float] = field(default_factory=dict)
    """At a checkpoint, of every residual block as "module/block": RMS of what it adds over RMS of
    the stream that it is added to. A block near 0 does nothing."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of a `Validation`, if there was one after this step."""


def rate_factor(step: int, warmup_steps: int, max_steps: int, schedule: str = "cosine") -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then `LoopConfig.schedule`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(max_steps - warmup_steps, 1)
    return 0.5 * (1 + cos(pi * min(done, 1.0)))


def train(
    objective: Objective,
    config: LoopConfig,
    folder: Path,
    machine: MachineConfig | None = None,
    validation: Validation | None = None,
) -> Iterator[TrainStep]:
    """Train to `max_steps`, from the newest checkpoint in `folder` if it holds one.

    A checkpoint is written every `checkpoint_every` steps, at the end, and when the iterator is
    closed. At the end the modules hold their averaged (EMA) weights. Every batch is shared by all
    processes of `join_processes`, whose number does not change the results but for rounding.

    Args:
        objective: What to train.
        config: Steps, batches, optimiser.
        folder: An existing folder for checkpoints and log.jsonl.
        machine: How the examples are read.
        validation: Scores the averaged weights on held-out pictures. The checkpoint of the best
            score is kept.

    Yields:
        One `TrainStep` an optimiser step.

    Raises:
        InputError: If the processes cannot share a batch equally, or the folder has more steps
            already.
        WriteError: If a checkpoint cannot be written.
    """
    run = _Run(objective, config, folder, machine or MachineConfig())
    run.validation = validation
    run.resume()
    alone = False
    try:
        yield from run.steps()
    except (Exception, KeyboardInterrupt):
        alone = True
        raise
    finally:
        # Within a step some modules may be one optimiser step ahead of the others. What is split
        # among processes none of them can save alone.
        saves = run.between_steps and not (alone and run.mesh is not None)
        if saves and run.step > run.saved_step:
            run.save()
    run.take_averages()


class _Run:
    """State of one call of `train`."""

    def __init__(
        self, objective: Objective, config: LoopConfig, folder: Path, machine: MachineConfig
    ) -> None:
        self.objective, self.config, self.folder = objective, config, folder
        self.machine, self.accelerator = machine, make_accelerator(config)
        self.step = self.saved_step = 0
        self.between_steps = True
        self.validation: Validation | None = None
        self.watch = Stopwatch()
        self.mesh = own_mesh() if is_sharded() else None
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.averages: dict[str, EMAModel] = {}
        for name, module in objective.modules.items():
            self.watch.time_loss_networks(module)
            set_number_format(module, machine.perceptual_dtype)
            if config.gradient_checkpointing:
                checkpoint_gradients(module)
            if self.mesh is not None:
                shard(nn.Module.to(module, self.accelerator.device), self.mesh)
            trained = self.trained(name)
            optimizer = make_optimizer(trained, objective.learning_rate(name), config)
            self.optimizers[name] = self.accelerator.prepare(optimizer)
            # A sharded module shares its gradients itself.
            self.modules[name] = self.accelerator.prepare(module) if self.mesh is None else module
            self.averages[name] = EMAModel(own_parts(trained), decay=config.ema_decay, foreach=True)

    def trained(self, name: str) -> list[nn.Parameter]:
        """The parameters of a module that require a gradient."""
        return [p for p in self.objective.modules[name].parameters() if p.requires_grad]

    def averaged(self, name: str) -> list[nn.Parameter]:
        """What this process averages: the trained parameters of a module, or its parts of them."""
        return own_parts(self.trained(name))

    def part(self, micro: int) -> range:
        """Places in the batch of a step that this process takes in a micro-step."""
        parts = self.config.gradient_accumulation_steps * self.accelerator.num_processes
        size = self.config.batch_size // parts
        start = size * (micro * self.accelerator.num_processes + self.accelerator.process_index)
        return range(start, start + size)

    def batches(self) -> Iterator[Example]:
        """This process' parts of the batches from the current step on, one a micro-step."""
        parts = [self.part(micro) for micro in range(self.config.gradient_accumulation_steps)]
        firsts = (s * self.config.batch_size for s in range(self.step, self.config.max_steps))
        indices = [range(n + p.start, n + p.stop) for n in firsts for p in parts]
        loader = DataLoader(
            self.objective.dataset,
            batch_sampler=indices,  # type: ignore[arg-type] - any sequence of indices serves
            num_workers=self.machine.num_workers,
        )
        for batch in loader:
            yield {key: x.to(self.accelerator.device) for key, x in batch.items()}

    def steps(self) -> Iterator[TrainStep]:
        """Take the remaining optimiser steps."""
        batches, logs = self.batches(), self.logs()
        if self.validation is not None and self.is_main:
            self.validation.start(self.step)
        while self.step < self.config.max_steps:
            started = time.perf_counter()
            self.watch.seconds.clear()
            rates = self.set_learning_rates()
            checkpoint = (self.step + 1) % self.config.checkpoint_every == 0
            self.between_steps = False
            with ExitStack() as contexts:
                branches = {
                    name: contexts.enter_context(recorded_branches(module)) if checkpoint else {}
                    for name, module in self.objective.modules.items()
                }
                losses = self.take_step(batches)
            self.step += 1
            self.between_steps = True
            scores = self.validate()
            if checkpoint or scores:
                self.save()
            seconds = time.perf_counter() - started
            done = TrainStep(
                step=self.step,
                total=self.config.max_steps,
                losses=losses,
                learning_rates=rates,
                seconds=seconds,
                parts=dict(self.watch.seconds),
                branch_shares=shares_of(branches),
                scores=scores,
            )
            if done.step % self.config.log_every == 0 or done.branch_shares or scores:
                for log in logs:
                    log.append(dataclasses.asdict(done))
            yield done

    def logs(self) -> list[JsonLog | TensorBoardLog]:
        """The logs that the main process writes."""
        if not self.is_main:
            return []
        logs: list[JsonLog | TensorBoardLog] = [JsonLog(self.folder / LOG_FILE, self.step)]
        if self.machine.tensorboard:
            logs.append(TensorBoardLog(self.folder, self.step))
        return logs

    def validate(self) -> dict[str, float]:
        """Scores of the averaged weights, if it is time for them; other processes wait."""
        validation, scores = self.validation, dict[str, float]()
        if validation is None:
            return scores
        if self.step % validation.config.every and self.step < self.config.max_steps:
            return scores
        if self.takes_part:
            for name, average in self.averages.items():
                average.store(self.averaged(name))
            self.take_averages()
            scores = validation.score(self.step, self.accelerator.device)
            for name, average in self.averages.items():
                split_again(self.objective.modules[name])
                average.restore(self.averaged(name))
        self.accelerator.wait_for_everyone()
        return scores

    def set_learning_rates(self) -> dict[str, float]:
        """Set and return the learning rates of the current step, by module."""
        config = self.config
        factor = rate_factor(self.step, config.warmup_steps, config.max_steps, config.schedule)
        rates = {name: factor * self.objective.learning_rate(name) for name in self.modules}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rates[name]
        return rates

    def take_step(self, batches: Iterator[Example]) -> dict[str, float]:
        """Take one optimiser step of every module; returns the "module/scalar" means."""
        micros = self.config.gradient_accumulation_steps
        total: Counter[str] = Counter()
        for micro in range(micros):
            with self.watch.timed("data"):
                batch = next(batches)
            total.update(self.micro_step(batch, micro))
        means = torch.tensor(list(total.values()), device=self.accelerator.device) / micros
        return dict(zip(total, mean_over_processes(means).tolist(), strict=True))

    def micro_step(self, batch: Example, micro: int) -> dict[str, float]:
        """Accumulate the gradients of one batch in every module; returns "module/scalar" values."""
        progress = self.step / self.config.max_steps
        draws = Draws(self.config.seed, self.step, self.part(micro), self.config.batch_size)
        logged: dict[str, float] = {}
        with self.accelerator.accumulate(*self.modules.values()):
            for name, module in self.modules.items():
                with self.watch.timed("forward"), self.accelerator.autocast():
                    losses = module(batch, progress, draws)
                logged |= {f"{name}/{key}": float(value.detach()) for key, value in losses.items()}
                if "loss" not in losses:
                    continue
                with self.watch.timed("backward"):
                    self.accelerator.backward(losses["loss"])
                with self.watch.timed("optimiser"):
                    self.update(name)
        return logged

    def update(self, name: str) -> None:
        """Step the optimiser of a module, unless its gradients are still accumulated."""
        if self.accelerator.sync_gradients and self.config.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self.trained(name), self.config.max_grad_norm)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad()
        if self.accelerator.sync_gradients:
            self.averages[name].step(self.averaged(name))

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.accelerator.is_main_process

    @property
    def takes_part(self) -> bool:
        """Whether this process is needed for what the one that writes does with the weights."""
        return self.is_main or self.mesh is not None

    def save(self) -> None:
        """Write a checkpoint and delete the oldest."""
        self.saved_step = self.step
        state = gathered(self.state(), keep=self.is_main) if self.takes_part else {}
        if self.is_main:
            write_checkpoint(self.folder, self.step, state)
            best = None if self.validation is None else self.validation.best
            remove_old(self.folder, self.config.keep_checkpoints, [] if best is None else [best])

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; every random number is a function of the step."""
        scaler = self.accelerator.scaler
        return {
            "modules": {n: trained_state(m) for n, m in self.objective.modules.items()},
            "optimizers": {n: o.state_dict() for n, o in self.optimizers.items()},
            "averages": {n: self.state_of_average(n) for n in self.averages},
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def state_of_average(self, name: str) -> dict[str, Any]:
        """State of the averages of a module."""
        state = self.averages[name].state_dict()
        return {**state, "shadow_params": joined(state["shadow_params"], self.trained(name))}

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one."""
        found = checkpoints(self.folder)
        if not found:
            return
        step, path = list(found.items())[-1]
        if step > self.config.max_steps:
            raise InputError(
                f"{self.folder} has {step} steps already; max_steps must be at least that, got "
                f"{self.config.max_steps}"
            )
        state = read_checkpoint(path)
        for name, module in self.objective.modules.items():
            trained, average = self.trained(name), state["averages"][name]
            load_trained_state(module, state["modules"][name])
            optimizer = split_optimizer_state(state["optimizers"][name], trained)
            self.optimizers[name].load_state_dict(optimizer)
            average["shadow_params"] = parts_of(average["shadow_params"], trained)
            self.averages[name].load_state_dict(average)
            self.averages[name].to(self.accelerator.device)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = self.saved_step = step

    def take_averages(self) -> None:
        """Copy the EMA weights into the modules."""
        for name, average in self.averages.items():
            average.copy_to(self.averaged(name))


def take_checkpoint(objective: Objective, folder: Path, step: int) -> None:
    """Give the modules the averaged weights of a checkpoint of a training step."""
    state = read_checkpoint(checkpoints(folder)[step])
    for name, module in objective.modules.items():
        load_trained_state(module, state["modules"][name])
        trained = [p for p in module.parameters() if p.requires_grad]
        average = EMAModel(trained)
        average.load_state_dict(state["averages"][name])
        average.copy_to(trained)


def make_optimizer(
    trained: list[nn.Parameter], learning_rate: float, config: LoopConfig
) -> torch.optim.Optimizer:
    """The optimiser that a recipe names.

    Raises:
        InputError: If its package is not installed.
    """
    kind: Any = torch.optim.AdamW
    if config.optimizer == "adamw-8bit":
        try:
            import bitsandbytes  # type: ignore[import-not-found] - optional
        except ImportError as error:
            raise InputError(
                'optimizer = "adamw-8bit" needs a package: pip install -r requirements-train.txt'
            ) from error
        kind = bitsandbytes.optim.AdamW8bit
    return kind(trained, lr=learning_rate, betas=config.betas, weight_decay=config.weight_decay)


def checkpoint_gradients(module: nn.Module) -> None:
    """Let the networks in a module compute activations again in the backward pass, where they can.

    Raises:
        InputError: If none of them can.
    """
    networks = [m for m in module.modules() if isinstance(m, ModelMixin)]
    able = 0
    for network in networks:
        with suppress(ValueError):
            network.enable_gradient_checkpointing()
            able += 1
    if networks and not able:
        names = ", ".join(sorted({type(m).__name__ for m in networks}))
        raise InputError(f"gradient_checkpointing: {names} cannot; leave it out")


def shares_of(branches: Mapping[str, Mapping[str, BranchStatistics]]) -> dict[str, float]:
    """Shares of the blocks of all modules as "module/block"."""
    return {
        f"{module}/{block}": statistics.share
        for module, blocks in branches.items()
        for block, statistics in blocks.items()
    }
