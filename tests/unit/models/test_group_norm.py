from fractions import Fraction

import pytest
import torch

from ccsr.models.group_norm import in_normalised_tiles, moments
from ccsr.models.tiling import in_tiles


@torch.no_grad()
def test_norms_have_the_statistics_of_the_whole_and_are_restored() -> None:
    norm, conv = torch.nn.GroupNorm(2, 4), torch.nn.Conv2d(4, 4, 3, padding=1)
    function = torch.nn.Sequential(conv, norm, torch.nn.SiLU(), conv)
    x = torch.rand(1, 4, 20, 24) * torch.linspace(0, 1, 24)
    whole = function(x)
    found = in_normalised_tiles(function, [norm], x, 8, 2, Fraction(1))
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    apart = in_tiles(function, x, 8, 2, Fraction(1))
    assert (apart - whole).abs().max() > 0.1
    torch.testing.assert_close(function(x), whole)


@torch.no_grad()
def test_norm_that_the_function_does_not_contain_is_refused() -> None:
    with pytest.raises(ValueError, match="does not contain"):
        in_normalised_tiles(
            torch.nn.Identity(),
            [torch.nn.GroupNorm(1, 1)],
            torch.rand(1, 1, 9, 9),
            4,
            0,
            Fraction(1),
        )


@torch.no_grad()
@pytest.mark.parametrize(("mean", "sigma"), [(0, 1), (100, 0.01), (-3000, 1)])
def test_small_deviations_from_a_large_mean_are_normalised(mean: float, sigma: float) -> None:
    norm = torch.nn.GroupNorm(2, 4, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    generator = torch.Generator().manual_seed(0)
    x = mean + sigma * torch.randn(1, 4, 20, 24, generator=generator)
    found = in_normalised_tiles(norm, [norm], x, 8, 0, Fraction(1))
    torch.testing.assert_close(found, norm(x), rtol=1e-3, atol=5e-3)
    exact = norm.double()(x.double()).float()
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=5e-3)


def test_merged_moments_are_those_of_all_values() -> None:
    x = 100 + 0.01 * torch.randn(1, 6, 10, 12, generator=torch.Generator().manual_seed(0))
    merged = moments(x[:, :, :3], 2).merged(moments(x[:, :, 3:], 2))
    variance, mean = torch.var_mean(x.double().reshape(2, -1), 1, correction=0)
    assert merged.count == 3 * 120
    torch.testing.assert_close(merged.mean, mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(merged.variance, variance, rtol=1e-3, atol=0)
