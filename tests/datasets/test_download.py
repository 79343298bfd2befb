"""Downloads from mirrors that lie, drip, never end or send bombs: each is given up, and the next one is asked."""

import contextlib
import gzip
import hashlib
import os
import time
from http.server import BaseHTTPRequestHandler

import pytest
from helpers.servers import serving

from forgetless.datasets import download

CONTENT = os.urandom(3000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
ENDLESS = 10**12  # bytes or seconds


def respond(handler, chunks, length=None, pause=0.0):
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    for chunk in chunks:
        handler.wfile.write(chunk)
        time.sleep(pause)


def drip_headers(handler):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


BOMB = gzip.compress(bytes(2_000_000))  # two kilobytes that become two megabytes

MIRRORS = {
    "good": lambda handler: respond(handler, [gzip.compress(CONTENT)]),
    "plain": lambda handler: respond(handler, [CONTENT], len(CONTENT)),
    "bomb": lambda handler: respond(handler, [BOMB]),
    "damaged gzip": lambda handler: respond(handler, [gzip.compress(CONTENT)[:-9]]),
    "dripping": lambda handler: respond(handler, iter(lambda: b"x", b""), ENDLESS, pause=0.05),
    "dripping headers": drip_headers,
    "endless": lambda handler: respond(handler, iter(lambda: bytes(1000), b"")),
    "too long": lambda handler: respond(handler, [CONTENT, bytes(5000)]),
    "cut off": lambda handler: respond(handler, [CONTENT[:-1]], len(CONTENT)),
    "silent": lambda handler: time.sleep(5),
    "other": lambda handler: respond(handler, [CONTENT[:-1] + b"?"]),
    "no number": lambda handler: respond(handler, [CONTENT], "many"),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with contextlib.suppress(OSError):  # the other side has given up
            MIRRORS[self.path.strip("/").replace("-", " ")](self)

    def log_message(self, format, *args):
        pass


@pytest.fixture(autouse=True)
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving(Handler) as url:
        yield url


def fetch(server, tmp_path, *mirrors):
    urls = [server + mirror.replace(" ", "-") for mirror in mirrors]
    return download.fetch(urls, tmp_path / "home" / "file.gz", CHECKSUM, len(CONTENT))


@pytest.mark.parametrize("mirror", ["good", "plain"])
def test_content_is_verified_packed_or_not(server, tmp_path, mirror):
    assert fetch(server, tmp_path, mirror) == CONTENT
    stored = tmp_path / "home" / "file.gz"
    assert download.unpack(stored.read_bytes(), CHECKSUM, len(CONTENT)) == CONTENT
    assert list(tmp_path.rglob("*")) == [stored.parent, stored]


REASONS = {
    "bomb": "unpacks to more than the published 3000 bytes",
    "damaged gzip": "cannot be unpacked",
    "dripping": "it is too slow",
    "dripping headers": "it is too slow",
    "endless": "sends more than the published 3000 bytes",
    "too long": "sends more than the published 3000 bytes",
    "cut off": "breaks off after 2999 of 3000 bytes",
    "silent": "timed out|too slow",
    "other": "the sha256 of its content is",
    "no number": "many",
}


SLOW = ("dripping", "dripping headers", "silent")


@pytest.mark.parametrize("mirror", REASONS)
def test_a_bad_mirror_is_given_up_and_the_next_one_asked(server, tmp_path, monkeypatch, mirror):
    if mirror in SLOW:
        monkeypatch.setattr(download, "TIMEOUT", 1.0)
    with pytest.raises(OSError, match=f"Could not download file.gz .*{REASONS[mirror]}"):
        fetch(server, tmp_path, mirror)
    assert list(tmp_path.rglob("*")) == [tmp_path / "home"]
    assert fetch(server, tmp_path, mirror, "good") == CONTENT


def test_an_archive_is_verified_by_its_own_checksum():
    packed = gzip.compress(CONTENT)
    assert download.unpack(packed, f"md5:{hashlib.md5(packed).hexdigest()}", len(packed)) == packed


def test_an_interrupt_while_writing_leaves_nothing_behind(server, tmp_path, monkeypatch):
    def interrupted(path, content):
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tmp_path), "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, "good")
    assert list(tmp_path.rglob("*")) == [tmp_path / "home"]
