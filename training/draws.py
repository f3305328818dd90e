"""The random numbers of a training step, the same however its batch is split.

A batch is split over processes and, with accumulation, over micro-steps. What is drawn for an
example is a function of seed, step and the place of the example in the whole batch.
"""

import torch

from ccsr.degradation.draws import generator_for

_OF_EXAMPLES, _OF_STEPS = 2, 3
"""Set these draws apart from those of the crops and degradations of the same seed."""


class Draws:
    """Random numbers for one part of a batch.

    Args:
        seed: Of the run.
        step: Number of the step.
        part: Places of the part's examples in the batch.
        batch_size: Examples in the whole batch, a multiple of the part's.
    """

    def __init__(self, seed: int, step: int, part: range, batch_size: int) -> None:
        self.part, self.batch_size = part, batch_size
        self.shared = generator_for(seed, step, _OF_STEPS)
        """For what is drawn once a step: every part draws the same from it."""
        first = step * batch_size
        self._examples = [generator_for(seed, first + place, _OF_EXAMPLES) for place in part]

    @property
    def parts(self) -> float:
        """How many parts of this size the batch has."""
        return self.batch_size / len(self.part)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal noise of the shape, dtype and device of `like` [B,...]."""
        noise = [torch.randn(like.shape[1:], generator=g) for g in self._examples]
        return torch.stack(noise).to(like)

    def uniform(self) -> torch.Tensor:
        """A number in [0,1) for each example [B]."""
        return torch.cat([torch.rand(1, generator=g) for g in self._examples])

    def timesteps(self, timesteps: range) -> torch.Tensor:
        """Timesteps [B] out of a range, stratified over the whole batch.

        One comes from each of as many equal parts of the range as the batch has examples, in random
        order. Each is uniform by itself; stratification lowers the variance of the loss.
        """
        count, below = self.batch_size, len(timesteps)
        places = torch.arange(count) + torch.rand(count, generator=self.shared)
        t = timesteps.start + (places / count * below).long().clamp(max=below - 1)
        return t[torch.randperm(count, generator=self.shared)][self.part.start : self.part.stop]

    def some(self, count: int) -> list[int]:
        """Places within this part of `count` examples that are spread evenly over the batch."""
        count = min(count, self.batch_size)
        return [i for i, place in enumerate(self.part) if place * count % self.batch_size < count]
