"""Layout, event wiring and run of a tab are functions of their own."""

import ast
from pathlib import Path

import ccsr.ui

MAX_LINES = 40


def test_no_function_of_the_page_is_long() -> None:
    files = sorted(Path(ccsr.ui.__path__[0]).rglob("*.py"))
    assert len(files) > 10
    lengths = {
        f"{path.name}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
