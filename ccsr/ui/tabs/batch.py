"""Several pictures of one visitor, upscaled one after another: what is done, failed and left."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ccsr.ui.files import distinct, new_folder, remove_folder, use, write_table, write_zip
from ccsr.ui.run_controller import RunController
from ccsr.ui.tabs.upscale import TAB_RUN, Query, Upscaled

ARCHIVE = "ccsr_results.zip"


class ItemState(enum.Enum):
    """Where one of the pictures is; the value is what a visitor reads."""

    WAITING = "Waiting"
    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"


@dataclass(frozen=True, eq=False)
class Item:
    """One of the pictures."""

    source: str
    """Path of its file."""
    state: ItemState = ItemState.WAITING
    text: str = ""
    """HTML: its progress, or why it failed."""
    upscaled: Upscaled | None = None
    thumbnail: Path | None = None
    """Of its file, once it is made."""

    def is_of(self, query: Query) -> bool:
        """Whether it is done with these settings and this seed."""
        made = self.upscaled
        return made is not None and (made.config, made.seed) == query


class Batch:
    """The pictures of one visitor, in the order in which they came; further ones may be added.

    It is in a `gr.State`, which deep-copies it while it is empty.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.whole, self.each = RunController(), RunController()
        """The run of all pictures, and that of the one whose turn it is."""
        self.archive: Path | None = None
        """The ZIP of all results."""
        self.work = 0.0
        """Megapixels of the run so far."""

    def add(self, sources: Sequence[str], most: int) -> int:
        """Add pictures, up to so many in all; how many were left out."""
        room = max(most - len(self.items), 0)
        self.items += [Item(source) for source in sources[:room]]
        return max(len(sources) - room, 0)

    def draw(self, source: str, thumbnail: Path | None) -> None:
        """Give a picture its thumbnail, unless it has been removed or has one."""
        for number, item in enumerate(self.items):
            if item.source == source and item.thumbnail is None:
                self.items[number] = replace(item, thumbnail=thumbnail)
                return
        remove_folder(thumbnail and thumbnail.parent)

    def following(self, query: Query, tried: set[int]) -> int | None:
        """The next picture that is not done with these settings, and was not tried yet."""
        numbers = (n for n, item in enumerate(self.items) if not item.is_of(query))
        return next((n for n in numbers if n not in tried), None)

    def put(self, number: int, state: ItemState, text: str = "") -> None:
        """Set the state of a picture; a result of other settings stays until there is a new one."""
        self.items[number] = replace(self.items[number], state=state, text=text)

    def finish(self, number: int, upscaled: Upscaled) -> None:
        """Give a picture its result."""
        item = self.items[number]
        if item.upscaled is not None and item.upscaled is not upscaled:
            TAB_RUN.release(item.upscaled, None)
        self.items[number] = replace(item, state=ItemState.DONE, text="", upscaled=upscaled)

    @property
    def results(self) -> list[Upscaled]:
        """Those of all pictures that are done."""
        return [item.upscaled for item in self.items if item.upscaled is not None]

    def keep(self) -> None:
        """Note that all files are in use: they are removed the later."""
        for item in self.items:
            made = (item.upscaled.result,) if item.upscaled else ()
            for file in (Path(item.source), *filter(None, [item.thumbnail]), *made):
                use(file)

    def pack(self) -> None:
        """Write the ZIP of all results, and a table of what they were made of."""
        self._remove_archive()
        if not self.results:
            return
        folder, files = new_folder(), [made.result for made in self.results]
        names = distinct(file.name for file in files)
        rows = [_row(made, name) for made, name in zip(self.results, names, strict=True)]
        table = write_table(folder / "results.csv", rows)
        self.archive = write_zip(folder / ARCHIVE, [*files, table])

    def clear(self) -> None:
        """Forget all pictures, and remove their results."""
        for made in self.results:
            TAB_RUN.release(made, None)
        for item in self.items:
            remove_folder(item.thumbnail and item.thumbnail.parent)
        self._remove_archive()
        self.items.clear()

    def _remove_archive(self) -> None:
        if self.archive is not None:
            remove_folder(self.archive.parent)
            self.archive = None


def _row(made: Upscaled, name: str) -> dict[str, object]:
    """A row of the table."""
    details = made.details
    return {
        "picture": Path(made.source).name,
        "result": name,
        **{key: details[key] for key in ("size", "seconds", "seed")},
        **details["config"],
        "model": details["model"]["name"],
    }
