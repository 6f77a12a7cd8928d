import re

import numpy as np
import pytest

from lightning_colorize.evaluation.failures import FAILURES
from lightning_colorize.metrics.spec import COLUMNS, METRICS
from tests.reports.comparison.made import CATEGORIES, SYSTEMS, write_made_errors
from tests.reports.html import embedded, requests_another_site


def test_the_page_has_every_metric_of_an_image_and_every_failure(tmp_path):
    file, measured = write_made_errors(tmp_path, 30)
    data = embedded(file.read_text(), "data")
    names = [metric.name for metric in METRICS if metric.per_image]
    modes = [failure.name for failure in FAILURES]
    assert [measure["name"] for measure in data["measures"]] == names + modes
    assert data["names"] == measured.names
    categories = [data["categories"][i] for i in data["category"]]
    assert categories == [CATEGORIES[i % 4] for i in range(30)]
    expected = [measured.values[:2, COLUMNS.index(name)] for name in names]
    expected += [measured.failures[:, index] for index in range(len(modes))]
    for measure, values in zip(data["measures"], expected, strict=True):
        shown = np.array(measure["values"], dtype=float)
        assert shown == pytest.approx(values, abs=1e-4, nan_ok=True)
    # Larger is worse of an error and of a failure, better of a fidelity.
    signs = {measure["name"]: measure["sign"] for measure in data["measures"]}
    assert (signs["ciede2000"], signs["psnr"], signs["colorfulness"]) == (1, -1, 0)
    assert signs["blotches"] == 1


def test_the_page_requests_nothing_from_elsewhere_and_escapes_names(tmp_path):
    file, _ = write_made_errors(tmp_path, 6)
    html = file.read_text()
    assert not requests_another_site(re.sub(r'url\("\$\{data.thumbnails', "", html))
    assert SYSTEMS[1] not in html
    assert "second &amp; &lt;b&gt;" in html


def test_without_truth_images_are_sorted_by_distance_and_name_only(tmp_path):
    file, measured = write_made_errors(tmp_path, 6, truth=False)
    html = file.read_text()
    data = embedded(html, "data")
    assert data["measures"] == []
    assert data["apart"] == measured.disagreement.tolist()
    assert data["last"] == "grey"
    for word in ('name="failure"', 'name="of"', 'id="categories"'):
        assert word not in html
