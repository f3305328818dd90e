"""The cost of a run, known before it begins."""

import time

import pytest

from ccsr.config import SamplingConfig
from ccsr.evaluation.tradeoff import MAX_SETTINGS, grid
from ccsr.images.picture import PictureError, Size
from ccsr.inference.cost import MAX_WORK, Cost, check_cost, cost_of

MEGAPIXEL = Size(1000, 1000)


def test_a_run_costs_its_evaluations_and_decodes() -> None:
    assert cost_of(SamplingConfig(), 10, MEGAPIXEL, "paper") == Cost(160, 10, MEGAPIXEL)
    assert cost_of(SamplingConfig(), 10, MEGAPIXEL, "paper").work == 170
    assert cost_of(SamplingConfig(t_max=0.5), 1, MEGAPIXEL, "official").evaluations == 8
    guided = SamplingConfig(prompt="a cat", guidance_scale=2.0)
    assert cost_of(guided, 1, MEGAPIXEL, "paper").evaluations == 32


def test_encoding_evaluations_and_decodes_have_their_shares_of_the_time() -> None:
    cost = Cost(15, 2, Size(1000, 1000))
    assert cost.share_done(0, 0) == pytest.approx(5 / 40)
    assert cost.share_done(1, 1) == pytest.approx(30 / 40)
    assert cost.share_done(1, 2) == 1
    assert cost.num_bytes == 12_000_000


def test_a_run_at_the_limit_is_allowed_and_one_above_it_refused() -> None:
    check_cost(Cost(int(MAX_WORK) - 1, 1, MEGAPIXEL))
    with pytest.raises(PictureError, match="2,001 megapixels; the limit is 2,000"):
        check_cost(Cost(int(MAX_WORK), 1, MEGAPIXEL))
    with pytest.raises(PictureError, match="the limit is 10"):
        check_cost(Cost(10, 1, MEGAPIXEL), 10)


def test_hours_of_work_are_refused() -> None:
    with pytest.raises(PictureError):
        check_cost(cost_of(SamplingConfig(num_steps=200), 50, Size(1024, 1024), "paper"))


def test_thousands_of_settings_are_refused_at_once() -> None:
    fractions = [i / 3000 for i in range(3000)]
    started = time.process_time()
    with pytest.raises(ValueError, match=f"at most {MAX_SETTINGS} values of t_max .* got 3,000"):
        grid(SamplingConfig(), fractions, fractions)
    assert time.process_time() - started < 0.1
