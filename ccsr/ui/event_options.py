"""Options that the events of the page share."""

from typing import Any

from gradio.blocks import BlockContext
from gradio.components.base import Component

Block = Component | BlockContext
"""What an event takes values from or gives values to."""

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Events with these use the model one after another, whoever started them."""
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Events with these are the page's own."""
LIGHT: dict[str, Any] = {**PRIVATE, "queue": False}
"""Events with these answer at once, in any order."""
IN_ORDER: dict[str, Any] = {**PRIVATE, "concurrency_limit": 1}
"""Events with these answer one after another, so that the latest request is answered last."""
