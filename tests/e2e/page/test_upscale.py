"""Upscaling one picture: the run, its previews, its Stop, and its reruns."""

import gc
import json
import re
import shlex
import threading
import time
import weakref
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ccsr.cli import parser
from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture, read_texts
from ccsr.inference.engine import load_engine
from ccsr.inference.estimate_cache import EstimateCache
from ccsr.ui.compute_thread import compute
from tests.e2e.page.conftest import Serve, Server
from tests.e2e.page.page_objects import WAIT, CCSRPage, Tab, box_at_rest, expect_size
from tests.fakes import FakeEngine, FakeSession

pytestmark = pytest.mark.e2e

EVALUATIONS = timestep_plan(SamplingConfig()).num_evaluations
ALL = f"Network evaluations{EVALUATIONS}"


def test_a_picture_is_upscaled_and_shown_at_the_right_size(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    expect(ui.about).to_contain_text("60x40 pixels, result 240x160")
    ui.upscale.finish("240x160")
    expect(ui.upscale.images).to_have_count(2)
    expect_size(ui.upscale.before, 240, 160)
    expect_size(ui.upscale.after, 240, 160)
    assert engine.evaluations == EVALUATIONS
    assert engine.threads == {compute(threading.current_thread).name}
    ui.upscale.expect_ready()


def test_progress_and_a_preview_are_seen_while_it_works(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 60
    ui.choose_picture(picture_file)
    ui.upscale.run()
    # Until there is something better, the enlargement is shown, and called so.
    expect(ui.upscale.images).to_have_count(1)
    expect_size(ui.upscale.before, 240, 160)
    expect(ui.upscale.loupe.cells.locator("figcaption")).to_have_text("Bicubic")
    engine.delay = 0.3
    engine.released.set()
    engine.released.clear()
    expect(ui.upscale.status).to_contain_text(f"of {EVALUATIONS} · t = ")
    # The preview is smaller than the result, and drawn in its size.
    expect_size(ui.upscale.after, 120, 80)
    expect(ui.upscale.loupe.cells.locator("figcaption").last).to_contain_text("Estimate after step")
    boxes = [ui.upscale.loupe.box(image) for image in (ui.upscale.before, ui.upscale.after)]
    assert boxes[0] == boxes[1]
    engine.released.set()
    expect(ui.upscale.facts).to_contain_text("240x160")


def test_waiting_can_be_read_before_and_during_a_run(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.1
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    # Measured by the run before, for this picture, and for another tab.
    takes = r"Takes (about )?[1-9]\d?( to [1-9]\d?)? s on this machine"
    expect(ui.upscale.expected).to_have_text(re.compile(takes))
    ui.seeds.open()
    expect(ui.seeds.expected).to_contain_text("on this machine")
    ui.upscale.open()
    engine.delay = 60
    engine.begun.clear()
    ui.upscale.seed.fill("1")
    ui.upscale.run()
    assert engine.begun.wait(30)
    left = re.compile(r"Reading the picture, (about \d+ s|less than 1 s) left")
    expect(ui.upscale.status).to_contain_text(left)
    engine.delay = 0.3
    engine.released.set()
    engine.released.clear()
    expect(ui.upscale.status).to_contain_text("Sharpening, ")
    engine.released.set()
    ui.upscale.expect_ready()


@pytest.mark.parametrize("name", ["upscale", "seeds", "tradeoff", "trajectory", "variants"])
def test_how_long_a_run_takes_gives_way_to_how_long_is_left(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, name: str
) -> None:
    tab: Tab = getattr(ui, name)
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    # Another than that of the first run, whose estimates are kept.
    ui.upscale.seed.fill("1")
    tab.open()
    expect(tab.expected).to_contain_text("on this machine")
    expect(tab.expected).to_be_visible()
    engine.delay = 60
    tab.run()
    expect(tab.status).to_contain_text("left")
    expect(tab.expected).to_be_hidden()
    tab.stop.click()
    engine.released.set()
    tab.expect_ready()
    expect(tab.expected).to_be_visible()


def test_estimates_are_freed_when_the_visitor_leaves(
    ui: CCSRPage, server: Server, picture_file: Path
) -> None:
    sessions: list[weakref.ref[FakeSession]] = []

    class Watched(FakeEngine):
        def session(
            self, picture: Picture, cache: EstimateCache | None = None, owner: str = ""
        ) -> FakeSession:
            session = super().session(picture, cache, owner)
            sessions.append(weakref.ref(session))
            return session

    server.engine = Watched()
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    gc.collect()
    assert sessions[0]() is not None
    ui.page.close()
    deadline = time.monotonic() + WAIT / 1000
    while sessions[0]() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        gc.collect()


def test_stop_stops_the_work_and_keeps_what_is_there(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 0.5
    ui.choose_picture(picture_file)
    ui.upscale.run()
    expect(ui.upscale.status).to_contain_text(re.compile("evaluation [2-9] of"))
    ui.upscale.stop.click()
    expect(ui.upscale.status).to_contain_text("Shown is what there is: Estimate after step")
    expect_size(ui.upscale.after, 120, 80)
    ui.upscale.expect_ready()
    assert engine.closed.wait(10)
    assert engine.evaluations < EVALUATIONS

    # Another run goes on from there.
    engine.delay = 0
    ui.upscale.finish("240x160")
    expect_size(ui.upscale.after, 240, 160)
    assert engine.evaluations == EVALUATIONS


def test_stop_button_says_stopping_until_the_run_has_ended(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.delay = 60
    ui.choose_picture(picture_file)
    ui.upscale.run()
    assert engine.begun.wait(30)
    ui.upscale.stop.click()
    expect(ui.upscale.stop).to_have_text("Stopping")
    expect(ui.upscale.stop).to_be_disabled()
    expect(ui.upscale.start).to_be_disabled()
    engine.released.set()
    expect(ui.upscale.status).to_contain_text("Stopped.")
    ui.upscale.expect_ready()
    assert engine.evaluations == 1


def test_moving_t_min_shows_the_kept_estimates_and_goes_on_from_them(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    ui.choose_number("t_min", "0.5")
    expect(ui.upscale.facts).to_contain_text("0 new of 9")
    assert engine.evaluations == EVALUATIONS
    ui.choose_number("t_min", "0.2")
    expect(ui.upscale.facts).to_contain_text("6 new of 22")
    assert engine.evaluations == EVALUATIONS + 6
    expect(ui.upscale.result).to_be_visible()


def test_keys_move_the_border_between_the_pictures(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.run()
    border = ui.upscale.border
    # The last frame of a run sets the pictures again, and with them the border.
    expect(ui.upscale.facts).to_contain_text("Network evaluations")
    border.focus()
    places = [box_at_rest(border)["x"]]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        ui.page.keyboard.press(key)
        places.append(box_at_rest(border)["x"])
    first, second, third, fourth = places
    assert first + 5 < second < third - 5
    assert fourth == pytest.approx(second, abs=4)
    expect(border).to_be_focused()


def test_results_that_are_replaced_leave_no_files(
    page: Page, serve: Serve, picture_file: Path, tmp_path: Path
) -> None:
    def made() -> list[str]:
        return sorted(path.name for path in (tmp_path / "served" / "ccsr").rglob("*.png"))

    ui = CCSRPage(page, serve(FakeEngine())).open()
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    assert len([name for name in made() if name.startswith("cat")]) == 1
    for t_min, fact in (("0.5", "0 new of 9"), ("0.2", "6 new of 22")):
        ui.choose_number("t_min", t_min)
        expect(ui.upscale.facts).to_contain_text(fact)
        expect_size(ui.upscale.before, 240, 160)
        expect_size(ui.upscale.after, 240, 160)
    # Earlier results stay to be compared with.
    assert [name for name in made() if name.startswith("bicubic")] == ["bicubic.png"]
    assert [name for name in made() if name.startswith("cat")] == ["cat_x4_seed-0.png"] * 3


def test_slider_moved_by_keys_shows_its_result_and_is_remembered(
    ui: CCSRPage, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    ui.slider("t_min").focus()
    for _ in range(20):
        ui.page.keyboard.press("ArrowRight")
    moved = ui.number("t_min").input_value()
    assert float(moved) > 0.334
    expect(ui.upscale.facts).to_contain_text("0 new of")
    ui.open()
    expect(ui.number("t_min")).to_have_value(moved)


def test_moving_a_slider_does_nothing_before_the_first_result(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.choose_number("t_min", "0.5")
    expect(ui.cost).to_contain_text("8 refinement steps")
    ui.choose_preset("A2")
    # The events of the settings have been answered by then, and so would be a run.
    ui.come_to_rest()
    expect(ui.upscale.start).to_be_enabled()
    expect(ui.upscale.status).not_to_be_empty()
    assert engine.evaluations == 0
    ui.upscale.finish("Network evaluations9")


def test_result_stays_while_another_setting_is_computed_and_after_stop(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    engine.delay = 0.5
    ui.drag_slider("t_max", 0.9)
    expect(ui.upscale.status).to_contain_text(re.compile("evaluation [2-9] of"))
    expect_size(ui.upscale.after, 240, 160)
    expect(ui.upscale.facts).to_contain_text(ALL)
    ui.upscale.stop.click()
    expect(ui.upscale.status).to_contain_text("earlier result is shown")
    expect_size(ui.upscale.after, 240, 160)


def test_last_of_several_moves_has_the_last_word(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    engine.delay = 0.2
    ui.drag_slider("t_max", 0.9)
    expect(ui.upscale.status).to_contain_text("evaluation")
    ui.choose_number("t_max", "0.5")
    expect(ui.upscale.facts).to_contain_text("of 9")
    ui.upscale.expect_ready()
    assert engine.evaluations < EVALUATIONS + 26


def test_result_is_that_of_the_last_of_two_moves_within_an_evaluation(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    engine.delay = 2
    ui.drag_slider("t_max", 0.9)
    expect(ui.upscale.status).to_contain_text("evaluation 1 of")
    ui.choose_number("t_min", "0.2")
    ui.choose_number("t_max", "0.4")
    engine.delay = 0
    expect(ui.upscale.facts).to_contain_text("of 11")
    ui.upscale.expect_ready()
    # A run that should have been given up would have shown its result by then.
    ui.come_to_rest()
    expect(ui.upscale.facts).to_contain_text("of 11")
    expect_size(ui.upscale.after, 240, 160)


def test_refused_move_leaves_the_run_that_is_under_way(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    engine.delay = 0.3
    ui.drag_slider("t_max", 0.9)
    expect(ui.upscale.status).to_contain_text("evaluation")
    ui.upscale.seed.fill("")
    ui.choose_number("t_min", "0.5")
    ui.expect_refusal("Seed is empty")
    expect(ui.upscale.facts).to_contain_text("of 28")
    ui.upscale.expect_ready()


def test_preset_sets_the_sliders_and_updates_the_result(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish(ALL)
    ui.choose_preset("A2")
    expect(ui.cost).to_contain_text("8 refinement steps")
    expect(ui.upscale.facts).to_contain_text("0 new of 9")
    ui.choose_number("t_max", "0.9")
    expect(ui.preset).to_have_value("Custom")


def waiting_visitor(
    ui: CCSRPage, browser: Browser, engine: FakeEngine, picture_file: Path
) -> CCSRPage:
    """Have one visitor's run at the model and a second visitor's in the queue; the second."""
    engine.delay = 60
    ui.choose_picture(picture_file)
    ui.upscale.run()
    assert engine.begun.wait(30)
    second = CCSRPage(browser.new_context().new_page(), ui.url).open()
    second.choose_picture(picture_file)
    second.upscale.run()
    expect(second.upscale.status).to_contain_text("1 ahead")
    return second


def test_a_second_visitor_sees_the_place_in_the_queue(
    ui: CCSRPage, browser: Browser, engine: FakeEngine, picture_file: Path
) -> None:
    second = waiting_visitor(ui, browser, engine, picture_file)
    engine.delay = 0
    engine.released.set()
    for visitor in (ui, second):
        expect(visitor.upscale.facts).to_contain_text("240x160")
    second.page.context.close()


def test_stopped_while_waiting_and_pressed_again_takes_what_is_chosen_then(
    ui: CCSRPage, browser: Browser, engine: FakeEngine, picture_file: Path
) -> None:
    second = waiting_visitor(ui, browser, engine, picture_file)
    second.upscale.stop.click()
    expect(second.upscale.status).to_contain_text("Stopped before it began")
    second.choose_number("t_min", "0.5")
    second.upscale.run()
    engine.delay = 0
    engine.released.set()
    expect(second.upscale.facts).to_contain_text("Network evaluations9")
    second.page.context.close()


def test_values_are_those_at_the_press(
    ui: CCSRPage, browser: Browser, engine: FakeEngine, picture_file: Path
) -> None:
    second = waiting_visitor(ui, browser, engine, picture_file)
    second.choose_number("t_min", "0.5")
    expect(second.cost).to_contain_text("8 refinement steps")
    engine.delay = 0
    engine.released.set()
    expect(second.upscale.facts).to_contain_text(ALL)
    second.page.context.close()


def test_result_says_how_to_make_it_again(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.set_number("t_max", "0.8")
    ui.upscale.run()
    ui.upscale.make_again.click()
    expect(ui.upscale.command).to_have_value(
        "python -m ccsr upscale cat.png --output results --model fake --t-max 0.8"
    )
    assert "SamplingConfig(t_max=0.8)" in ui.upscale.code.input_value()


def test_the_downloaded_png_has_the_settings_inside(
    ui: CCSRPage, picture_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "downloaded.png"
    ui.choose_picture(picture_file)
    ui.upscale.seed.fill("7")
    ui.upscale.run()
    assert ui.upscale.download(path) == "cat_x4_seed-7.png"
    assert load_picture(path).size == (160, 240)
    settings = json.loads(read_texts(path)["ccsr"])
    assert settings["seed"] == 7
    assert settings["t_max"] == SamplingConfig().t_max


def test_the_dice_throws_a_new_seed(ui: CCSRPage) -> None:
    expect(ui.upscale.seed).to_have_value("0")
    ui.upscale.random.click()
    expect(ui.upscale.seed).not_to_have_value("0")


def test_settings_that_do_not_fit_are_refused_before_any_work(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.set_number("t_min", "0.9")
    ui.upscale.run()
    ui.expect_refusal("t_min must not be above t_max")
    assert engine.evaluations == 0


def test_without_a_picture_the_page_asks_for_one(ui: CCSRPage) -> None:
    ui.upscale.run()
    ui.expect_refusal("Choose a picture first")
    expect(ui.upscale.start).to_be_enabled()


def test_an_empty_seed_gets_a_clear_message(ui: CCSRPage, picture_file: Path) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.seed.fill("")
    ui.upscale.run()
    ui.expect_refusal("Seed is empty")


def test_a_file_that_is_no_picture_gets_a_clear_message(ui: CCSRPage, tmp_path: Path) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("This is not a picture.")
    ui.give_file(bad)
    expect(ui.about).to_contain_text("notes.png is not a picture")
    ui.upscale.run()
    ui.expect_refusal("notes.png is not a picture")


def test_an_unexpected_failure_is_told_without_its_details(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    engine.failure = RuntimeError("secret/path/of/the/server")
    ui.choose_picture(picture_file)
    ui.upscale.run()
    expect(ui.toast).to_contain_text("The run failed")
    expect(ui.toast).not_to_contain_text("secret")
    expect(ui.upscale.status).to_contain_text("The run failed")
    ui.upscale.expect_ready()


def test_a_model_that_reads_text_has_prompts(page: Page, serve: Serve, picture_file: Path) -> None:
    ui = CCSRPage(page, serve(FakeEngine(reads_text=True))).open()
    ui.choose_picture(picture_file)
    prompt = page.locator("#prompt textarea")
    ui.unfold(page.get_by_role("button", name="Prompt"))
    prompt.fill("a cat's eye")
    ui.choose_number("Guidance scale", "3")
    expect(ui.cost).to_contain_text("each with and without the prompt")
    ui.upscale.finish("240x160")
    ui.upscale.make_again.click()
    command = ui.upscale.command.input_value()
    options = parser().parse_args(shlex.split(command.removeprefix("python -m ccsr")))
    assert (options.prompt, options.guidance_scale) == ("a cat's eye", 3.0)

    ui.open()
    ui.unfold(page.get_by_role("button", name="Prompt"))
    expect(ui.number("Guidance scale")).to_have_value("3")
    expect(prompt).to_have_value("a cat's eye")


def test_steps_are_counted_from_where_the_model_starts(
    page: Page, serve: Serve, picture_file: Path
) -> None:
    engine = FakeEngine(loop_start="official")
    ui = CCSRPage(page, serve(engine)).open()
    ui.choose_picture(picture_file)
    ui.choose_preset("A1")
    expect(ui.cost).to_have_text("7 refinement steps, 8 network evaluations")
    ui.upscale.finish("Network evaluations8")
    assert engine.evaluations == 8


def test_compact_model_upscales_on_the_page(page: Page, serve: Serve, picture_file: Path) -> None:
    ui = CCSRPage(page, serve(load_engine("compact"))).open()
    expect(ui.picture).to_be_visible()  # the example that the page opens with
    ui.choose_picture(picture_file)
    ui.upscale.run()
    expect(ui.upscale.facts).to_contain_text("240x160", timeout=120_000)
    expect_size(ui.upscale.after, 240, 160)


def test_settings_moved_in_another_tab_run_nothing_unseen(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path
) -> None:
    ui.choose_picture(picture_file)
    ui.upscale.finish("240x160")
    ui.seeds.open()
    before = engine.evaluations
    ui.choose_number("t_min", "0.2")
    ui.come_to_rest()
    assert engine.evaluations == before
    ui.upscale.open()
    expect(ui.upscale.origin).to_contain_text("Of other settings")
    ui.choose_number("t_min", "0.25")
    expect(ui.upscale.facts).to_contain_text("new of")
