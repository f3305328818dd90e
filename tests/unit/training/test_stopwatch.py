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
    with watch.timed("forward"), watch.timed("loss networks"):
        pass
    with watch.timed("forward"):
        pass
    assert watch.seconds == {"forward": 3, "loss networks": 1}


@pytest.mark.usefixtures("ticking")
def test_loss_networks_are_counted_forward_and_back_to_the_picture() -> None:
    losses = nn.ModuleDict({"loss": PerceptualLoss("alex"), "d": PatchDiscriminator(4)})
    watch, sr = Stopwatch(), torch.rand(1, 3, 64, 64, requires_grad=True)
    watch.time_loss_networks(losses)
    with watch.timed("forward"):
        distance = losses["loss"](sr * 1.0, torch.zeros_like(sr), generator_for(0))
        logits = losses["d"](sr * 1.0).mean()
    assert watch.seconds == {"forward": 3, "loss networks": 2}
    with watch.timed("backward"):
        (distance - logits).backward()
    assert watch.seconds == {"forward": 3, "loss networks": 4, "backward": 3}


@pytest.mark.usefixtures("ticking")
def test_backward_pass_to_the_weights_of_a_discriminator_is_no_judging() -> None:
    discriminator, watch = PatchDiscriminator(4), Stopwatch()
    watch.time_loss_networks(discriminator)
    logits = discriminator(torch.rand(1, 3, 64, 64))
    watch.seconds.clear()
    with watch.timed("backward"):
        logits.mean().backward()
    with watch.timed("optimiser"):
        pass
    assert watch.seconds == {"backward": 1, "optimiser": 1}
