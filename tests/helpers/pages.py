"""What every page of HTML has to keep to."""

import base64
import hashlib
import json
import posixpath
import re
from html.parser import HTMLParser


class Markup(HTMLParser):
    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.attributes, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_markup(page):
    """Everything closes in order, ids are unique, nothing is loaded, no attribute is a script."""
    markup = Markup()
    markup.feed(page)
    markup.close()
    assert markup.open == []
    assert len(markup.ids) == len(set(markup.ids))
    assert not {"link", "img", "iframe", "object", "embed", "image", "base", "form"} & set(markup.tags)
    for tag, name, value in markup.attributes:
        assert name not in {"src", "srcset", "data", "action", "poster", "background"}
        assert not name.startswith("on"), (tag, name)
        for reference in re.findall(r"url\(([^)]*)\)", value):
            assert reference[0] == "#"
            assert reference[1:] in markup.ids
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?:|@import|url\((?!#)", without_namespaces, flags=re.IGNORECASE)
    return markup


def links_of(markup):
    """Where the references of a page lead."""
    return [value for _, name, value in markup.attributes if name in {"href", "xlink:href"}]


def check_markup(page):
    """Check a page that stands alone: its references lead to places on it."""
    markup = read_markup(page)
    assert markup.tags.count("script") == 1
    for to in links_of(markup):
        assert to[0] == "#"
        assert to[1:] in markup.ids
    return markup


def check_site(folder):
    """Check the pages of a site: each reference leads to a page of it, and to a place there. Returns them by name."""
    pages = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    found = {name: read_markup(page) for name, page in pages.items()}
    compared = json.loads(re.search(r'id="compared">(.*?)</script>', pages["compare.html"])[1])
    known = {f"a={each['id']}" for each in compared["strategies"]}
    for name, markup in found.items():
        assert markup.tags.count("script") == 1 + (name == "compare.html")
        script = re.search(r"<script>(.*)</script>", pages[name], flags=re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri" in pages[name]
        by_script = [each["page"] for each in compared["strategies"]] if name == "compare.html" else []
        for to in (*links_of(markup), *by_script):
            file, _, place = to.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name
            assert target in found, (name, to)
            assert not place or place in found[target].ids or (target == "compare.html" and place in known), (name, to)
    return found
