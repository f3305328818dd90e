import pytest

from ccsr.ui.tabs.seeds import read_seeds


def test_seeds_are_counted_from_the_first() -> None:
    assert read_seeds(4.0, 3.0) == [4, 5, 6]
    with pytest.raises(ValueError, match="last seed must be at most"):
        read_seeds(2**31 - 1, 2)
