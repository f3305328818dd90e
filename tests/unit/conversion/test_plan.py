import pytest
import torch
from torch import nn

from ccsr.conversion.checkpoint import MAX_NAMED, CheckpointError
from ccsr.conversion.plan import TEXT_ENCODER, Network, Source, checked_plan
from ccsr.diffusion.scheduler import NonUniformScheduler

SHAPES = {"old.weight": (4, 6), "old.bias": (4,)}


def on_meta() -> nn.Linear:
    with torch.device("meta"):
        return nn.Linear(3, 2)


def network() -> Network:
    """Rows 2 and 3 of the stored weights, and of their columns the last three."""
    weight = Source("old.weight", rows=slice(2, 4), channels=slice(3, None))
    return Network(on_meta(), {"weight": weight, "bias": Source("old.bias", rows=slice(2, 4))})


def plan(shapes: dict[str, tuple[int, ...]], one: Network, left_out: dict[str, str]) -> object:
    text_encoder = Network(nn.Identity(), {})
    networks = {"unet": one, TEXT_ENCODER: text_encoder}
    return checked_plan("CCSR v9", networks, left_out, shapes, NonUniformScheduler())


def test_weights_are_cut_out_of_the_stored_ones() -> None:
    stored = {"old.weight": torch.arange(24.0).view(4, 6), "old.bias": torch.arange(4.0)}
    loaded = network().load(stored, torch.float16)
    assert isinstance(loaded, nn.Linear)
    assert loaded.weight.dtype == torch.float16
    assert loaded.weight.tolist() == [[15, 16, 17], [21, 22, 23]]
    assert loaded.bias.tolist() == [2, 3]


def test_weights_without_a_source_are_zero_or_an_error() -> None:
    source = {"weight": Source("old.weight", rows=slice(2), channels=slice(3))}
    silent = Network(on_meta(), source, zeros=frozenset({"bias"}))
    loaded = silent.load({"old.weight": torch.ones(4, 6)}, torch.float32)
    assert isinstance(loaded, nn.Linear)
    assert loaded.bias.tolist() == [0, 0]
    assert silent.problems("unet", SHAPES) == []
    assert Network(on_meta(), source).problems("unet", SHAPES) == [
        "missing: what becomes bias of unet"
    ]


def test_plan_accounts_for_every_stored_weight() -> None:
    assert plan(SHAPES, network(), {})
    assert plan(SHAPES | {"extra": (1,)}, network(), {"extra": "not used"})
    for shapes, message in (
        (SHAPES | {"extra": (1,)}, "unknown: extra"),
        ({"old.bias": (4,)}, "missing: old.weight"),
        (SHAPES | {"old.bias": (3,)}, r"wrong shape: old.bias \[3\], expected \[2\]"),
    ):
        with pytest.raises(CheckpointError, match=f"not those of CCSR v9: {message}"):
            plan(shapes, network(), {})


def test_message_names_the_first_problems_and_counts_the_others() -> None:
    extra = {f"extra{number:02d}": (1,) for number in range(MAX_NAMED + 7)}
    with pytest.raises(CheckpointError, match=r"; 7 more$") as refused:
        plan(SHAPES | extra, network(), {})
    assert str(refused.value).count("unknown") == MAX_NAMED
