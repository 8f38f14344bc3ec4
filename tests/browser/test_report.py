"""The report in a browser: light and dark, on a desktop screen and on a phone, without a network.

Run by `make test-browser`. With NETSLIM_SCREENSHOTS=FOLDER the screenshots are kept there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from netslim import report
from netslim.pruning.layer_report import LayerRow
from netslim.results.measures import Histogram, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from tests.helpers.results import pass_result

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as engines:
        browser = engines.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three passes of a network with long layer names."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(
        report.html(RunResults(tuple(map(row, range(4))), {"architecture": "a", "dataset": "<b>"}))
    )
    return file


def row(index: int) -> PassResult:
    names = [f"features.denseblock{block}.layer{layer}.norm" for block in range(3) for layer in range(8)]
    sizes = {"channels": 400 // (index + 1), "params": 288_170 // 3**index, "macs": 2_380_000 // 2**index}
    values: dict[str, Any] = {
        "layer_macs": dict.fromkeys(names, 100000 // (index + 1)),
        "gammas": Histogram(edges=tuple(i / 40 for i in range(41)), counts=tuple(range(40))),
        "latency_ms": {1: 0.2, 32: 4.0},
        "curves": {"base": ({"step": 1, "ts": 1, "train/error": 5.0, "sparsity/near_zero_share": 0.1},)},
        "measured_at": index,
        "onnx_bytes": 1000,
    }
    if index:
        values |= {
            "size_before": Size(channels=400, params=288_170, macs=2_380_000),
            "pruned": 1.0,
            "threshold": 0.2,
            "layers": tuple(LayerRow(name, 16, 8, 8) for name in names),
        }
    return pass_result(index, test=0.5 + index / 4, trained=0.4, **sizes, **values)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_drawn_without_errors_and_fits_the_screen(
    browser: Browser, page_file: Path, scheme: Any, size: str
) -> None:
    width, height = SIZES[size]
    problems: list[str] = []
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    ) as context:
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.goto(page_file.as_uri())
        assert problems == []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, "the page scrolls sideways"
        boxes = [figure.bounding_box() for figure in page.locator("svg").all()]
        assert len([box for box in boxes if box and box["width"] > 250 and box["height"] > 100]) >= 6
        background, text = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color].map("
            "c => c.match(/[0-9.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3)"
        )
        assert (background < text) == (scheme == "dark")
        assert abs(background - text) > 120, "text can be read"
        if kept := os.environ.get("NETSLIM_SCREENSHOTS"):
            page.screenshot(path=Path(kept, f"report-{size}-{scheme}.png"), full_page=True)


def test_names_are_text_and_not_markup(browser: Browser, page_file: Path) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        assert page.get_by_text("<b>").count() >= 1
