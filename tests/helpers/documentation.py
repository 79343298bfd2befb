"""What stands in the README and the pages of the documentation: code blocks, links, headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MADE = {"_build", "auto_examples"}  # by Sphinx
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(page for page in DOCS.rglob("*.md") if not MADE & set(page.relative_to(DOCS).parts)),
]
_FENCE = re.compile(r"(?:^<!-- run: (\w+) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `when` is "slow" where it says so."""

    language: str
    code: str
    when: str | None

    @property
    def file(self):
        """The name of the file that a reader is told to make of it, in the first line."""
        found = re.match(r"# file: (\S+)\n", self.code)
        return found and found[1]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    found = []
    for when, indent, language, code in _FENCE.findall(page.read_text("utf-8")):
        code = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
        found.append(Block(language, code, when or None))
    return found


def text_of(page):
    """The page without its code."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", page.read_text("utf-8")))


def links_of(page):
    return [target for target in re.findall(r"\]\(([^)\s]*)\)", text_of(page)) if target]


def anchors_of(page):
    """What a link to a heading of the page may say after #, as GitHub and MyST make it of the heading."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
