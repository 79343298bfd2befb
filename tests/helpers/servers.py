"""HTTP servers on the loopback."""

import contextlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest


@contextlib.contextmanager
def serving(handler):
    """Answer requests with the handler; yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        http.block_on_close = False  # a handler that never ends must not hold the test
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the folder ``root``; ``requests`` is what it was asked for."""
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            requests.append(self.path)

    monkeypatch.setenv("no_proxy", "*")
    root = tmp_path / "www"
    root.mkdir()
    with serving(partial(Handler, directory=root)) as url:
        yield SimpleNamespace(root=root, requests=requests, url=url)
