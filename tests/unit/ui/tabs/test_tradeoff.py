from ccsr.config import SamplingConfig
from ccsr.ui.inputs import FIELDS
from ccsr.ui.tabs.tradeoff import cost_line, read_query

SETTINGS = [getattr(SamplingConfig(), name) for name in FIELDS]


def test_cost_counts_from_where_the_model_starts() -> None:
    values = ["0.5", "0.3333", 2, *SETTINGS]
    assert "1 setting with 2 seeds: 18 network evaluations" in cost_line("paper", *values)
    assert "1 setting with 2 seeds: 16 network evaluations" in cost_line("official", *values)


def test_sweep_that_is_refused_says_why() -> None:
    assert "lower t_min or raise t_max" in cost_line("paper", "0.2", "0.5", 2, *SETTINGS)


def test_swept_settings_are_those_of_the_lists() -> None:
    configs, seeds = read_query(["0.5, 0.8", "0.2", 3, *SETTINGS])
    assert [(config.t_max, config.t_min) for config in configs] == [(0.5, 0.2), (0.8, 0.2)]
    assert list(seeds) == [0, 1, 2]
