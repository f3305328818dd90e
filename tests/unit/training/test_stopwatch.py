import itertools

import pytest
import torch
from torch import nn

from ccsr.degradation.draws import generator_for
from training import stopwatch
from training.discriminators import PatchDiscriminator
from training.perceptual import PerceptualLoss
from training.stopwatch import Stopwatch


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later each time."""
    clock = itertools.count()
    monkeypatch.setattr(stopwatch, "now", lambda: float(next(clock)))


@pytest.mark.usefixtures("ticking")
def test_a_part_within_another_is_not_counted_in_the_outer_one() -> None:
    watch = Stopwatch()
    with watch.timed("forward"), watch.timed("judges"):
        pass
    with watch.timed("forward"):
        pass
    assert watch.seconds == {"forward": 3, "judges": 1}


@pytest.mark.usefixtures("ticking")
def test_judges_are_counted_forward_and_back_to_the_picture() -> None:
    judges = nn.ModuleDict({"loss": PerceptualLoss("alex"), "d": PatchDiscriminator(4)})
    watch, sr = Stopwatch(), torch.rand(1, 3, 64, 64, requires_grad=True)
    watch.watch_judges(judges)
    with watch.timed("forward"):
        distance = judges["loss"](sr * 1.0, torch.zeros_like(sr), generator_for(0))
        logits = judges["d"](sr * 1.0).mean()
    assert watch.seconds == {"forward": 3, "judges": 2}
    with watch.timed("backward"):
        (distance - logits).backward()
    assert watch.seconds == {"forward": 3, "judges": 4, "backward": 3}


@pytest.mark.usefixtures("ticking")
def test_backward_pass_to_the_weights_of_a_discriminator_is_no_judging() -> None:
    discriminator, watch = PatchDiscriminator(4), Stopwatch()
    watch.watch_judges(discriminator)
    logits = discriminator(torch.rand(1, 3, 64, 64))
    watch.seconds.clear()
    with watch.timed("backward"):
        logits.mean().backward()
    with watch.timed("optimiser"):
        pass
    assert watch.seconds == {"backward": 1, "optimiser": 1}
