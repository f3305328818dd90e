import csv
import io
import json

import pytest

from ccsr.evaluation.comparison.published import names_in, published_rows
from ccsr.evaluation.comparison.scores import COLUMNS
from ccsr.evaluation.comparison.summary import Mean
from ccsr.evaluation.comparison.tables import (
    L_STD,
    Cell,
    Table,
    TableRow,
    as_csv,
    as_json,
    latex,
    markdown,
    ranked,
)


@pytest.fixture
def table() -> Table:
    rows = (
        TableRow("Paper's", {"psnr": Cell(99.0, 0.1)}, published=True),
        TableRow("A_1", {"psnr": Cell(25.0, 0.25), "lpips": Cell(0.3), "l_std": Cell(0.02)}),
        TableRow("B", {"psnr": Cell(26.0), "lpips": Cell(0.1)}),
        TableRow("C", {"psnr": Cell(24.0), "lpips": Cell(0.2)}),
    )
    columns = (COLUMNS["psnr"], COLUMNS["lpips"], L_STD)
    return ranked(Table("t", "100 % & more", columns, rows, ("2 pictures",)))


def test_best_and_second_best_are_marked_among_measured_rows(table: Table) -> None:
    marks = {row.name: {n: c.rank for n, c in row.cells.items()} for row in table.rows}
    assert marks == {
        "Paper's": {"psnr": 0},
        "A_1": {"psnr": 2, "lpips": 0, "l_std": 0},
        "B": {"psnr": 1, "lpips": 1},
        "C": {"psnr": 0, "lpips": 2},
    }


NEARLY_EQUAL = (("a", 25.001), ("b", 25.0), ("c", 24.0))


def test_equal_numbers_share_their_rank() -> None:
    rows = tuple(
        TableRow(name, {"psnr": Cell(v)}) for name, v in (("a", 25.001), ("b", 25.0), ("c", 24))
    )
    found = ranked(Table("t", "t", (COLUMNS["psnr"],), rows, ()))
    assert [row.cells["psnr"].rank for row in found.rows] == [1, 1, 2]


def test_markdown(table: Table) -> None:
    assert markdown(table).splitlines()[2:8] == [
        "| | PSNR ↑ | LPIPS ↓ | L-STD ↓ |",
        "|---|---|---|---|",
        "| Paper's (published) | 99.00/0.1000 | - | - |",
        "| A_1 | *25.00/0.2500* | 0.3000 | 0.0200 |",
        "| B | **26.00** | **0.1000** | - |",
        "| C | 24.00 | *0.2000* | - |",
    ]


def test_csv_has_all_digits_and_g_std_apart(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert rows[1]["psnr"] == "25.0"
    assert rows[1]["g_std psnr"] == "0.25"
    assert rows[2]["l_std"] == ""
    assert [row["published"] for row in rows] == ["True", "False", "False", "False"]


def test_latex_escapes_what_it_would_read(table: Table) -> None:
    found = latex(table)
    assert r"\caption{100 \% \& more}" in found
    assert r"A\_1 & \underline{25.00/0.2500} & 0.3000 & 0.0200 \\" in found
    assert r"B & \textbf{26.00} & \textbf{0.1000} & - \\" in found


def test_json_is_valid_with_infinite_scores() -> None:
    rows = (TableRow("same", {"psnr": Cell(float("inf"))}),)
    found = as_json(Table("t", "t", (COLUMNS["psnr"],), rows, ()))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["rows"][0]["cells"]["psnr"]["value"] == "inf"


def test_mean_does_not_depend_on_the_order() -> None:
    values = [1e16, 1.0, -1e16, 3.0]
    means = [Mean(), Mean()]
    for mean, order in zip(means, (values, values[::-1]), strict=True):
        for value in order:
            mean.add(value)
    assert [mean.value for mean in means] == [1.0, 1.0]
    means[0].add(float("inf"))
    assert means[0].value == float("inf")


def test_published_figures_of_ccsr_agree_between_the_tables_of_the_paper() -> None:
    """The same run stands in Tables 1, 4 and 5; MUSIQ of RealSR differs by 0.01 in Table 4."""
    for test_set in ("RealSR", "DIV2K-StableSR"):
        found = []
        for number in (1, 4, 5):
            rows = {row.name.removesuffix(" S15"): row for row in published_rows(number, test_set)}
            found.append(rows["CCSR"])
        first, *others = found
        for other in others:
            for name, value in other.scores.items():
                assert value == pytest.approx(first.scores[name], abs=0.011), name
            assert other.g_std == {name: first.g_std[name] for name in other.g_std}


def test_every_published_row_is_complete_and_plausible() -> None:
    ranges = {"psnr": (20, 32), "ssim": (0.5, 0.9), "lpips": (0.1, 0.5), "dists": (0.1, 0.35),
              "l_std": (0.005, 0.05), "fid": (20, 180), "niqe": (4, 12), "clipiqa": (0.3, 0.7),
              "musiq": (30, 70)}  # fmt: skip
    for number, width in ((1, 8), (3, 9), (4, 4), (5, 4)):
        for test_set in names_in(number):
            for row in published_rows(number, test_set):
                # Deterministic methods have no L-STD, and no G-STD.
                assert len(row.scores) == width + (number == 1 and bool(row.g_std))
                assert bool(row.g_std) == ("l_std" in row.scores)
                for name, value in row.scores.items():
                    low, high = ranges[name]
                    assert low <= value <= high, (test_set, row.name, name)
    assert [len(published_rows(1, name)) for name in names_in(1)] == [10] * 4
