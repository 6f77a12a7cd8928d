import json

import pytest

from lightning_colorize.reports.kit.charts import Interval, interval_figure


def test_intervals_reach_from_low_to_high_in_the_order_of_the_rows():
    names = [f"experiment_long_{end}" for end in ("first", "second")]
    rows = [
        Interval(names[0], 0.2, 0.1, 0.4, "+0.2", "better"),
        Interval(names[1], -0.5, None, None, "-0.5", "unclear"),
    ]
    content = json.loads(interval_figure(rows, "psnr").json)
    first, second = content["data"]
    assert first["x"] == [0.2]
    assert first["error_x"]["array"] == pytest.approx([0.2])
    assert first["error_x"]["arrayminus"] == pytest.approx([0.1])
    assert "error_x" not in second
    assert second["marker"]["symbol"] == "circle-open"
    axis = content["layout"]["yaxis"]
    assert axis["ticktext"] == ["experim…ng_first", "experim…g_second"]  # they differ at the end
    assert axis["range"][0] > axis["range"][1]
