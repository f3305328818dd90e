"""Files above the limit are refused in the browser, before they are sent, and in the page's words.

Gradio's own check in the browser calls them an error and says nothing of what to do.
"""

import functools

import gradio as gr

from ccsr.ui.event_options import PRIVATE

BUTTON = "upload-refused"
"""Id of the hidden button that the script presses; its label is the limit in bytes."""

SCRIPT = f"""
const refuseLarge = (event) => {{
    const input = event.type === "change" ? event.target : null;
    const files = [...((input ?? event.dataTransfer ?? event.clipboardData)?.files ?? [])];
    const refusal = document.querySelector("#{BUTTON}");
    const small = files.filter(({{ size }}) => size <= Number(refusal?.textContent ?? Infinity));
    if (small.length === files.length) return;
    refusal.click();
    if (input) {{
        const kept = new DataTransfer();
        small.forEach((file) => kept.items.add(file));
        input.files = kept.files;
        if (small.length) return;
    }}
    event.preventDefault();
    event.stopImmediatePropagation();
    // So that nothing looks as if a file were still held over it.
    event.target.dispatchEvent(new DragEvent("dragleave", {{ bubbles: true }}));
}};
for (const kind of ["change", "drop", "paste"]) document.addEventListener(kind, refuseLarge, true);
"""
"""Of several files that are chosen, the others are kept; dropped ones are refused together."""


def build_upload_limit(max_bytes: int) -> None:
    """What the script presses, and says why.

    Args:
        max_bytes: Of one file.
    """
    button = gr.Button(str(max_bytes), visible="hidden", elem_id=BUTTON)
    button.click(
        functools.partial(_refuse, max_bytes), None, None, concurrency_limit=None, **PRIVATE
    )


def _refuse(max_bytes: int) -> None:
    gr.Warning(
        f"A file may have {max_bytes / 2**20:.3g} MB at most; save the picture as JPEG, or smaller"
    )
