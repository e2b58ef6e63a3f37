"""report.html in a real browser: nothing overflows, every picture loads, every link lands."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_bench.report import render
from tests import studies

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (375, 1280, 1920)


class Page(html.parser.HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if values.get("id") else []  # type: ignore[list-item]
        self.links += [values["href"]] if tag == "a" else []  # type: ignore[list-item]
        self.images += [values] if tag == "img" else []


def named(name: str, study: studies.Rows) -> studies.Rows:
    study.name = name
    return study


def all_diverged() -> studies.Rows:
    study = studies.demo()
    for run in study.runs:
        study = study.diverge(run.run_id, 40)
    return study


# What each says that it cannot say.
SHAPES: dict[str, tuple[Callable[[], studies.Rows], str]] = {
    "empty": (studies.empty, "No run has finished, so there is nothing to compare yet."),
    "unplanned": (lambda: studies.Rows("nothing"), "Study nothing: 0 of 0 planned runs finished."),
    "partial": (studies.partial, "plain finished at one depth only (20)"),
    "one seed": (lambda: studies.make("one", (20, 56), num_seeds=1), "one seed, so no judgement"),
    "all diverged": (all_diverged, "Diverged (the loss was not finite, at step 40, 40"),
    "one depth": (lambda: studies.make("one-depth", (56,)), "the comparison needs two depths"),
    "unicode": (lambda: named("Größe-深さ", studies.demo()), "Study Größe-深さ"),
    "no residual": (lambda: studies.demo().keep(["plain-none-d20-s0", "plain-none-d56-s0"]), "one seed, so no judg"),
    "dollars": (lambda: named("a$\\b$", studies.demo()), "Study a$"),
    "insides": (studies.insides, "plain-20 deepened to 56"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_study_renders_and_says_what_it_cannot_say(name: str, tmp_path: Path) -> None:
    make, sentence = SHAPES[name]
    folder = make().write(tmp_path)
    render(folder)
    for file in ("report.html", "README.md"):
        assert sentence in (folder / file).read_text(encoding="utf-8").replace("\\", "")
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert len(page.ids) == len(set(page.ids)) and all(link.removeprefix("#") in page.ids for link in page.links)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = studies.insides().write(tmp_path_factory.mktemp("results"))
    render(folder)
    return folder / "report.html"


def test_the_file_is_whole_by_itself(report: Path) -> None:
    text = report.read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.removeprefix("#") in page.ids for link in page.links) and page.links
    assert all((image["src"] or "").startswith("data:image/png;base64,") and image["alt"] for image in page.images)
    assert len(page.images) >= 3 and "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"(src|href)=\"https?:", text)


def test_the_verdict_stands_before_any_figure_and_the_curves_before_the_claims(report: Path) -> None:
    text = report.read_text()
    places = ['class="verdict"', 'id="limitations"', 'class="facts"', "<img", 'id="claims"', '<details id="numbers"',
              'id="errors"', 'id="rules"']  # fmt: skip
    assert text.index("<img") > text.index('id="figure-curves"') and text.count('id="figure-curves"') == 1
    assert [text.index(place) for place in places] == sorted(text.index(place) for place in places)


def test_the_same_study_gives_the_same_bytes(report: Path) -> None:
    before = report.read_bytes()
    render(report.parent)
    assert report.read_bytes() == before


def test_text_of_a_study_is_escaped(tmp_path: Path) -> None:
    study = studies.demo()
    study.name = "a <b> & 'ü' study"
    folder = study.write(tmp_path)
    render(folder)
    text = (folder / "report.html").read_text()
    assert "a &lt;b&gt; &amp; " in text and "<b> &" not in text


MEASURE = """<script>
window.onload = () => {
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  const broken = [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length;
  const lost = [...document.querySelectorAll('a[href^="#"]')].filter(a => !document.querySelector(a.hash)).length;
  parent.postMessage(JSON.stringify({wide, broken, lost, images: document.images.length}), '*');
};
</script></body>"""
# A window cannot be narrower than some 500 pixels, a frame can.
FRAME = """<pre id="measured"></pre>
<script>onmessage = e => { document.getElementById('measured').textContent = e.data; };</script>
<iframe src="page.html" style="width:WIDTHpx;height:900px;border:0"></iframe>"""


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser(report: Path, tmp_path: Path, width: int) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    (tmp_path / "page.html").write_text(report.read_text().replace("</body>", MEASURE))
    outer = tmp_path / "outer.html"
    outer.write_text(FRAME.replace("WIDTH", str(width)))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
               "--disable-background-networking", "--disable-component-update", "--disable-quic",
               f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files",
               "--virtual-time-budget=10000", f"--window-size={width},900", "--dump-dom", outer.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="measured">(.+?)</pre>', done.stdout)
    assert found, done.stderr[-500:]
    measured = json.loads(found[1])
    assert (measured["broken"], measured["lost"]) == (0, 0) and measured["images"] >= 3
    assert measured["wide"] <= 0
