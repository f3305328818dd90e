"""The page as a person uses it, in a real browser, and as a program calls it."""

import base64
import gc
import json
import re
import shlex
import threading
import time
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from ccsr.cli import parser
from ccsr.config import L_STD_HELP, SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.heatmap import with_color_bar
from ccsr.evaluation.report import read_settings, settings_text
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture, read_png_text
from ccsr.images.writing import save_png
from ccsr.inference.engine import load_engine
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.ui.compute_thread import compute
from tests.conftest import WAIT, Serve
from tests.fakes import FakeEngine, FakeSession

pytestmark = pytest.mark.e2e

EVALUATIONS = timestep_plan(SamplingConfig()).num_evaluations


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()


def choose_picture(page: Page, path: Path, field: str = "picture") -> None:
    page.locator(f"#{field} input[type=file]").set_input_files(str(path))
    expect(page.locator(f"#{field} img")).to_be_visible()


def choose_reference(page: Page, path: Path) -> None:
    page.get_by_role("button", name="Reference picture").click()
    choose_picture(page, path, "reference")


def set_number(page: Page, label: str, value: str) -> None:
    box = page.get_by_label(f"number input for {label}")
    # A tab that has just opened fills in its defaults a moment later.
    expect(box).not_to_have_value("")
    box.fill(value)
    box.press("Enter")
    expect(box).to_have_value(value)


def choose_number(page: Page, label: str, value: str) -> None:
    """Type a number beside a slider and leave the box."""
    set_number(page, label, value)
    page.get_by_label(f"number input for {label}").press("Tab")


def drag_slider(page: Page, label: str, value: float) -> None:
    """Press the mouse on a slider from 0 to 1 where `value` is, and let go."""
    slider = page.get_by_role("slider", name=label)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * value, box["y"] + box["height"] / 2)


def expect_size(image: Locator, width: int, height: int) -> None:
    """Wait until a picture of this size is loaded, whatever size it is shown in."""
    expect(image).to_be_visible()
    expect(image).to_have_js_property("naturalWidth", width)
    expect(image).to_have_js_property("naturalHeight", height)


def upscale(page: Page) -> None:
    page.get_by_role("button", name="Upscale", exact=True).click()


def run_seeds(page: Page, number: int) -> None:
    page.get_by_role("tab", name="Seed consistency").click()
    set_number(page, "Number of seeds", str(number))
    page.get_by_role("button", name="Run seeds").click()


def open_with_seeds(page: Page, url: str, picture: Path, number: int) -> None:
    open_page(page, url)
    choose_picture(page, picture)
    run_seeds(page, number)
    expect(page.locator("#seeds-facts")).to_contain_text(f"{number} of {number}")


def test_a_picture_is_upscaled_and_shown_at_the_right_size(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    expect(page.locator("#about-picture")).to_contain_text("60x40 pixels, result 240x160")
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("240x160")
    images = page.locator("#upscale-result img")
    expect(images).to_have_count(2)
    expect_size(images.nth(0), 240, 160)
    expect_size(images.nth(1), 240, 160)
    assert engine.evaluations == EVALUATIONS
    assert engine.threads == {compute(threading.current_thread).name}
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Stop").first).to_be_disabled()


def test_an_example_is_chosen_by_a_click(page: Page, serve: Serve, engine: FakeEngine) -> None:
    open_page(page, serve(engine))
    page.locator("#examples img").first.click()
    expect(page.locator("#picture img")).to_be_visible()
    expect(page.locator("#about-picture")).to_contain_text("pixels, result")


def test_broken_file_after_an_example_is_told_of(
    page: Page, serve: Serve, engine: FakeEngine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    open_page(page, serve(engine))
    page.locator("#examples img").first.click()
    expect(page.locator("#about-picture")).to_contain_text("pixels, result")
    page.locator("#picture input[type=file]").set_input_files(str(broken))
    expect(page.locator("#about-picture")).to_contain_text("broken.png")


def test_the_result_is_in_sight_on_a_desktop(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-facts")).to_be_in_viewport()
    expect(page.locator("#upscale-result")).to_be_in_viewport(ratio=1)


def test_progress_and_a_preview_are_seen_while_it_works(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 60
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-status")).to_contain_text("Waiting")
    engine.delay = 0.3
    engine.released.set()
    engine.released.clear()
    expect(page.locator("#upscale-status")).to_contain_text(f"of {EVALUATIONS} · t = ")
    # The preview has half the size of the input.
    after = page.locator("#upscale-result img").nth(1)
    expect_size(after, 30, 20)
    engine.released.set()
    expect(page.locator("#upscale-facts")).to_contain_text("240x160")


def test_estimates_are_freed_when_the_visitor_leaves(
    page: Page, serve: Serve, picture_file: Path
) -> None:
    sessions: list[weakref.ref[FakeSession]] = []

    class Watched(FakeEngine):
        def session(
            self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
        ) -> FakeSession:
            session = super().session(picture, cache, owner)
            sessions.append(weakref.ref(session))
            return session

    open_page(page, serve(Watched()))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("240x160")
    gc.collect()
    assert sessions[0]() is not None
    page.close()
    deadline = time.monotonic() + WAIT / 1000
    while sessions[0]() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        gc.collect()


def test_stop_stops_the_work_and_keeps_what_is_there(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.5
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-status")).to_contain_text("evaluation 2 of")
    page.get_by_role("button", name="Stop").first.click()
    expect(page.locator("#upscale-status")).to_contain_text("a small preview of the estimate")
    expect_size(page.locator("#upscale-result img").nth(1), 30, 20)
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()
    assert engine.closed.wait(10)
    assert engine.evaluations < EVALUATIONS

    # Another run goes on from there.
    engine.delay = 0
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("240x160")
    expect_size(page.locator("#upscale-result img").nth(1), 240, 160)
    assert engine.evaluations == EVALUATIONS


def test_moving_t_min_shows_the_kept_estimates_and_goes_on_from_them(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    choose_number(page, "t_min", "0.5")
    expect(facts).to_contain_text("0 new of 9")
    assert engine.evaluations == EVALUATIONS
    choose_number(page, "t_min", "0.2")
    expect(facts).to_contain_text("6 new of 22")
    assert engine.evaluations == EVALUATIONS + 6
    expect(page.locator("#upscale-result")).to_be_visible()


def test_keys_move_the_border_between_the_pictures(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    border = page.get_by_role("slider", name="Border between the two pictures").first
    expect(border).to_be_visible()
    border.focus()
    places = [place_of(border)]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        places.append(place_of(border))
    first, second, third, fourth = places
    assert first + 5 < second < third - 5
    assert fourth == pytest.approx(second, abs=4)
    expect(border).to_be_focused()


def place_of(element: Locator) -> float:
    box = element.bounding_box()
    assert box is not None
    return box["x"]


def test_results_that_are_replaced_leave_no_files(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    def made() -> list[str]:
        return sorted(path.name for path in (tmp_path / "served" / "ccsr").rglob("*.png"))

    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    assert len([name for name in made() if name.startswith("cat")]) == 1
    for t_min, told in (("0.5", "0 new of 9"), ("0.2", "6 new of 22")):
        choose_number(page, "t_min", t_min)
        expect(facts).to_contain_text(told)
        expect_size(page.locator("#upscale-result img").nth(0), 240, 160)
        expect_size(page.locator("#upscale-result img").nth(1), 240, 160)
    assert [name for name in made() if not name.startswith("preview")] == [
        "bicubic.png",
        "cat_x4_seed-0.png",
    ]


def test_slider_moved_by_keys_shows_its_result_and_is_remembered(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    url = serve(engine)
    open_page(page, url)
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    slider = page.get_by_role("slider", name="t_min")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    moved = page.get_by_label("number input for t_min").input_value()
    assert float(moved) > 0.334
    expect(facts).to_contain_text("0 new of")
    open_page(page, url)
    expect(page.get_by_label("number input for t_min")).to_have_value(moved)


def test_empty_slider_is_told_of(page: Page, serve: Serve, engine: FakeEngine) -> None:
    open_page(page, serve(engine))
    set_number(page, "t_min", "")
    expect(page.locator("#evaluations")).to_contain_text("t_min is empty")


def test_moving_a_slider_does_nothing_before_the_first_result(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    choose_number(page, "t_min", "0.5")
    expect(page.locator("#evaluations")).to_contain_text("8 refinement steps")
    page.get_by_label("Preset").click()
    page.get_by_role("option", name=re.compile("^A2:")).click()
    # Long enough for an event that should not have been sent to be answered.
    page.wait_for_timeout(1000)
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()
    expect(page.locator("#upscale-status")).not_to_be_empty()
    assert engine.evaluations == 0
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("evaluations9")


def test_result_stays_while_another_setting_is_computed_and_after_stop(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    engine.delay = 0.5
    drag_slider(page, "t_max", 0.9)
    expect(page.locator("#upscale-status")).to_contain_text("evaluation 2 of")
    expect_size(page.locator("#upscale-result img").nth(1), 240, 160)
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    page.get_by_role("button", name="Stop").first.click()
    expect(page.locator("#upscale-status")).to_contain_text("earlier result is shown")
    expect_size(page.locator("#upscale-result img").nth(1), 240, 160)


def test_last_of_several_moves_has_the_last_word(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    engine.delay = 0.2
    drag_slider(page, "t_max", 0.9)
    expect(page.locator("#upscale-status")).to_contain_text("evaluation")
    choose_number(page, "t_max", "0.5")
    expect(facts).to_contain_text("of 9")
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()
    assert engine.evaluations < EVALUATIONS + 26


def test_result_is_that_of_the_last_of_two_moves_within_an_evaluation(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    engine.delay = 2
    drag_slider(page, "t_max", 0.9)
    expect(page.locator("#upscale-status")).to_contain_text("evaluation 1 of")
    choose_number(page, "t_min", "0.2")
    choose_number(page, "t_max", "0.4")
    engine.delay = 0
    expect(facts).to_contain_text("of 11")
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()
    # Long enough for a run that should have been given up to show its result.
    page.wait_for_timeout(1000)
    expect(facts).to_contain_text("of 11")
    expect_size(page.locator("#upscale-result img").nth(1), 240, 160)


def test_refused_move_leaves_the_run_that_is_under_way(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    engine.delay = 0.3
    drag_slider(page, "t_max", 0.9)
    expect(page.locator("#upscale-status")).to_contain_text("evaluation")
    page.get_by_label("Seed", exact=True).fill("")
    choose_number(page, "t_min", "0.5")
    expect(page.get_by_test_id("toast-body").first).to_contain_text("Seed is empty")
    expect(facts).to_contain_text("of 28")
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()


def test_stopped_while_waiting_and_pressed_again_takes_what_is_chosen_then(
    page: Page, browser: Browser, serve: Serve, engine: FakeEngine, picture_file: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    engine.delay = 60
    url = serve(engine)
    open_page(page, url)
    choose_picture(page, picture_file)
    upscale(page)
    assert engine.begun.wait(30)
    second = browser.new_context().new_page()
    open_page(second, url)
    choose_picture(second, picture_file)
    upscale(second)
    expect(second.locator("#upscale-status")).to_contain_text("queue: 1/1")
    second.get_by_role("button", name="Stop").first.click()
    expect(second.locator("#upscale-status")).to_contain_text("Stopped before it began")
    choose_number(second, "t_min", "0.5")
    upscale(second)
    engine.delay = 0
    engine.released.set()
    expect(second.locator("#upscale-facts")).to_contain_text("evaluations9")


def test_preset_sets_the_sliders_and_updates_the_result(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    facts = page.locator("#upscale-facts")
    expect(facts).to_contain_text(f"evaluations{EVALUATIONS}")
    page.get_by_label("Preset").click()
    page.get_by_role("option", name=re.compile("^A2:")).click()
    expect(page.locator("#evaluations")).to_contain_text("8 refinement steps")
    expect(facts).to_contain_text("0 new of 9")
    choose_number(page, "t_max", "0.9")
    expect(page.get_by_label("Preset")).to_have_value("")


def test_a_reloaded_page_is_as_it_was_left(page: Page, serve: Serve, engine: FakeEngine) -> None:
    url = serve(engine)
    open_page(page, url)
    page.get_by_label("Preset").click()
    page.get_by_role("option", name=re.compile("^A4:")).click()
    expect(page.get_by_label("number input for t_min")).to_have_value("0.2")
    page.get_by_label("Seed", exact=True).fill("41")
    page.get_by_role("tab", name="Trade-off").click()
    box = page.get_by_label("Values of t_max")
    box.clear()
    box.press_sequentially("0.")
    stored = '"sweep_t_maxs":"0.8"'
    with page.expect_response(
        lambda answer: answer.url.endswith("/run/predict") and stored in answer.text()
    ):
        box.press_sequentially("8")
    expect(page.locator("#sweep-cost")).to_contain_text("3 settings")

    open_page(page, url)
    expect(page.get_by_label("number input for t_min")).to_have_value("0.2")
    expect(page.locator("#evaluations")).to_contain_text("21 refinement steps")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("41")
    page.get_by_role("tab", name="Trade-off").click()
    expect(page.get_by_label("Values of t_max")).to_have_value("0.8")


def test_a_model_that_reads_text_has_prompts(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.reads_text = True
    url = serve(engine)
    open_page(page, url)
    choose_picture(page, picture_file)
    page.get_by_role("button", name="Prompt").click()
    page.locator("#prompt textarea").fill("a cat's eye")
    choose_number(page, "Guidance scale", "3")
    expect(page.locator("#evaluations")).to_contain_text("each with and without the prompt")
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("240x160")
    page.get_by_role("button", name="Make it again").click()
    command = page.locator("#command textarea").input_value()
    options = parser().parse_args(shlex.split(command.removeprefix("python -m ccsr")))
    assert (options.prompt, options.guidance_scale) == ("a cat's eye", 3.0)

    open_page(page, url)
    page.get_by_role("button", name="Prompt").click()
    expect(page.get_by_label("number input for Guidance scale")).to_have_value("3")
    expect(page.locator("#prompt textarea")).to_have_value("a cat's eye")


@pytest.mark.parametrize("reads_text", [True, False])
def test_programs_are_offered_prompts_only_where_they_are_read(
    reads_text: bool, serve: Serve, engine: FakeEngine
) -> None:
    engine.reads_text = reads_text
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name in ("/upscale", "/seeds", "/sweep"):
        offered = {parameter["parameter_name"] for parameter in endpoints[name]["parameters"]}
        assert {"picture", "color"} <= offered
        assert ({"prompt", "negative_prompt", "guidance_scale"} <= offered) == reads_text
        assert not any("param" in parameter for parameter in offered)


def test_a_second_visitor_sees_the_place_in_the_queue(
    page: Page, browser: Browser, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 60
    url = serve(engine)
    open_page(page, url)
    choose_picture(page, picture_file)
    upscale(page)
    assert engine.begun.wait(30)
    second = browser.new_context().new_page()
    open_page(second, url)
    choose_picture(second, picture_file)
    upscale(second)
    expect(second.locator("#upscale-status")).to_contain_text("queue: 1/1")
    engine.delay = 0
    engine.released.set()
    for visitor in (page, second):
        expect(visitor.locator("#upscale-facts")).to_contain_text("240x160")
    second.context.close()


def load_settings(page: Page, path: Path) -> None:
    page.locator("#load-settings input[type=file]").set_input_files(str(path))


def test_settings_come_back_from_a_picture_made_here(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    config = SamplingConfig(t_max=0.8, t_min=0.2, num_steps=30, color="wavelet")
    made = tmp_path / "made.png"
    save_png(made, load_picture(picture_file), settings_text(config, 41, engine.info))
    open_page(page, serve(engine))
    load_settings(page, made)
    expect(page.get_by_label("Seed", exact=True)).to_have_value("41")
    expect(page.get_by_label("number input for t_max")).to_have_value("0.8")
    expect(page.locator("#evaluations")).to_contain_text(
        f"{timestep_plan(config).num_evaluations} network evaluations"
    )
    load_settings(page, picture_file)
    expect(page.get_by_test_id("toast-body")).to_contain_text("holds no settings")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("41")
    box = page.get_by_label("number input for t_min")
    expect(box).to_have_value("0.2")
    # What reads the boxes is still there. Emptied in the moment of the message, a box was sometimes
    # not heard; why is not known, and nobody types that soon after it.
    page.wait_for_timeout(1000)
    box.fill("")
    expect(box).to_have_value("")
    box.press("Tab")
    expect(page.locator("#evaluations")).to_contain_text("t_min is empty")


def test_settings_are_dropped_on_the_page_again_and_again(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    open_page(page, serve(engine))
    for seed in (41, 42):
        made = tmp_path / f"{seed}.png"
        save_png(
            made, load_picture(picture_file), settings_text(SamplingConfig(), seed, engine.info)
        )
        data = base64.b64encode(made.read_bytes()).decode()
        dropped = page.evaluate_handle(
            """([data, name]) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
                return transfer;
            }""",
            [data, made.name],
        )
        target = page.locator("#load-settings button").first
        target.dispatch_event("drop", {"dataTransfer": dropped})
        expect(page.get_by_label("Seed", exact=True)).to_have_value(str(seed))


def test_result_says_how_to_make_it_again(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    set_number(page, "t_max", "0.8")
    upscale(page)
    page.get_by_role("button", name="Make it again").click()
    command = page.locator("#command").locator("input, textarea")
    expect(command).to_have_value(
        "python -m ccsr upscale cat.png --output results --model fake --t-max 0.8"
    )
    expect(page.locator("#code textarea")).to_have_value(
        re.compile(r"SamplingConfig\(t_max=0\.8\)")
    )


def test_the_downloaded_png_has_the_settings_inside(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_label("Seed", exact=True).fill("7")
    upscale(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download PNG").click()
    path = tmp_path / "downloaded.png"
    download.value.save_as(path)
    assert download.value.suggested_filename == "cat_x4_seed-7.png"
    assert load_picture(path).size == (160, 240)
    settings = json.loads(read_png_text(path)["ccsr"])
    assert settings["seed"] == 7
    assert settings["t_max"] == SamplingConfig().t_max


def test_the_dice_throws_a_new_seed(page: Page, serve: Serve, engine: FakeEngine) -> None:
    open_page(page, serve(engine))
    seed = page.get_by_label("Seed", exact=True)
    expect(seed).to_have_value("0")
    page.get_by_role("button", name="Random").click()
    expect(seed).not_to_have_value("0")


def test_the_line_of_evaluations_follows_the_sliders(
    page: Page, serve: Serve, engine: FakeEngine
) -> None:
    open_page(page, serve(engine))
    line = page.locator("#evaluations")
    expect(line).to_have_text("15 refinement steps, 16 network evaluations")
    set_number(page, "t_max", "0.5")
    expect(line).to_have_text("8 refinement steps, 9 network evaluations")
    set_number(page, "t_min", "0.5")
    expect(line).to_have_text("First estimate only, no refinement: 1 network evaluation")
    set_number(page, "t_min", "0.6")
    expect(line).to_contain_text("t_min must not be above t_max")


def test_settings_that_do_not_fit_are_refused_before_any_work(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    set_number(page, "t_min", "0.9")
    upscale(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("t_min must not be above t_max")
    assert engine.evaluations == 0


def test_without_a_picture_the_page_asks_for_one(
    page: Page, serve: Serve, engine: FakeEngine
) -> None:
    open_page(page, serve(engine))
    upscale(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("Choose a picture first")
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()


def test_an_empty_seed_gets_a_clear_message(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_label("Seed", exact=True).fill("")
    upscale(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("Seed is empty")


def test_a_file_that_is_no_picture_gets_a_clear_message(
    page: Page, serve: Serve, engine: FakeEngine, tmp_path: Path
) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("This is not a picture.")
    open_page(page, serve(engine))
    page.locator("#picture input[type=file]").set_input_files(str(bad))
    expect(page.locator("#about-picture")).to_contain_text("notes.png is not a picture")
    upscale(page)
    expect(page.get_by_test_id("toast-body")).to_contain_text("notes.png is not a picture")


def test_an_unexpected_failure_is_told_without_its_details(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.failure = RuntimeError("secret/path/of/the/server")
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("The run failed")
    expect(toast).not_to_contain_text("secret")
    expect(page.locator("#upscale-status")).to_contain_text("The run did not finish")
    expect(page.get_by_role("button", name="Upscale", exact=True)).to_be_enabled()


def test_only_the_variants_of_the_model_are_offered(page: Page, serve: Serve) -> None:
    open_page(page, serve(FakeEngine(variants=("ccsr", "v2"))))
    page.get_by_text("Scale, colours, variant").click()
    expect(page.get_by_role("radio", name="v2")).to_be_visible()
    expect(page.get_by_role("radio", name="v1")).to_have_count(0)


def test_seeds_are_compared_and_their_spread_is_shown(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    run_seeds(page, 4)
    facts = page.locator("#seeds-facts")
    expect(facts).to_contain_text("4 of 4")
    expect(facts).to_contain_text(L_STD_HELP)
    expect(facts.locator("svg")).to_be_visible()
    expect(page.locator("#seeds-gallery img")).to_have_count(4)
    # The map has the colour bar below.
    scaled = with_color_bar(np.zeros((160, 240)), 1.0)
    expect_size(page.locator("#seeds-map img"), scaled.shape[1], scaled.shape[0])
    first = page.locator("#seeds-map img").get_attribute("src")
    page.get_by_label("Over the picture").check()
    expect(page.locator("#seeds-map img")).not_to_have_attribute("src", first or "")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download report").click()
    path = tmp_path / "report.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        report = json.loads(archive.read("report.json"))
    assert names >= {f"seed-{n}.png" for n in range(4)} | {"mean.png", "l_std.png", "report.json"}
    assert report["seeds"] == [0, 1, 2, 3]
    expect(facts).to_contain_text(f"{report['l_std']:.4f}")


def test_clicking_a_seed_compares_it(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_with_seeds(page, serve(engine), picture_file, 3)
    right = page.locator("#seeds-pair img").nth(1)
    left = page.locator("#seeds-pair img").nth(0)
    expect(left).to_have_attribute("src", re_name("mean.png"))
    expect(right).to_have_attribute("src", re_name("seed-0.png"))
    page.locator("#seeds-gallery img").nth(2).click()
    expect(right).to_have_attribute("src", re_name("seed-2.png"))
    page.get_by_label("Left").click()
    page.get_by_role("option", name="seed 1").click()
    expect(left).to_have_attribute("src", re_name("seed-1.png"))


def re_name(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name) + "$")


def test_stopping_the_seeds_keeps_what_has_arrived(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    engine.delay = 0.1
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    set_number(page, "t_max", "0.4")
    run_seeds(page, 20)
    expect(page.locator("#seeds-facts")).to_contain_text("2 of 20")
    page.get_by_role("button", name="Stop").last.click()
    status = page.locator("#seeds-status")
    expect(status).to_contain_text(re.compile(r"Stopped\. \d+ of 20 seeds kept"))
    assert engine.closed.wait(10)
    assert engine.evaluations < 10 * timestep_plan(SamplingConfig(t_max=0.4)).num_evaluations
    kept = int(status.inner_text().split()[1])
    assert 2 <= kept < 20
    expect(page.locator("#seeds-gallery img")).to_have_count(kept)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report").click()
    path = tmp_path / "report.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert len([n for n in archive.namelist() if n.startswith("seed-")]) == kept


def test_fading_follows_the_slider_and_the_chosen_seed(
    page: Page,
    serve: Serve,
    engine: FakeEngine,
    picture_file: Path,
    reference_file: Path,
    tmp_path: Path,
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_role("tab", name="Seed consistency").click()
    choose_reference(page, reference_file)
    run_seeds(page, 3)
    expect(page.locator("#seeds-facts")).to_contain_text("3 of 3")
    page.get_by_role("button", name="Keep only what the seeds agree on").click()
    facts, faded = page.locator("#agreement-facts"), page.locator("#agreement-pair img").nth(1)
    expect(facts).to_contain_text("Faded")
    expect(facts).to_contain_text("PSNR")
    evaluations = engine.evaluations
    set_number(page, "Agreement", "0")
    expect(facts).to_contain_text("Faded100.0%")
    page.locator("#seeds-gallery img").nth(2).click()
    expect(faded).to_have_attribute("src", re_name("agreed-3-0-seed-2.png"))
    with page.expect_download() as download:
        page.locator("#agreement-download").click()
    path = tmp_path / "faded.png"
    download.value.save_as(path)
    assert load_picture(path).size == (160, 240)
    set_number(page, "Agreement", "0.1")
    expect(facts).to_contain_text("Faded0.0%")
    assert engine.evaluations == evaluations


def test_a_reference_gives_a_table_of_scores(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_role("tab", name="Seed consistency").click()
    choose_reference(page, reference_file)
    run_seeds(page, 2)
    table = page.locator("#seeds-scores table")
    for name in ("PSNR (dB)", "SSIM", "LPIPS"):
        expect(table.get_by_role("columnheader", name=name)).to_be_visible()
    for name in ("Mean", "G-STD", "Bicubic", "Seed 0", "Seed 1"):
        expect(table.get_by_role("rowheader", name=name)).to_be_visible()


def run_sweep(page: Page, t_maxs: str, t_mins: str, seeds: int) -> None:
    page.get_by_role("tab", name="Trade-off").click()
    for label, text in (("t_max", t_maxs), ("t_min", t_mins)):
        page.get_by_label(f"Values of {label}").fill(text)
    set_number(page, "Seeds a setting", str(seeds))
    page.get_by_role("button", name="Compare").click()


def test_sweep_draws_its_points_and_shows_the_one_that_is_clicked(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    choose_reference(page, reference_file)
    run_sweep(page, "0.5, 0.6667", "0.3333, 0.5", 2)
    points = page.locator("#sweep-plot [id^=point-]")
    expect(points).to_have_count(4)
    announced = page.locator("#sweep-cost").inner_text()
    assert f"{engine.evaluations} network evaluations" in announced
    assert engine.evaluations == 2 * (9 + 15)
    right, left = (page.locator("#sweep-pair img").nth(i) for i in (1, 0))
    expect(left).to_have_attribute("src", re_name("t_max-0.6667_t_min-0.3333_seed-0.png"))
    expect(right).to_have_attribute("src", re_name("t_max-0.6667_t_min-0.5_seed-0.png"))
    for name in ("tradeoff.csv", "tradeoff.json", "tradeoff.png"):
        expect(page.locator("#sweep-files").get_by_role("cell", name=name)).to_be_visible()
    expect(page.get_by_role("button", name="Compare")).to_be_enabled()
    # Not A1 or A2: of the fake engine they lie one on the other.
    points.nth(1).locator("use").click()
    expect(right).to_have_attribute("src", re_name("t_max-0.5_t_min-0.5_seed-0.png"))
    # The keyboard does the same.
    points.nth(0).focus()
    page.keyboard.press("Enter")
    expect(right).to_have_attribute("src", re_name("t_max-0.5_t_min-0.3333_seed-0.png"))
    table = page.locator("#sweep-table table")
    expect(table.get_by_role("rowheader", name="A1: t_max 0.5, t_min 0.3333")).to_be_visible()


def test_sweep_without_settings_in_order_is_refused(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    run_sweep(page, "0.2", "0.5", 2)
    expect(page.get_by_test_id("toast-body")).to_contain_text("lower t_min or raise t_max")
    expect(page.locator("#sweep-cost")).to_contain_text("lower t_min or raise t_max")
    assert engine.evaluations == 0


def test_stopping_a_sweep_keeps_the_settings_that_are_done(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.1
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    run_sweep(page, "0.5, 0.9", "0.4", 2)
    expect(page.locator("#sweep-status")).to_contain_text("1 of 2 settings done")
    page.get_by_role("button", name="Stop").last.click()
    expect(page.locator("#sweep-status")).to_contain_text("Stopped. 1 of 2 settings kept.")
    expect(page.locator("#sweep-plot [id^=point-]")).to_have_count(1)


def test_trajectory_shows_the_estimates_and_its_marks_can_be_dragged(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text(f"evaluations{EVALUATIONS}")
    page.get_by_role("tab", name="Trajectory").click()
    page.get_by_role("button", name="Show the trajectory").click()
    expect(page.locator("#trajectory-strip img")).to_have_count(EVALUATIONS)
    # The run that was made before is not made again.
    assert engine.evaluations == EVALUATIONS
    mark = page.locator("#trajectory-plot [id=mark-t_min-0]")
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 20, y, steps=4)
    page.mouse.up()
    value = page.get_by_label("number input for t_min")
    expect(value).not_to_have_value("0.3333")
    dragged = float(value.input_value())
    assert 0.34 < dragged < 0.6
    # The picture follows the setting, and so do the marks, whatever moves it.
    expect(page.locator("#trajectory-strip img")).to_have_count(EVALUATIONS)
    mark.focus()
    for _ in range(2):
        before = value.input_value()
        page.keyboard.press("ArrowRight")
        expect(value).not_to_have_value(before)
        expect(mark).to_be_focused()
    assert dragged - 0.05 < float(value.input_value()) < dragged
    choose_number(page, "t_min", "0.1")
    page.wait_for_function(
        """(x) => document.querySelector("[id=mark-t_min-0]").getBoundingClientRect().x > x + 50""",
        arg=x,
    )
    # At its limit the mark stays, however often a key is pressed.
    choose_number(page, "t_min", "0")
    expect(mark).to_have_attribute("aria-valuenow", "0")
    mark.focus()
    place = place_of(mark)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(value).not_to_have_value("0")
    assert place_of(mark) < place


def test_estimate_of_a_trajectory_carries_the_settings_that_end_there(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_role("tab", name="Trajectory").click()
    page.get_by_role("button", name="Show the trajectory").click()
    expect(page.locator("#trajectory-strip img")).to_have_count(EVALUATIONS)
    address = page.locator("#trajectory-strip img").nth(2).get_attribute("src")
    assert address is not None
    saved = tmp_path / "estimate.png"
    saved.write_bytes(page.request.get(address).body())
    found = read_settings(saved)
    assert timestep_plan(found.config).num_evaluations == 3


def test_results_stay_while_new_ones_are_made(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_with_seeds(page, serve(engine), picture_file, 3)
    engine.delay = 60
    engine.begun.clear()
    page.get_by_role("button", name="Run seeds").click()
    expect(page.locator("#seeds-status")).to_contain_text("Waiting")
    assert engine.begun.wait(30)
    expect(page.locator("#seeds-gallery img")).to_have_count(3)
    expect(page.locator("#seeds-facts")).to_contain_text("3 of 3")
    page.get_by_role("button", name="Stop").last.click()
    engine.released.set()
    expect(page.locator("#seeds-status")).to_contain_text("earlier result is shown")
    expect_size(page.locator("#seeds-pair img").nth(1), 240, 160)


def test_variants_are_shown_side_by_side(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    choose_reference(page, reference_file)
    page.get_by_role("tab", name="Variants").click()
    set_number(page, "Seeds a variant", "2")
    page.get_by_role("button", name="Compare variants").click()
    gallery, table = page.locator("#variants-gallery"), page.locator("#variants-table table")
    expect(gallery.locator("img")).to_have_count(9)
    expect(gallery).to_contain_text("ccsr, worst")
    for variant in ("v1", "v2", "ccsr"):
        expect(table.get_by_role("rowheader", name=variant, exact=True)).to_be_visible()
    expect(table.get_by_role("columnheader", name="G-STD of PSNR (dB)")).to_be_visible()


def test_model_of_one_variant_has_nothing_to_compare(page: Page, serve: Serve) -> None:
    open_page(page, serve(FakeEngine(variants=("ccsr",))))
    expect(page.get_by_role("tab", name="Trajectory")).to_be_visible()
    expect(page.get_by_role("tab", name="Variants")).to_have_count(0)


def test_a_reference_of_the_wrong_size_is_refused_before_any_work(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_role("tab", name="Seed consistency").click()
    choose_reference(page, picture_file)
    run_seeds(page, 2)
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("the reference must be 240x160")
    assert engine.evaluations == 0


@pytest.mark.parametrize(
    ("tab", "button", "result"),
    [
        ("Upscale", "Upscale", "#upscale-facts dt"),
        ("Seed consistency", "Run seeds", "#seeds-map img"),
        ("Trade-off", "Compare", "#sweep-plot svg"),
        ("Trajectory", "Show the trajectory", "#trajectory-plot svg"),
        ("Variants", "Compare variants", "#variants-table table"),
    ],
)
def test_a_narrow_page_does_not_scroll_sideways(
    page: Page, serve: Serve, engine: FakeEngine, picture_file: Path, tab: str, button: str,
    result: str,
) -> None:  # fmt: skip
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, serve(engine))
    choose_picture(page, picture_file)
    page.get_by_role("tab", name=tab).click()
    start = page.get_by_role("button", name=button, exact=True)
    start.click()
    expect(page.locator(result).first).to_be_visible()
    expect(start).to_be_enabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_asks_nothing_of_other_hosts(page: Page, serve: Serve, engine: FakeEngine) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    url = serve(engine)
    open_page(page, url)
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []


def test_a_program_upscales_through_the_api(
    serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    arguments = {"picture": handle_file(str(picture_file)), "seed": 3, "scale": 2}
    result, details = client.predict(**arguments, api_name="/upscale")
    assert load_picture(result).size == (80, 120)
    assert json.loads(read_png_text(result)["ccsr"])["seed"] == 3
    assert details["size"] == "120x80"
    again, _ = client.predict(**arguments, api_name="/upscale")
    assert Path(again).read_bytes() == Path(result).read_bytes()
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_runs_seeds_through_the_api(
    serve: Serve, engine: FakeEngine, picture_file: Path, reference_file: Path
) -> None:
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    archive, l_std_map, report = client.predict(
        picture=handle_file(str(picture_file)),
        first_seed=5,
        num_seeds=3,
        reference=handle_file(str(reference_file)),
        api_name="/seeds",
    )
    with zipfile.ZipFile(archive) as files:
        assert "seed-7.png" in files.namelist()
    assert Image.open(l_std_map).width == 240
    assert report["seeds"] == [5, 6, 7]
    assert set(report["metrics"]) == {"psnr", "ssim", "lpips"}
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_sweeps_through_the_api(
    serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    files, record = client.predict(
        picture=handle_file(str(picture_file)), t_maxs="0.8", t_mins="0.3,0.5", num_seeds=2,
        api_name="/sweep",
    )  # fmt: skip
    assert [Path(path).name for path in files] == ["tradeoff.csv", "tradeoff.json", "tradeoff.png"]
    assert [point["t_min"] for point in record["points"]] == [0.3, 0.5]
    assert all(point["consistency"] > 0 for point in record["points"])
    assert engine.threads == {compute(threading.current_thread).name}


def test_a_program_gets_the_same_messages(
    serve: Serve, engine: FakeEngine, picture_file: Path
) -> None:
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    picture = handle_file(str(picture_file))
    with pytest.raises(AppError, match=r"t_max must be a number from 0 to 1, got 1\.5"):
        client.predict(picture=picture, t_max=1.5, api_name="/upscale")
    with pytest.raises(AppError, match="Number of seeds must be a whole number from 2 to 50"):
        client.predict(picture=picture, num_seeds=51, api_name="/seeds")
    assert engine.evaluations == 0


def test_the_api_names_its_parameters_and_hides_the_rest(serve: Serve, engine: FakeEngine) -> None:
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/upscale", "/seeds", "/sweep"}
    names = [p["parameter_name"] for p in endpoints["/upscale"]["parameters"]]
    assert names == ["picture", "seed", "scale", "variant", "num_steps", "t_max", "t_min", "color"]
    assert [r["label"] for r in endpoints["/seeds"]["returns"]] == [
        "Report and pictures",
        "L-STD map",
        "Report",
    ]


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "I;16", "LA"])
def test_pictures_of_all_kinds_are_upscaled(
    serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / ("kind.tif" if mode == "CMYK" else "kind.png")
    picture = Image.open(picture_file)
    if mode == "I;16":
        grey = np.asarray(picture.convert("L"), np.uint16) * 257
        Image.fromarray(grey).save(path)
    else:
        picture.convert(mode).save(path)
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    result, _ = client.predict(picture=handle_file(str(path)), api_name="/upscale")
    restored = load_picture(result)
    assert restored.size == (160, 240)
    assert (restored.alpha is not None) == (mode in ("RGBA", "LA"))
    assert restored.bits == (16 if mode == "I;16" else 8)


def test_a_turned_photograph_is_shown_upright(
    serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "turned.jpg"
    picture = Image.open(picture_file)
    exif = picture.getexif()
    exif[274] = 6
    picture.convert("RGB").save(path, exif=exif)
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    result, _ = client.predict(picture=handle_file(str(path)), api_name="/upscale")
    assert load_picture(result).size == (240, 160)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.png", "is empty"),
        ("cut.png", "damaged or incomplete"),
        ("tiny.png", "1x1 pixels"),
        ("wide.png", "20000x300 pixels"),
    ],
)
def test_pictures_that_cannot_be_upscaled_get_a_clear_message(
    serve: Serve, engine: FakeEngine, picture_file: Path, tmp_path: Path, name: str, message: str
) -> None:
    path = tmp_path / name
    whole = picture_file.read_bytes()
    if name == "wide.png":
        Image.new("RGB", (20_000, 300)).save(path)
    elif name == "tiny.png":
        Image.new("RGB", (1, 1)).save(path)
    else:
        path.write_bytes(b"" if name == "empty.png" else whole[: len(whole) // 2])
    client = Client(serve(engine), verbose=False, analytics_enabled=False)
    with pytest.raises(AppError, match=message):
        client.predict(picture=handle_file(str(path)), api_name="/upscale")
    assert engine.evaluations == 0


def test_compact_model_upscales_on_the_page(page: Page, serve: Serve, picture_file: Path) -> None:
    open_page(page, serve(load_engine("compact")))
    choose_picture(page, picture_file)
    upscale(page)
    expect(page.locator("#upscale-facts")).to_contain_text("240x160", timeout=120_000)
    expect_size(page.locator("#upscale-result img").nth(1), 240, 160)


def test_compact_model_sweeps_on_the_page(page: Page, serve: Serve, picture_file: Path) -> None:
    open_page(page, serve(load_engine("compact")))
    choose_picture(page, picture_file)
    run_sweep(page, "0.5, 0.6667", "0.3333, 0.5", 2)
    expect(page.locator("#sweep-table tbody tr")).to_have_count(4, timeout=120_000)
    expect(page.get_by_role("button", name="Compare")).to_be_enabled()
    expect(page.locator("#sweep-plot [id^=point-]")).to_have_count(4)
    for index in (0, 1):
        expect_size(page.locator("#sweep-pair img").nth(index), 240, 160)
