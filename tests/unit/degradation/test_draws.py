import torch

from ccsr.degradation.draws import (
    chance,
    choose,
    generator_for,
    random_float,
    random_int,
    random_odd,
)


def test_generator_depends_on_all_numbers_of_its_key() -> None:
    first, again, other, order = (
        float(torch.rand(1, generator=generator_for(*key)))
        for key in ((1, 2), (1, 2), (1, 3), (2, 1))
    )
    assert first == again
    assert len({first, other, order}) == 3


def test_draws_stay_in_their_ranges_and_reach_their_ends() -> None:
    generator = generator_for(0)
    assert {random_int(generator, 2, 4) for _ in range(100)} == {2, 3, 4}
    assert {random_odd(generator, 7, 11) for _ in range(100)} == {7, 9, 11}
    floats = [random_float(generator, 1, 3) for _ in range(1000)]
    assert 1 <= min(floats) < 1.05
    assert 2.95 < max(floats) < 3
    assert 200 < sum(chance(generator, 0.3) for _ in range(1000)) < 400
    chosen = [choose(generator, ("a", "b", "c"), (0.1, 0.0, 0.9)) for _ in range(1000)]
    assert chosen.count("b") == 0
    assert 50 < chosen.count("a") < 150
