"""The page in a browser: no error, accessible in both schemes and on a phone, usable by keyboard, few printed pages."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers.results import make_results, rename

from forgetless.reports import write_html, write_site

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

    def opened(width=1400, scheme="light", address=address, within=None):
        within = within or address
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(within) or complaints.append(request.url))
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


# Boxes that scroll, and that whoever has no mouse does not get into.
TRAPPED = """[...document.querySelectorAll('body *')].filter(each =>
/auto|scroll/.test(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth + 1 &&
!(each.tabIndex === 0 && each.getAttribute('aria-label'))).map(each => each.outerHTML.slice(0, 100))"""
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
    assert page.evaluate(TRAPPED) == []


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


# --- the site ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites") / "site"
    write_site(suite(), folder, title="A suite")
    return folder


PAGES = {
    "index": "index.html",
    "compare": "compare.html",
    "search": "search.html",
    "stream": "streams/a-stream-*.html",
    "strategy": "strategies/ewc-*.html",
}


def path_of(folder, name):
    (path,) = folder.glob(PAGES[name])
    return path.as_uri()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_the_site(visit, folder, name, scheme, width):
    page = visit(width, scheme, path_of(folder, name))
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    found = axe_playwright.Axe().run(page).response["violations"]
    assert [(each["id"], len(each["nodes"]), each["nodes"][0]["html"][:200]) for each in found] == []
    assert page.evaluate(TRAPPED) == []


@pytest.mark.parametrize("name", ODD)
def test_odd_results_have_a_site_like_others(visit, tmp_path, name):
    write_site(ODD[name], tmp_path / "site", title=name)
    for path in sorted((tmp_path / "site").rglob("*.html")):
        page = visit(400, address=path.as_uri())
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        found = axe_playwright.Axe().run(page).response["violations"]
        assert [(path.name, each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_a_number_leads_to_its_runs_by_keyboard(visit, folder):
    page = visit(address=path_of(folder, "index"), within=folder.as_uri())
    link = page.locator("#leaderboard tr[data-series='1'] td.per-stream a").nth(1)
    said = link.inner_text()
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/strategies/ewc-*")
    box = page.locator(":target")
    assert box.evaluate("each => each.open")
    assert box.locator("summary").inner_text() == "permuted: 3 runs, 1 failed"
    scores = [float(text) for text in box.locator("tbody tr td:nth-child(2).n").all_inner_texts()]
    assert len(scores) == 2 and f"{np.mean(scores):.1f}" == said
    page.locator(":target").get_by_role("link", name="P1").first.click()
    assert page.locator(":target").inner_text() == "P1"


def test_search_by_keyboard_leads_to_a_page(visit, folder):
    page = visit(address=path_of(folder, "search"), within=folder.as_uri())
    reach(page, "Search")  # the page that this is
    reach(page, "Search")
    page.keyboard.type("STRATEGY regularization")
    assert page.locator("#hits").inner_text() == "4 of 36 pages"
    shown = page.locator(".pages li:visible a").all_inner_texts()
    assert shown == [f"Strategy {k}" for k in (3, 10, 17, 24)]
    reach(page, "Strategy 17")
    page.keyboard.press("Enter")
    page.wait_for_url("**/strategies/strategy-17-*")
    assert page.locator("h1").inner_text() == "Strategy 17"


def test_two_are_compared_by_keyboard(visit, folder):
    page = visit(address=path_of(folder, "compare"), within=folder.as_uri())
    assert [page.locator(f"#{each}").input_value() for each in ("first", "second")] == ["EWC", "Naive"]
    page.locator("#second").focus()
    page.keyboard.type("der")
    assert page.locator("#verdict").inner_text() == "No verdict: 3 seeds decide nothing."

    def row():
        return page.locator("#each tbody tr").first.locator("th, td").all_inner_texts()

    before, because = row(), page.locator("#because").inner_text()
    assert because.startswith("EWC − DER++: ")
    reach(page, "Swap")
    page.keyboard.press("Enter")
    after = row()
    assert after[2:4] == before[3:1:-1]
    assert after[4] != before[4]

    def number(text):
        return [float(each) for each in re.findall(r"[+-][\d.]+", text.replace("−", "-"))]

    mean, low, high = number(before[4])
    assert number(after[4]) == [-mean, -high, -low]
    assert page.locator("#because").inner_text().startswith("DER++ − EWC: ")
    # The address says which ones, and a strategy's page leads here.
    page.reload()
    assert row() == after
    page.goto(path_of(folder, "strategy"))
    page.get_by_role("link", name="Compare with another strategy").click()
    page.wait_for_url("**/compare.html#a=ewc-*")
    assert page.locator("#first").input_value() == "EWC"


def test_every_pair_stands_where_it_is_looked_for(visit, tmp_path):
    """The later ones of the strategies too: differences are those of the means, as all seeds finished."""
    write_site(make_results([f"s{k}" for k in range(5)], seeds=range(6)), tmp_path / "site")
    page = visit(address=(tmp_path / "site" / "compare.html").as_uri())
    for first in range(5):
        for second in range(5):
            page.locator("#first").select_option(index=first)
            page.locator("#second").select_option(index=second)
            cells = page.locator("#each tbody tr").first.locator("td").all_inner_texts()
            means = [float(re.match(r"[\d.]+", text)[0]) for text in cells[1:3]]
            if first == second:
                assert cells[3] == "–"
            else:
                difference = float(cells[3].partition(" ")[0].replace("−", "-"))
                assert difference == pytest.approx(means[0] - means[1], abs=0.11)
                assert cells[5] == "6"
