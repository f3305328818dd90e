from training.benchmark import PARTS, shares_table
from training.trial import Trial


def test_shares_of_a_cache_are_spread_over_the_samples_drawn_from_it() -> None:
    pairs = Trial("pairs", 100, 1, {"data": 0.02, "degradation": 0.03, "encoding": 0.05})
    stage1 = Trial(
        "stage1", 10, 4, {"data": 0.1, "forward": 1.0, "loss networks": 0.9, "backward": 2.0}
    )
    head, _, *lines = shares_table([pairs, stage1]).splitlines()
    columns = [cell.strip() for cell in head.split("|")[1:-1]]
    assert columns[2:-1] == list(PARTS)
    rows = [
        dict(zip(columns, (cell.strip() for cell in line.split("|")[1:-1]), strict=True))
        for line in lines
    ]
    assert [row["step"] for row in rows] == ["pairs", "stage1", "stage1 with pairs", "all"]
    alone, whole = rows[1:3]
    assert (alone["samples/s"], alone["loss networks"], alone["encoding"]) == ("1.00", "22.5%", "-")
    # 40 s and 10 s for 40 samples, of which 3 s are data and 3 s degradation.
    assert (whole["samples/s"], whole["data"], whole["degradation"]) == ("0.80", "6.0%", "6.0%")
    assert whole["data + degradation"] == "12.0%"
