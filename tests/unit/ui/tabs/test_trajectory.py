import math

from ccsr.config import SamplingConfig
from ccsr.ui.tabs.trajectory import marked_timesteps


def test_empty_boxes_have_no_mark() -> None:
    config = SamplingConfig()
    assert marked_timesteps(config, math.nan, 0.2) == {"t_min": 200}
    assert marked_timesteps(config.replace(variant="v1"), 0.5, 0.2) == {}
    assert marked_timesteps(config.replace(t_min=config.t_max), 0.5, 0.2) == {}
