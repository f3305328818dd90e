from contextlib import nullcontext

import pytest
import torch

from ccsr.inference import device
from ccsr.inference.device import can_use_xformers, choose_device, choose_dtype
from training.processes import mixed_precision

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def finite(dtype: torch.dtype) -> bool:
    return True


def overflowing(dtype: torch.dtype) -> bool:
    return False


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(device, "computes_in_bfloat16", lambda device: request.param)


@pytest.mark.parametrize("bfloat16", [True], indirect=True)
@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("where", [CPU, CUDA, MPS], ids=str)
def test_bfloat16_is_taken_where_the_device_computes_in_it(where: torch.device) -> None:
    for test in (finite, overflowing, None):
        assert choose_dtype("auto", where, test) == torch.bfloat16


@pytest.mark.parametrize("bfloat16", [False], indirect=True)
@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("where", [CUDA, MPS], ids=str)
def test_float16_is_taken_only_if_the_networks_stay_finite_in_it(where: torch.device) -> None:
    assert choose_dtype("auto", where, finite) == torch.float16
    assert choose_dtype("auto", where, overflowing) == torch.float32
    assert choose_dtype("auto", where) == torch.float32


@pytest.mark.parametrize("bfloat16", [False], indirect=True)
@pytest.mark.usefixtures("bfloat16")
def test_cpu_without_bfloat16_computes_in_float32() -> None:
    assert choose_dtype("auto", CPU, finite) == torch.float32


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_number_format_that_is_named_is_taken_untested(name: str) -> None:
    assert choose_dtype(name, CPU, overflowing) == getattr(torch, name)


def test_gpu_that_emulates_bfloat16_does_not_compute_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setattr("torch.cuda.device", lambda _: nullcontext())
    asked: list[bool] = []
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported",
        lambda including_emulation=True: asked.append(including_emulation) or including_emulation,
    )
    assert not device.computes_in_bfloat16(CUDA)
    assert asked == [False]


def test_gpu_of_zerogpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> bool:
        raise RuntimeError("there is no GPU outside of calls")

    monkeypatch.setattr("torch.cuda.is_bf16_supported", fail)
    monkeypatch.setattr(device, "is_xformers_available", lambda: True)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert device.computes_in_bfloat16(CUDA)
    assert not can_use_xformers(CUDA)
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert can_use_xformers(CUDA)
    assert not can_use_xformers(CPU)


@pytest.mark.parametrize(("bfloat16", "expected"), [(True, "bf16"), (False, "no")],
                         indirect=["bfloat16"])  # fmt: skip
@pytest.mark.usefixtures("bfloat16")
def test_training_follows_the_same_rule(expected: str) -> None:
    assert mixed_precision("auto") == expected
    assert mixed_precision("fp16") == "fp16"


def test_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        choose_device("abacus")
