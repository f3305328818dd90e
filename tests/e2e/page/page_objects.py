"""The page as a person sees it: the selectors of its parts, and what a person does with them."""

import re
import time
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, Page, TimeoutError, expect

WAIT = 60_000
"""Milliseconds a page may take before a test calls it broken."""

expect.set_options(timeout=WAIT)


def expect_size(image: Locator, width: int, height: int) -> None:
    """Wait until a picture of this size is loaded, whatever size it is shown in."""
    expect(image).to_be_visible()
    expect(image).to_have_js_property("naturalWidth", width)
    expect(image).to_have_js_property("naturalHeight", height)


def expect_file(image: Locator, name: str) -> None:
    """Wait until a picture of this file name is shown."""
    expect(image).to_have_attribute("src", re.compile(re.escape(name) + "$"))


def wait_until_filled(page: Page) -> None:
    """Wait until the inputs of a tab or an accordion that has just been opened can be used.

    Gradio draws these when they are opened for the first time, and two frames later sets their
    values again. A person has seen one of these frames by then, and typed nothing; what a test
    typed is overwritten.
    """
    page.evaluate(
        "async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); }"
    )


STILL = 150
"""Milliseconds in which what has come to rest does not move."""
WHEEL_LATCH = 600
"""Milliseconds after which a turn of the wheel is a new one: for 500 it goes to what scrolled."""


def box_at_rest(element: Locator, still: float = STILL) -> FloatRect:
    """Where an element is in the window, once it has stayed there for so many milliseconds.

    What scrolls smoothly, or grows as pictures arrive, is elsewhere by the time a mouse gets there.
    """
    box: FloatRect = element.evaluate(
        """(node, still) => new Promise((resolve) => {
            let last = "", since = 0, frames = 0;
            const look = () => {
                const { x, y, width, height } = node.getBoundingClientRect();
                const now = performance.now(), place = [x, y, width, height].join();
                if (place !== last) [last, since, frames] = [place, now, 0];
                if (now - since >= still && ++frames > 3) resolve({ x, y, width, height });
                else requestAnimationFrame(look);
            };
            look();
        })""",
        still,
    )
    return box


class LoupePart:
    """A loupe: its pictures, and what a person does with them."""

    def __init__(self, root: Locator) -> None:
        self.root, self.page = root, root.page
        self.images, self.cells = root.locator("img"), root.locator(".loupe-cell")
        self.stage = root.locator(".loupe-stage").first
        self.border = root.get_by_role("slider", name="Border between the two pictures")
        self.reading = root.locator(".loupe-reading")

    def image(self, name: str) -> Locator:
        """The picture of this name."""
        return self.root.get_by_role("img", name=name, exact=True)

    def press(self, name: str) -> None:
        """Press a button of its bar."""
        self.root.get_by_role("button", name=name, exact=True).click()

    def choose(self, side: str, name: str) -> None:
        """Choose the left or the right picture."""
        self.root.get_by_label(f"{side} picture").select_option(name)

    def box(self, image: Locator) -> dict[str, float]:
        """Where a picture lies, as far as it is drawn: left and top are those of the stage's."""
        style: dict[str, float] = image.evaluate(
            "(node) => Object.fromEntries(['left', 'top', 'width', 'height']"
            ".map((key) => [key, parseFloat(node.style[key])]))"
        )
        return style

    def middle(self, still: float = STILL) -> tuple[float, float]:
        """The middle of its first stage on the screen, once it has come to rest there."""
        self.stage.scroll_into_view_if_needed()
        box = box_at_rest(self.stage, still)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


class Tab:
    """What all tabs have: a button that starts a run, one that stops it, and a status line.

    Args:
        ui: The page it is on.
        name: Name of the tab.
        start: Label of the button that starts its run.
        prefix: Of the ids of its elements.
    """

    def __init__(self, ui: "CCSRPage", name: str, start: str, prefix: str) -> None:
        self.ui, self.page, self.prefix = ui, ui.page, prefix
        self.tab = self.page.get_by_role("tab", name=name)
        self.start = self.page.get_by_role("button", name=start, exact=True)
        self.panel = self.page.get_by_role("tabpanel").filter(has=self.start)
        self.stop = self.panel.get_by_role("button", name="Stop")
        self.status, self.origin = self.part("status"), self.part("origin")
        self.expected = self.part("expected")

    def part(self, name: str) -> Locator:
        """The element of an id."""
        return self.page.locator(f"#{self.prefix}-{name}")

    def open(self) -> None:
        self.ui.unfold(self.tab)

    def run(self) -> None:
        self.start.click()

    def expect_ready(self) -> None:
        """Wait until no run is queued or under way."""
        expect(self.start).to_be_enabled()
        expect(self.stop).to_be_disabled()
        expect(self.stop).to_have_text("Stop")


class UpscaleTab(Tab):
    def __init__(self, ui: "CCSRPage") -> None:
        super().__init__(ui, "Upscale", "Upscale", "upscale")
        self.result, self.facts = self.part("result"), self.part("facts")
        self.loupe = LoupePart(self.result)
        self.images, self.border = self.loupe.images, self.loupe.border
        self.before, self.after = self.images.nth(0), self.images.nth(1)
        self.seed = self.page.get_by_label("Seed", exact=True)
        self.random = self.page.get_by_role("button", name="Random")
        self.make_again = self.page.get_by_role("button", name="Make it again")
        self.command = self.page.locator("#command").locator("input, textarea")
        self.code = self.page.locator("#code textarea")

    def finish(self, text: str) -> None:
        """Run, and wait for this text among the facts, and for all that is said of the result."""
        self.run()
        expect(self.facts).to_contain_text(text)
        self.expect_ready()
        expect(self.origin).not_to_be_empty()

    def download(self, path: Path) -> str:
        """Save the result; its suggested name."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Download PNG").click()
        download.value.save_as(path)
        return download.value.suggested_filename


class SeedsTab(Tab):
    def __init__(self, ui: "CCSRPage") -> None:
        super().__init__(ui, "Seed consistency", "Run seeds", "seeds")
        self.loupe = LoupePart(self.part("loupe"))
        self.gallery = self.loupe.cells.filter(has_text="Seed ").locator("img")
        self.facts, self.table = self.part("facts"), self.part("scores").locator("table")
        self.left, self.right = (self.loupe.images.nth(i) for i in (0, 1))
        self.agreement = self.page.get_by_role("button", name="Keep only what the seeds agree on")
        self.agreement_facts = self.page.locator("#agreement-facts")
        self.blended = self.page.locator("#agreement-pair img").nth(1)

    def run_seeds(self, number: int) -> None:
        self.open()
        self.ui.set_number("Number of seeds", str(number))
        self.run()

    def finish(self, number: int) -> None:
        """Run so many seeds to the end."""
        self.run_seeds(number)
        expect(self.facts).to_contain_text(f"{number} of {number}")

    def download(self, path: Path) -> None:
        """Save the report."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Download report").click()
        download.value.save_as(path)

    def download_blended(self, path: Path) -> None:
        with self.page.expect_download() as download:
            self.page.locator("#agreement-download").click()
        download.value.save_as(path)


class TradeoffTab(Tab):
    def __init__(self, ui: "CCSRPage") -> None:
        super().__init__(ui, "Trade-off", "Compare", "sweep")
        self.points = self.part("plot").locator("[id^=point-]")
        self.cost, self.files = self.part("cost"), self.part("files")
        self.table = self.part("table").locator("table")
        self.loupe = LoupePart(self.part("loupe"))
        self.left, self.right = (self.loupe.images.nth(i) for i in (0, 1))
        self.t_maxs = self.page.get_by_label("Values of t_max")
        self.t_mins = self.page.get_by_label("Values of t_min")

    def run_sweep(self, t_maxs: str, t_mins: str, seeds: int) -> None:
        self.open()
        self.t_maxs.fill(t_maxs)
        self.t_mins.fill(t_mins)
        self.ui.set_number("Seeds a setting", str(seeds))
        self.run()


class TrajectoryTab(Tab):
    def __init__(self, ui: "CCSRPage") -> None:
        super().__init__(ui, "Trajectory", "Show the trajectory", "trajectory")
        self.strip = self.part("strip").locator("img")
        self.t_max_mark, self.t_min_mark = (
            self.part("plot").locator(f"[id=mark-{name}-0]") for name in ("t_max", "t_min")
        )

    def middle_of(self, mark: Locator) -> tuple[float, float]:
        """The middle of a mark in the window, once it has come to rest there."""
        mark.scroll_into_view_if_needed()
        box = box_at_rest(mark)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def hold(self, start: tuple[float, float], pixels: float) -> None:
        """Press the mouse at a place, and move it to the right."""
        x, y = start
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + pixels, y, steps=4)

    def drag(self, start: tuple[float, float], pixels: float) -> None:
        """Press the mouse at a place, move it to the right, and let go."""
        self.hold(start, pixels)
        self.page.mouse.up()


class VariantsTab(Tab):
    def __init__(self, ui: "CCSRPage") -> None:
        super().__init__(ui, "Variants", "Compare variants", "variants")
        self.loupe = LoupePart(self.part("loupe"))
        self.table = self.part("table").locator("table")


class CCSRPage:
    """The page: picture, settings and tabs.

    Args:
        page: The browser's page.
        url: Where it is served.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.upscale, self.seeds, self.tradeoff = (
            UpscaleTab(self),
            SeedsTab(self),
            TradeoffTab(self),
        )
        self.trajectory, self.variants = TrajectoryTab(self), VariantsTab(self)
        self.picture = page.locator("#picture img")
        self.about = page.locator("#about-picture")
        self.example = page.locator("#examples img").first
        self.cost = page.locator("#evaluations")
        self.preset = page.get_by_label("Preset")
        self.toast = page.get_by_test_id("toast-body").first
        self.settings_file = page.locator("#load-settings")

    def open(self) -> "CCSRPage":
        # Its first request asks for the settings that the browser remembers; before the answer, a
        # value that is typed is overwritten.
        with self.page.expect_response(lambda answer: answer.url.endswith("/run/predict")) as first:
            self.page.goto(self.url)
        first.value.finished()
        expect(self.upscale.start).to_be_enabled()
        return self

    def expect_refusal(self, text: str) -> None:
        """Wait until something is refused for this reason, which is no error."""
        expect(self.toast).to_contain_text(text)
        expect(self.toast).to_contain_text("Warning")
        expect(self.toast).not_to_contain_text("Error")

    def unfold(self, button: Locator) -> None:
        """Click what opens a tab or an accordion, and wait until its inputs can be used."""
        button.click()
        wait_until_filled(self.page)

    def come_to_rest(self) -> None:
        """Wait until the page has sent nothing for a second.

        Raises:
            AssertionError: If it goes on for ever.
        """
        started = time.monotonic()
        while time.monotonic() < started + WAIT / 1000:
            try:
                with self.page.expect_request("**", timeout=1000):
                    pass
            except TimeoutError:
                return
        raise AssertionError("the page goes on sending requests")

    def give_file(self, path: Path, field: str = "picture") -> None:
        """Choose a file in the place of one that is there, whatever becomes of it."""
        remove = self.page.locator(f"#{field}").get_by_role("button", name="Remove Image")
        if remove.count():
            remove.click()
        self.page.locator(f"#{field} input[type=file]").set_input_files(str(path))

    def choose_picture(self, path: Path, field: str = "picture") -> None:
        self.give_file(path, field)
        expect(self.page.locator(f"#{field} img")).to_be_visible()

    def choose_reference(self, path: Path) -> None:
        self.unfold(self.page.get_by_role("button", name="Reference picture"))
        self.choose_picture(path, "reference")

    def number(self, label: str) -> Locator:
        """The number box beside a slider."""
        return self.page.get_by_label(f"number input for {label}")

    def set_number(self, label: str, value: str) -> None:
        """Type a number beside a slider."""
        box = self.number(label)
        box.fill(value)
        box.press("Enter")
        expect(box).to_have_value(value)

    def choose_number(self, label: str, value: str) -> None:
        """Type a number beside a slider and leave the box."""
        self.set_number(label, value)
        self.number(label).press("Tab")

    def slider(self, label: str) -> Locator:
        return self.page.get_by_role("slider", name=label)

    def drag_slider(self, label: str, value: float) -> None:
        """Press the mouse on a slider from 0 to 1 where `value` is, and let go."""
        slider = self.slider(label)
        slider.scroll_into_view_if_needed()
        box = box_at_rest(slider)
        self.page.mouse.click(box["x"] + box["width"] * value, box["y"] + box["height"] / 2)

    def choose_preset(self, name: str) -> None:
        self.preset.click()
        self.page.get_by_role("option", name=re.compile(f"^{name}:")).click()

    def choose_option(self, label: str, name: str) -> None:
        """Choose in a dropdown."""
        self.page.get_by_label(label).click()
        self.page.get_by_role("option", name=name).click()

    def load_settings(self, path: Path) -> None:
        self.give_file(path, "load-settings")
