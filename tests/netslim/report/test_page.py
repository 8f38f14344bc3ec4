"""The page: the numbers of the last pass, and nothing that is loaded from elsewhere."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from netslim import report
from netslim.pruning.layer_report import LayerRow
from netslim.report.style import COLOURS
from netslim.results.run_results import RunResults
from tests.helpers.report_runs import NO_BASELINE, RUN, SWEEP, row


class Page(HTMLParser):
    """The parts of a page: its text, its ids, and the addresses that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()
        self.ids, self.loads = list[str | None](), list[str | None]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action") and not (value or "").startswith("#"):
                self.loads.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "results", [RUN, SWEEP, NO_BASELINE, RunResults(RUN.rows[:1]), RunResults()], ids=str
)
def test_the_page_loads_nothing(results: RunResults) -> None:
    text = report.html(results)
    page = Page(text)
    assert page.loads == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import|@font-face", text)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used <= set(page.ids)
    drawings = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert len(drawings) == page.tags.count("figure")
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "#fe00" not in drawing  # every placeholder has become a colour of the page
        assert set(re.findall(r"var\(--(\w+)\)", drawing)) <= set(COLOURS)


def test_the_page_has_the_numbers_of_the_last_pass() -> None:
    text = " ".join(Page(report.html(RUN)).text.split())
    for words in (
        "vgg-digits on Digits Done: 2 of 2 passes.",
        "100x fewer parameters 2,881 of 288,170",
        "100x fewer FLOPs 47.6k of 4.76M",
        "1.00 % test error +0.50 points against the baseline",
        "3.0x faster 1.4 ms for 32 images, one thread",
        "pass 1: 400 to 200 channels",
        "features.1 8 3 4 at most 50 % of a layer",
        "architecture vgg-digits dataset Digits",
    ):
        assert words in text
    assert "No pass was finished" in Page(report.html(RunResults())).text


def test_the_page_has_each_dark_colour() -> None:
    text = report.html(RUN)
    dark = text[text.index("prefers-color-scheme: dark") : text.index("* { box-sizing")]
    assert set(COLOURS) <= set(re.findall(r"--(\w+):", dark))


def test_names_are_text_and_not_markup() -> None:
    named = "<script>alert('x')</script>"
    results = RunResults(
        (row(0), dataclasses.replace(row(1), reason=named, label=named)), {"architecture": named}
    )
    assert "script" not in Page(report.html(results)).tags
    assert named in Page(report.html(results)).text


def test_a_hundred_layers_are_drawn_without_their_names() -> None:
    layers = tuple(LayerRow(f"block.{i}.bn", 64, 32, 32) for i in range(100))
    text = report.html(RunResults((row(0), row(1, layers=layers))))
    drawing = re.search(r'<svg [^>]*aria-label="Channels per layer".*?</svg>', text, re.DOTALL)
    assert drawing
    assert "layer, input to output" in drawing[0]
    assert "block.7.bn" not in drawing[0]
    assert "block.7.bn" in text  # but in the table
