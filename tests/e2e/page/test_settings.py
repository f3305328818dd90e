"""The settings beside the tabs: what they cost, and how they come back."""

import base64
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ccsr.config import SamplingConfig
from ccsr.diffusion.timesteps import timestep_plan
from ccsr.evaluation.report import settings_text
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from tests.e2e.page.conftest import Serve
from tests.e2e.page.page_objects import CCSRPage, wait_until_filled
from tests.fakes import FakeEngine

pytestmark = pytest.mark.e2e

SLOW_FRAMES = """() => {
    const frame = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (then) => setTimeout(() => frame(then), 300);
}"""


def test_empty_slider_is_told_of(ui: CCSRPage) -> None:
    ui.set_number("t_min", "")
    expect(ui.cost).to_contain_text("t_min is empty")


def test_number_typed_into_a_tab_that_has_just_opened_stays(ui: CCSRPage) -> None:
    """Also where frames take long, as on a machine that is busy."""
    ui.page.evaluate(SLOW_FRAMES)
    ui.variants.open()
    ui.set_number("Seeds a variant", "2")
    wait_until_filled(ui.page)
    expect(ui.number("Seeds a variant")).to_have_value("2")


def test_the_line_of_evaluations_follows_the_sliders(ui: CCSRPage) -> None:
    expect(ui.cost).to_have_text("15 refinement steps, 16 network evaluations")
    ui.set_number("t_max", "0.5")
    expect(ui.cost).to_have_text("8 refinement steps, 9 network evaluations")
    ui.set_number("t_min", "0.5")
    expect(ui.cost).to_have_text("First estimate only, no refinement: 1 network evaluation")
    ui.set_number("t_min", "0.6")
    expect(ui.cost).to_contain_text("t_min must not be above t_max")


def test_page_comes_to_rest_after_several_settings_changed_at_once(ui: CCSRPage) -> None:
    ui.choose_preset("Fast")
    expect(ui.cost).to_have_text("1 refinement step, 2 network evaluations")
    ui.come_to_rest()


def test_only_the_variants_of_the_model_are_offered(page: Page, serve: Serve) -> None:
    CCSRPage(page, serve(FakeEngine(variants=("ccsr", "v2")))).open()
    page.get_by_text("Colours, variant").click()
    expect(page.get_by_role("radio", name="V2", exact=True)).to_be_visible()
    expect(page.get_by_role("radio", name="V1")).to_have_count(0)


def test_a_reloaded_page_is_as_it_was_left(ui: CCSRPage) -> None:
    ui.choose_preset("A4")
    expect(ui.number("t_min")).to_have_value("0.2")
    ui.upscale.seed.fill("41")
    ui.tradeoff.open()
    ui.tradeoff.t_maxs.clear()
    ui.tradeoff.t_maxs.press_sequentially("0.")
    stored = '"sweep_t_maxs":"0.8"'
    with ui.page.expect_response(
        lambda answer: answer.url.endswith("/run/predict") and stored in answer.text()
    ):
        ui.tradeoff.t_maxs.press_sequentially("8")
    expect(ui.tradeoff.cost).to_contain_text("3 settings")

    ui.open()
    expect(ui.number("t_min")).to_have_value("0.2")
    expect(ui.cost).to_contain_text("21 refinement steps")
    expect(ui.upscale.seed).to_have_value("41")
    ui.tradeoff.open()
    expect(ui.tradeoff.t_maxs).to_have_value("0.8")


def test_settings_come_back_from_a_picture_made_here(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    config = SamplingConfig(t_max=0.8, t_min=0.2, num_steps=30, color="wavelet")
    made = tmp_path / "made.png"
    save_png(made, load_picture(picture_file), settings_text(config, 41, engine.info))
    ui.load_settings(made)
    expect(ui.upscale.seed).to_have_value("41")
    expect(ui.number("t_max")).to_have_value("0.8")
    expect(ui.cost).to_contain_text(f"{timestep_plan(config).num_evaluations} network evaluations")
    ui.load_settings(picture_file)
    ui.expect_refusal("holds no settings")
    expect(ui.upscale.seed).to_have_value("41")
    box = ui.number("t_min")
    expect(box).to_have_value("0.2")
    # The message leaves what reads the boxes as it was.
    box.fill("")
    expect(ui.cost).to_contain_text("t_min is empty")


def test_settings_are_dropped_on_the_page_again_and_again(
    ui: CCSRPage, engine: FakeEngine, picture_file: Path, tmp_path: Path
) -> None:
    for seed in (41, 42):
        made = tmp_path / f"{seed}.png"
        text = settings_text(SamplingConfig(), seed, engine.info)
        save_png(made, load_picture(picture_file), text)
        data = base64.b64encode(made.read_bytes()).decode()
        dropped = ui.page.evaluate_handle(
            """([data, name]) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
                return transfer;
            }""",
            [data, made.name],
        )
        target = ui.settings_file.locator("button").first
        target.dispatch_event("drop", {"dataTransfer": dropped})
        expect(ui.upscale.seed).to_have_value(str(seed))
