"""The states of the pages that are open, and of those that were: bounded, those in use last."""

from collections.abc import Callable

from gradio.blocks import Blocks
from gradio.state_holder import StateHolder

from ccsr.ui.presence import Presence


class BoundedStates(StateHolder):
    """As Gradio's, but a page that is open is never forgotten for others, and files go with it.

    Gradio makes a state for any name that somebody sends, and forgets the one that was used least
    recently.

    Args:
        blocks: The page.
        capacity: How many states are kept.
        presence: Who is here.
        forget: Called with the name of each page that is forgotten.
    """

    def __init__(
        self, blocks: Blocks, capacity: int, presence: Presence, forget: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.set_blocks(blocks)
        self.capacity, self.presence, self.forget = capacity, presence, forget

    def update(self, session_id: str) -> None:
        """Note that a page was used, and forget others if there are too many."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            excess = len(self.session_data) - self.capacity
            others = (name for name in self.session_data if name != session_id)
            idle = (
                [name for name in others if not self.presence.is_here(name)] if excess > 0 else []
            )
        for name in idle[: max(excess, 0)]:
            self.delete_state(name)
            self.session_data.pop(name, None)
            self.time_last_used.pop(name, None)
            self.forget(name)
