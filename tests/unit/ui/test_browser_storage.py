from ccsr.config import SamplingConfig
from ccsr.ui.browser_storage import remembered
from ccsr.ui.inputs import (
    FIELDS,
)

DEFAULTS = tuple(getattr(SamplingConfig(), name) for name in FIELDS)


def test_only_values_that_still_fit_are_remembered() -> None:
    names = [*FIELDS, "seed"]
    found = {**dict(zip(FIELDS, DEFAULTS, strict=True)), "seed": 3}
    choices = {"variant": {"ccsr", "v1"}}
    assert remembered(found, names, choices) == found
    others = (
        None,
        {"seed": 3},
        {**found, "t_max": 7},
        {**found, "num_steps": "many"},
        {**found, "variant": "v2"},
        {**found, "variant": []},
    )
    for other in others:
        assert remembered(other, names, choices) == {}
