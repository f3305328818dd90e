import dataclasses

import pytest

from ccsr.config import SamplingConfig
from ccsr.errors import InputError
from ccsr.ui.origin import Difference, Origin, difference, present_origin

CAT = Origin("uploads/cat.jpg", (SamplingConfig(),), (0,), "hr.png")


def changed(**changes: object) -> Origin:
    return dataclasses.replace(CAT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("present", "picture", "expected"),
    [
        (CAT, CAT.picture, None),
        (changed(picture="dog.jpg"), "dog.jpg", Difference.PICTURE),
        (None, None, Difference.PICTURE),
        (None, CAT.picture, Difference.SETTINGS),
        (changed(configs=(SamplingConfig(t_max=0.5),)), CAT.picture, Difference.SETTINGS),
        (changed(configs=(SamplingConfig(num_steps=9),)), CAT.picture, Difference.SETTINGS),
        (changed(configs=(SamplingConfig(scale=2),)), CAT.picture, Difference.SETTINGS),
        (changed(configs=(SamplingConfig(variant="v2"),)), CAT.picture, Difference.SETTINGS),
        (changed(seeds=(1,)), CAT.picture, Difference.SETTINGS),
        (changed(reference=None), CAT.picture, Difference.REFERENCE),
    ],
)
def test_results_are_told_from_what_is_chosen(
    present: Origin | None, picture: str | None, expected: Difference | None
) -> None:
    assert difference(CAT, present, picture) is expected


def test_refused_settings_have_no_origin() -> None:
    def read(values: object) -> object:
        raise InputError("t_min must not be above t_max")

    assert present_origin("cat.jpg", read, [], None) is None
    assert present_origin("cat.jpg", lambda _: (SamplingConfig(), 0), [], None) == Origin(
        "cat.jpg", (SamplingConfig(),), (0,)
    )


@pytest.mark.parametrize(
    ("configs", "seeds", "text"),
    [
        (
            [SamplingConfig()],
            [0],
            "cat.jpg, x4 · t_max 0.6667 · t_min 0.3333 · S 45 · seed 0 · CCSR",
        ),
        ([SamplingConfig(variant=v) for v in ("v1", "v2")], range(3), "seeds 0-2 · V1, V2"),
        ([SamplingConfig(t_min=t / 10) for t in range(4)], [4, 7], "t_min 4 values"),
        ([SamplingConfig()], [4, 7], "seeds 4, 7"),
    ],
)
def test_caption_names_what_made_a_result(
    configs: list[SamplingConfig], seeds: list[int], text: str
) -> None:
    assert text in Origin.of("uploads/cat.jpg", (configs, seeds)).caption()
