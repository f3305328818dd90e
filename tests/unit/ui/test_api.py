import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from ccsr.errors import InputError
from ccsr.ui.api import add_endpoint
from ccsr.ui.compute_thread import compute
from ccsr.ui.inputs import FIELDS, setting_slider, settings_controls
from ccsr.ui.model_queue import ModelQueue
from tests.fakes import FakeEngine, run_coroutine


def page(run: Any) -> gr.Blocks:  # noqa: ANN401
    with gr.Blocks() as blocks:
        own = {"picture": gr.Image(type="filepath"), "seed": gr.Number(0)}
        settings = settings_controls(FakeEngine().info, setting_slider("scale", 4.0))
        reference = {"reference": gr.Image(type="filepath")}
        add_endpoint(
            "run", run, {**own, **settings.named(), **reference}, [gr.JSON()], ModelQueue()
        )
    return blocks


def run(
    picture: str, seed: float, *, reference: str | None = None, **values: object
) -> Iterator[Any]:
    """Run the model."""
    if seed < 0:
        raise InputError("seed must be from 0")
    yield {"seed": seed, "reference": reference, "values": values}


def test_parameters_of_an_endpoint_are_its_own_and_the_settings_of_the_model() -> None:
    blocks = page(run)
    endpoint = blocks.get_api_info()["named_endpoints"]["/run"]
    parameters = {p["parameter_name"]: p for p in endpoint["parameters"]}
    hidden = ["prompt", "negative_prompt", "guidance_scale"]
    settings = [name for name in FIELDS if name not in hidden]
    assert list(parameters) == ["picture", "seed", *settings, "reference"]
    required = [name for name, p in parameters.items() if not p["parameter_has_default"]]
    assert required == ["picture"]
    assert parameters["t_max"]["parameter_default"] == 0.6667
    # What it does itself, and what a program needs for all of them.
    assert endpoint["description"].startswith("Run the model. The settings are those of")
    assert "`handle_file`" in endpoint["description"]


def called(blocks: gr.Blocks, **own: object) -> Any:  # noqa: ANN401
    """What the endpoint answers first."""
    endpoint = next(f for f in blocks.fns.values() if f.api_name == "run")
    names = endpoint.input_parameter_names
    values = [
        own.get(name or "", component.value)
        for name, component in zip(names, endpoint.inputs, strict=True)
    ]
    return run_coroutine(blocks.call_function(endpoint, values))["prediction"]


def test_values_arrive_by_name() -> None:
    answer = called(page(run), picture="a.png", seed=3, t_max=0.8, reference="b.png")
    assert (answer["seed"], answer["reference"]) == (3, "b.png")
    assert set(answer["values"]) == set(FIELDS)
    assert answer["values"]["t_max"] == 0.8
    assert answer["values"]["prompt"] == ""


def test_bad_input_is_a_message_for_the_caller() -> None:
    with pytest.raises(gr.Error, match="seed must be from 0"):
        called(page(run), picture="a.png", seed=-1)


def test_the_run_computes_in_the_thread_for_that() -> None:
    def where(**_: object) -> Iterator[str]:
        yield threading.current_thread().name

    assert called(page(where)) == compute(lambda: threading.current_thread().name)
