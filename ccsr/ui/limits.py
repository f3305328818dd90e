"""What the page allows a visitor, and all of them together."""

from dataclasses import dataclass

from ccsr.config import MAX_RESULT_PIXELS
from ccsr.errors import InputError
from ccsr.images.picture import PictureError, Size
from ccsr.inference.cost import MAX_WORK, Cost, check_cost


@dataclass(frozen=True)
class Limits:
    """Limits of the page; the defaults are those of a page for oneself."""

    max_result_pixels: int = MAX_RESULT_PIXELS
    """Of one result."""
    max_work: float = MAX_WORK
    """Megapixels of one run, see `ccsr.inference.cost`."""
    max_files: int = 100
    """Pictures that one visitor has upscaled one after another."""
    max_batch_work: float = 10 * MAX_WORK
    """Megapixels of all of them together."""
    max_seconds: float | None = None
    """Time of one run at the model; None: as long as it takes."""
    max_waiting: int = 20
    """Runs that wait for the model; further ones are refused."""
    max_waiting_each: int = 20
    """Those of one address."""
    max_sessions: int = 300
    """Pages whose results are kept; beyond it those that are open in no browser are forgotten."""
    max_connections: int = 1000
    """Connections that visitors hold open."""
    max_connections_each: int = 1000
    """Those of one address."""
    max_upload_bytes: int = 50 * 2**20
    """Of one file."""
    max_stored_bytes: int = 8 * 2**30
    """Of uploads and results on disk; beyond it those that were idle longest are removed."""
    keep_seconds: int = 24 * 3600
    """How long they are kept at most."""

    def check(self, cost: Cost) -> None:
        """Refuse a run before anything of it is computed.

        Raises:
            InputError: If its results are too large, or it costs too much.
        """
        self.check_size(cost.size)
        check_cost(cost, self.max_work)

    def check_batch(self, work: float) -> None:
        """Refuse one more picture of several if they cost too much together.

        Args:
            work: Megapixels of it and of those before it.

        Raises:
            InputError: If they do.
        """
        if work > self.max_batch_work:
            raise InputError(
                f"with this picture the run would be {work:,.0f} megapixels of work, and the limit "
                f"for several pictures is {self.max_batch_work:,.0f}; run it after the others"
            )

    def check_size(self, size: Size) -> None:
        """Refuse a result of this size if it is too large.

        Raises:
            PictureError: If it is.
        """
        if size.height * size.width > self.max_result_pixels:
            raise PictureError(
                f"the result would be {size} pixels, and the limit of this page is "
                f"{self.max_result_pixels:,} pixels; cut out a part, or lower the scale"
            )


DEFAULT_LIMITS = Limits()
PUBLIC = Limits(
    max_result_pixels=2048 * 2048,
    max_work=250.0,
    max_files=12,
    max_batch_work=500.0,
    max_seconds=600.0,
    max_waiting=10,
    max_waiting_each=3,
    max_sessions=100,
    max_connections=400,
    max_connections_each=24,
    max_upload_bytes=20 * 2**20,
    max_stored_bytes=2 * 2**30,
    keep_seconds=2 * 3600,
)
"""Those of a page for everybody, `app.py --public`."""
