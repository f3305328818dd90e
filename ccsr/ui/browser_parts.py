"""The scripts and styles of the components that the browser draws by itself."""

from pathlib import Path

FOLDER = Path(__file__).parent
PARTS = ("loupe", "cut_frame")
"""Each is a script and a style sheet beside this file."""

HEAD = "".join(
    f"<style>{(FOLDER / f'{part}.css').read_text()}</style>"
    f"<script>{(FOLDER / f'{part}.js').read_text()}</script>"
    for part in PARTS
)
"""What the head of the page has for all of them."""
