"""HTTP servers on the loopback."""

import contextlib
from http.server import ThreadingHTTPServer
from threading import Thread


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
