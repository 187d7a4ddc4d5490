"""Who gets in to the viewer's server."""

import contextlib
import http.client
import socket
import sys
import time

import pytest

viser = pytest.importorskip("viser")

from websockets.exceptions import InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from gridless.errors import UnsupportedError  # noqa: E402
from gridless.viewer.guarded_server import GuardedServer  # noqa: E402

SUBPROTOCOL = [f"viser-v{viser.__version__}"]


REPORTS = []


@pytest.fixture(scope="module")
def server():
    guarded = GuardedServer(script="ours()", on_report=REPORTS.append)
    yield guarded
    guarded.stop()


def get(server, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.viser.get_port(), timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_the_page_needs_its_token(server):
    assert server.address.startswith("http://127.0.0.1:")
    assert len(server.token) >= 32
    status, page = get(server, f"/{server.token}/?initialCameraPosition=1,2,3")
    assert status == 200
    assert b"<html" in page
    assert page.count(b"<script>ours()</script></body>") == 1
    for path in ("/", "/index.html", "/wrong/", f"/x{server.token}/", f"/?{server.token}/", f"//wrong/{server.token}/"):
        assert get(server, path)[0] == 403


def test_nothing_but_the_page_is_served(server):
    for path in (
        "../index.html",
        "../../__init__.py",
        "%2e%2e/%2e%2e/__init__.py",
        "/etc/passwd",
        "..%2f..%2f_viser.py",
    ):
        assert get(server, f"/{server.token}/{path}")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
)
def test_other_hosts_and_origins_are_refused_though_they_know_the_token(server, headers):
    assert get(server, f"/{server.token}/", **headers)[0] == 403


def test_reports_of_the_script_are_heard_and_no_others(server):
    assert get(server, f"/{server.token}/report?17.5") == (204, b"")
    assert get(server, "/wrong/report?1")[0] == 403
    assert get(server, f"/{server.token}/report?2", Origin="http://evil.example")[0] == 403
    assert REPORTS == ["17.5"]


def test_the_socket_needs_token_and_origin_too(server):
    own = server.address.replace("http", "ws")
    with connect(own, subprotocols=SUBPROTOCOL, origin=server.address.rsplit("/", 2)[0]) as socket:
        assert socket.recv(timeout=10)
    for address, origin in ((own.replace(server.token, "wrong"), None), (own, "http://evil.example"), (own, "null")):
        with pytest.raises(InvalidStatus, match="403"), connect(address, subprotocols=SUBPROTOCOL, origin=origin):
            pass


def test_no_client_can_open_a_tunnel_to_the_outside(server):
    from viser import _messages

    handlers = server.viser._websock_server._incoming_handlers
    assert _messages.ShareUrlRequest not in handlers
    assert _messages.ShareUrlDisconnect not in handlers


def test_a_server_that_would_not_be_checked_does_not_start(monkeypatch):
    monkeypatch.setattr(GuardedServer, "_checks_put_in", lambda self: contextlib.nullcontext())
    with pytest.raises(UnsupportedError, match="cannot be guarded"):
        GuardedServer()


def test_a_connection_that_is_closed_unused_is_no_news(server, caplog):
    with socket.create_connection(("127.0.0.1", server.viser.get_port())):
        pass
    time.sleep(0.3)  # the server notices on a thread of its own
    assert get(server, f"/{server.token}/")[0] == 200
    assert not caplog.records


def test_a_port_that_is_in_use_or_is_none_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} cannot be used"):
            GuardedServer(port)
    server = GuardedServer(port)
    assert f":{port}/" in server.address
    server.stop()
    for port in (-1, 80_000):
        with pytest.raises(ValueError, match=f"there is no port {port}"):
            GuardedServer(port)


def test_a_missing_viser_is_told_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'gridless\[view\]'"):
        GuardedServer()
