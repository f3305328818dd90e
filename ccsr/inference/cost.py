"""What a run costs, from counts alone: before anything is read, built or computed."""

from dataclasses import dataclass

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import LoopStart, timestep_plan
from ccsr.images.picture import PictureError, Size

MAX_WORK = 2000.0
"""Most megapixels of a run: two and a half hours of the compact model on two CPU cores."""
ENCODING, DECODING = 5.0, 10.0
"""Times of an encoding and a decoding in network evaluations of the compact model."""
BYTES_PER_PIXEL = 6
"""Of a result as a file, 16 bits a channel, not compressed."""


@dataclass(frozen=True)
class Cost:
    """What a run costs if nothing of it is there from earlier ones."""

    evaluations: int
    """Network evaluations (NFE)."""
    decodes: int
    """Estimates that are decoded."""
    size: Size
    """Of one result."""

    @property
    def work(self) -> float:
        """Megapixels that go through a network; a decode counts as an evaluation."""
        return (self.evaluations + self.decodes) * self.size.height * self.size.width / 1e6

    @property
    def megapixels(self) -> float:
        """Of one result."""
        return self.size.height * self.size.width / 1e6

    def share_done(self, evaluated: float, decoded: float) -> float:
        """Share of the time that has passed after a share of the evaluations and some decodes."""
        return self._units(evaluated, decoded) / self._units(1, self.decodes)

    def _units(self, evaluated: float, decoded: float) -> float:
        return ENCODING + evaluated * self.evaluations + DECODING * decoded

    @property
    def num_bytes(self) -> int:
        """Most bytes of the results as files."""
        return self.decodes * self.size.height * self.size.width * BYTES_PER_PIXEL


def cost_of(config: SamplingConfig, num_seeds: int, size: Size, loop_start: LoopStart) -> Cost:
    """The cost of one result a seed.

    Args:
        config: The setting.
        num_seeds: Number of seeds.
        size: Of one result.
        loop_start: `ModelInfo.loop_start` of the model.
    """
    evaluations = timestep_plan(config, loop_start).num_evaluations * passes(config)
    return Cost(num_seeds * evaluations, num_seeds, size)


def passes(config: SamplingConfig) -> int:
    """How often the network is evaluated for one step: twice with guidance."""
    return 1 if config.guidance_scale == 1 else 2


def check_cost(cost: Cost, max_work: float = MAX_WORK) -> None:
    """Refuse a run that costs too much.

    Raises:
        PictureError: If its work exceeds `max_work`.
    """
    if cost.work > max_work:
        raise PictureError(
            f"that is {cost.evaluations:,} network evaluations and {cost.decodes:,} decodes of "
            f"{cost.size} pixels, {cost.work:,.0f} megapixels; the limit is {max_work:,.0f}. Take "
            "fewer seeds, settings or steps, or a smaller picture"
        )
