import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from training.data import generator_for
from training.degradation import bicubic, jpeg, mixture, real_esrgan, sinc_kernel


@pytest.fixture(scope="module")
def hr() -> torch.Tensor:
    return torch.from_numpy(data.coffee()[:128, :160].copy()).permute(2, 0, 1)[None].float() / 255


def test_bicubic_reduces_as_pillow_does(hr: torch.Tensor) -> None:
    levels = (hr[0].permute(1, 2, 0) * 255).round().byte().numpy()
    theirs = Image.fromarray(levels).resize((40, 32), Image.Resampling.BICUBIC)
    ours = (bicubic(hr, 4)[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(ours - np.asarray(theirs).astype(float)).max() <= 1


def test_chain_is_fixed_by_its_generator(hr: torch.Tensor) -> None:
    first, again, other = (real_esrgan(hr, 4, generator_for(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_chain_leaves_global_random_state_alone(hr: torch.Tensor) -> None:
    before = torch.random.get_rng_state()
    real_esrgan(hr, 4, generator_for(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_results_are_8_bit_pictures_a_quarter_as_large(hr: torch.Tensor) -> None:
    for seed in range(12):
        lr = real_esrgan(hr, 4, generator_for(seed))
        assert lr.shape == (1, 3, 32, 40)
        assert lr.min() >= 0
        assert lr.max() <= 1
        torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-3, rtol=0)


def test_chain_damages_more_than_bicubic_reduction_but_keeps_the_picture(hr: torch.Tensor) -> None:
    clean = bicubic(hr, 4)
    errors = [
        float((real_esrgan(hr, 4, generator_for(s)) - clean).square().mean().sqrt())
        for s in range(12)
    ]
    assert min(errors) > 1 / 255
    assert max(errors) < 0.25


def test_mixture_takes_its_share_of_each(hr: torch.Tensor) -> None:
    clean = bicubic(hr, 4)
    degrade = mixture(4, bicubic_share=0.3)
    count = sum(torch.equal(degrade(hr, generator_for(seed)), clean) for seed in range(100))
    assert 15 <= count <= 45
    assert torch.equal(mixture(4, 1.0)(hr, generator_for(0)), clean)


@pytest.mark.parametrize("cutoff", [0.7, 1.5, 3.0])
def test_sinc_kernel_passes_slow_waves_and_stops_fast_ones(cutoff: float) -> None:
    kernel = sinc_kernel(21, cutoff)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    response = torch.fft.fft2(kernel).abs()[0]
    frequencies = 2 * np.pi * np.fft.fftfreq(21)
    passed = response[torch.from_numpy(np.abs(frequencies) < 0.5 * cutoff)]
    assert passed.min() > 0.8
    stopped = response[torch.from_numpy(np.abs(frequencies) > 1.5 * cutoff)]
    assert stopped.numel() == 0 or stopped.max() < 0.2


def test_jpeg_damages_more_at_lower_quality(hr: torch.Tensor) -> None:
    errors = [float((jpeg(hr, quality) - hr).abs().mean()) for quality in (95, 60, 20)]
    assert errors == sorted(errors)
    assert errors[0] > 0
