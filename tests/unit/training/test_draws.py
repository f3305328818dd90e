import torch

from training.draws import Draws


def test_draws_do_not_depend_on_how_a_batch_is_split() -> None:
    like = torch.zeros(12, 2, 3)

    def drawn(parts: list[range]) -> tuple[torch.Tensor, ...]:
        each = [Draws(5, 7, part, 12) for part in parts]
        return (
            torch.cat([d.normal(like[: len(d.part)]) for d in each]),
            torch.cat([d.uniform() for d in each]),
            torch.cat([d.timesteps(range(667)) for d in each]),
            torch.tensor([d.part[i] for d in each for i in d.some(5)]),
        )

    whole, split = drawn([range(12)]), drawn([range(3 * i, 3 * i + 3) for i in range(4)])
    assert all(torch.equal(a, b) for a, b in zip(whole, split, strict=True))
    assert len(whole[3]) == 5
    assert len(set(whole[0].flatten().tolist())) == like.numel()
    another = Draws(5, 8, range(12), 12)
    assert not torch.equal(another.normal(like), whole[0])
    assert not torch.equal(another.timesteps(range(667)), whole[2])


def test_timesteps_are_stratified_over_their_range() -> None:
    for step in range(50):
        t = Draws(0, step, range(10), 10).timesteps(range(100, 767)) - 100
        for part, value in enumerate(sorted(t.tolist())):
            assert 66.7 * part - 1 < value < 66.7 * (part + 1)
