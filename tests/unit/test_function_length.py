"""Functions are read at one look."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 40


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement on, the docstring left out."""
    has_docstring = ast.get_docstring(function, clean=False) is not None
    statements = function.body[has_docstring:]
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("package", ["ccsr", "training", "assets"])
def test_no_function_is_long(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    lengths = {
        f"{path.relative_to(ROOT)}: {node.name}": code_lines(node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
