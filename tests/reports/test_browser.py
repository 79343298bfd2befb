"""The page in a browser: no error, accessible in both schemes and on a phone, usable by keyboard, few printed pages."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers.results import make_results, rename

from forgetless.reports import write_html

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install forgetless[browser]")
axe_playwright = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python: pip install forgetless[browser]"
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("FORGETLESS_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
FAMILIES = ("replay", "regularization", "distillation", "analytic", "isolation", "meta", "external")
LONG = "AStrategyWithANameThatGoesOnAndOnWithoutAnyPlaceToBreakItAnywhereAtAll" * 2

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium in the path, or at FORGETLESS_CHROMIUM")


def suite():
    """Results of 32 strategies on four streams of one data set, with three seeds; some runs failed."""
    names = ["Joint", "EWC", "DER++", "Naive", LONG, *(f"Strategy {k}" for k in range(27))]
    streams = ("split", "permuted", "a stream with a rather long name", "rotated")
    results = make_results(names, streams, n=5, failed=[("EWC", 1), ("Strategy 7", 0)])
    runs = results.runs
    level = {name: 0.2 + 0.7 * k / len(names) for k, name in enumerate(names[::-1])}
    results.scores["score"] = np.clip(results.scores["strategy"].map(level) + 0.1 * results.scores["score"], 0, 1)
    number = runs["strategy"].map({name: k for k, name in enumerate(names)})
    runs["family"] = runs["family"].where(number < 3, number.map(lambda k: FAMILIES[k % len(FAMILIES)]))
    runs.loc[runs["strategy"] == "Naive", ["estimator", "family"]] = ["NaiveClassifier", "baselines"]
    runs["keeps"] = runs["keeps"].where(number % 3 > 0, "samples")
    runs["dataset"] = "digits"
    return results


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(suite(), path, title="A suite", command="forgetless run suite.toml --seeds 3")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as run:
        opened = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; at the end nothing may have been complained of or asked for."""
    contexts, complaints = [], []

    def opened(width=1400, scheme="light", address=address):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url == address or complaints.append(request.url))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("unfolded", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, scheme, width, unfolded):
    page = visit(width, scheme)
    if unfolded:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = axe_playwright.Axe().run(page).response["violations"]
    assert [(each["id"], len(each["nodes"]), each["nodes"][0]["html"][:200]) for each in found] == []


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'\u202e{{ 7*7 }}"
ODD = {
    "one of each": make_results(["EWC"], seeds=[0], n=1),
    "all failed": make_results(failed=[(name, seed) for name in ("Joint", "EWC", "DER++") for seed in range(3)]),
    "hostile": rename(rename(make_results(streams=("digits", "wine")), "EWC", HOSTILE), "wine", HOSTILE),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_results_have_a_page_like_others(visit, tmp_path, name):
    results = ODD[name]
    if name == "hostile":
        for column in ("estimator", "source", "params", "machine", "device", "versions", "keeps", "family"):
            results.runs.loc[results.runs["strategy"] == HOSTILE, column] = HOSTILE
    path = tmp_path / "odd.html"
    write_html(results, path, title=name)
    page = visit(400, address=path.as_uri())
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    found = axe_playwright.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    page.locator("#search").fill("e")
    page.locator("#leaderboard th button").first.click()
    assert page.locator(".filters option").all_inner_texts().count("all") == 1


@pytest.mark.parametrize("width", [400, 1400])
def test_only_boxes_scroll_sideways(visit, width):
    page = visit(width)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Whoever has no mouse gets into every box that scrolls.
    trapped = page.evaluate(
        """[...document.querySelectorAll('body *')].filter(each =>
        /auto|scroll/.test(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth + 1 &&
        !(each.tabIndex === 0 && each.getAttribute('aria-label'))).map(each => each.outerHTML.slice(0, 100))"""
    )
    assert trapped == []


def names(page, table="#leaderboard table.sortable"):
    rows = page.locator(f"{table} tbody tr:visible .name")
    return rows.all_inner_texts()


def reach(page, name):
    """Press the tabulator until the control of this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()")
        if at.startswith(name):
            return
    raise AssertionError(f"{name} was not reached.")


def test_the_first_key_leads_to_the_answer(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_sorting_by_keyboard_begins_with_the_best(visit):
    page = visit()
    assert len(names(page)) == 32
    for head, sign, expected in (("split", -1, "descending"), ("fit", 1, "ascending"), ("carried", 1, "ascending")):
        page.evaluate("document.activeElement.blur()")
        page.locator("#search").focus()
        reach(page, head)
        page.keyboard.press("Enter")
        column = page.evaluate("document.activeElement.closest('th').cellIndex")
        cells = page.locator(f"#leaderboard table.sortable tbody tr > :nth-child({column + 1})")
        values = cells.evaluate_all("all => all.map(each => each.dataset.v)")
        known = [float(value) for value in values if value]
        assert len(known) > 20 and known == sorted(known, key=lambda value: sign * value)
        assert "" not in values[: len(known)]
        assert page.locator("#leaderboard th[aria-sort]").evaluate_all("all => all.map(e => e.ariaSort)") == [expected]
    page.keyboard.press("Space")
    assert page.locator("#leaderboard th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_search_and_filters_by_keyboard(visit):
    page = visit()
    reach(page, "Search")
    page.keyboard.type("strategy 1")
    assert set(names(page)) == {"Strategy 1", *(f"Strategy {k}" for k in range(10, 20))}
    assert page.locator("#found").inner_text() == "11 of 32 strategies"
    for _ in "strategy 1":
        page.keyboard.press("Backspace")
    reach(page, "Family")
    page.keyboard.type("regul")
    shown = names(page)
    assert "EWC" in shown and 2 < len(shown) < 10
    families = page.locator("#leaderboard table.sortable tbody tr:visible").evaluate_all(
        "all => all.map(e => e.dataset.family)"
    )
    assert set(families) == {"regularization"}
    reach(page, "Keeps")
    page.keyboard.type("nothing")
    fewer = names(page)
    assert set(fewer) < set(shown)
    # The tables of the streams follow.
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert set(names(page, "#stream-0 table.sortable.board")) == set(fewer)


def test_the_header_stays(visit):
    """In the window where the table fits into it, else in its box."""
    table = "#leaderboard table.sortable"
    for width in (400, 2400):
        page = visit(width)
        page.add_style_tag(content="main { max-width: none !important; }")
        page.locator(f"{table} tbody tr").last.scroll_into_view_if_needed()
        head, last = page.locator(f"{table} th").first.bounding_box(), page.locator(f"{table} tr").last.bounding_box()
        box = page.locator(".scroll:has(> table.sortable.overview)").bounding_box()
        assert head["y"] == pytest.approx(box["y"] if width == 400 else 0, abs=2)
        assert last["y"] > head["y"]


def test_strategies_are_put_in_colour_by_keyboard(visit):
    page = visit()
    page.locator("#stream-0 .choose summary").focus()
    page.keyboard.press("Enter")
    reach(page, "Strategy 26")
    before = page.locator("#stream-0 svg .on").count()
    line = page.locator("#stream-0 svg .line[data-series='31'] > path").first
    grey = line.evaluate("each => getComputedStyle(each).stroke")
    page.keyboard.press("Space")
    assert page.locator("#stream-0 svg .on").count() > before
    assert line.evaluate("each => getComputedStyle(each).stroke") != grey
    page.keyboard.press("Space")
    assert page.locator("#stream-0 svg .on").count() == before
    assert line.evaluate("each => getComputedStyle(each).stroke") == grey


def test_few_pages_are_printed_with_letters_large_enough_to_read(visit):
    page = visit()
    pdf = page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 3 <= pages <= 6
    if shutil.which("pdftotext"):
        read = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True).stdout
        sheets = read.decode().split("\f")
        assert "decide nothing" in sheets[0]
        # The leaderboard goes on, with its header again.
        assert "gap closed, %" in sheets[1] and "Strategy 26" in sheets[1]
        assert "forgetless run suite.toml --seeds 3" in sheets[pages - 1]
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # A4 without its margins, in CSS pixels
    points = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(each => each.checkVisibility() &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).map(each => {
          const svg = each.closest('svg');
          const box = svg?.getBoundingClientRect();
          const view = svg?.viewBox.baseVal;
          const scale = svg ? Math.min(box.width / view.width, box.height / view.height) : 1;
          return [parseFloat(getComputedStyle(each).fontSize) * 0.75 * scale, each.outerHTML.slice(0, 90)];
        }).sort((a, b) => a[0] - b[0])[0]"""
    )
    assert points[0] >= 5.5, points
