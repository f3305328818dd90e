"""What shields from errors of others never hides the traceback of our own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROAD = ("Exception", "BaseException")


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(n is None or (isinstance(n, ast.Name) and n.id in BROAD) for n in names)


def keeps_traceback(handler: ast.ExceptHandler) -> bool:
    """Whether it logs the traceback, hands its text on, or raises again all but named errors."""
    nodes = list(ast.walk(handler))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    logged = any(
        ast.unparse(call.func) in ("logger.exception", "traceback.format_exc")
        or any(keyword.arg == "exc_info" for keyword in call.keywords)
        for call in calls
    )
    return logged or any(isinstance(node, ast.Raise) and node.exc is None for node in nodes)


def blind_handlers(source: str) -> list[int]:
    """Lines of broad handlers that lose the traceback."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not keeps_traceback(node)
    ]


@pytest.mark.parametrize(
    ("handler", "is_blind"),
    [
        ("except Exception: pass", True),
        ("except: pass", True),
        ("except (OSError, Exception) as e: raise ValueError(e) from e", True),
        ("except ValueError: pass", False),
        ("except BaseException: raise", False),
        ("except Exception: logger.debug('failed', exc_info=True)", False),
        ("except Exception: logger.debug('failed')", True),
    ],
)
def test_blind_handlers_are_recognized(handler: str, is_blind: bool) -> None:
    assert bool(blind_handlers(f"try: work()\n{handler}")) == is_blind


@pytest.mark.parametrize("package", ["ccsr", "training"])
def test_no_broad_handler_loses_the_traceback(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    blind = {str(path.relative_to(ROOT)): blind_handlers(path.read_text()) for path in files}
    assert {name: lines for name, lines in blind.items() if lines} == {}
