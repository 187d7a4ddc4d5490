"""A viser server for this machine only, behind a secret in its address."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from gridless.errors import UnsupportedError

_patching = threading.Lock()


class GuardedServer:
    """Serves viser's page on 127.0.0.1 to those who know the address, and to no page of another origin.

    viser itself has neither a token nor a check of origins, and opens a public tunnel when a client asks for it. Here
    requests are checked before viser sees them, and the tunnel is taken out.

    Args:
        port: to listen on; 0 takes a free one.
        script: JavaScript that the page runs beside viser's.
        on_report: called with TEXT when the script fetches "report?TEXT".

    Raises:
        UnsupportedError: viser is not installed, with how to get it, or did not let itself be guarded.
        ValueError: there is no such port.
        OSError: the port is in use or not allowed.
    """

    def __init__(self, port: int = 0, script: str = "", on_report: Callable[[str], None] = lambda text: None) -> None:
        try:
            import viser
            from viser import _messages
        except ModuleNotFoundError:
            raise UnsupportedError("gridless view needs viser: pip install 'gridless[view]'") from None
        _require_free(port)
        self.token = secrets.token_urlsafe(24)
        self._script, self._on_report = script, on_report
        self._guarded = 0
        # Browsers open connections ahead and close them unused: no news, and no traceback for the terminal.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        # viser prints an address that lacks the token
        with self._checks_put_in(), contextlib.redirect_stdout(io.StringIO()):
            self.viser = viser.ViserServer(host="127.0.0.1", port=port, label="gridless", verbose=False)
        if self._guarded == 0:
            self.viser.stop()
            raise UnsupportedError("this version of viser cannot be guarded; install viser 1.1")
        for message in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):
            self.viser._websock_server.unregister_handler(message)
        self.viser.gui.configure_theme(show_share_button=False, show_logo=False, control_width="medium")

    @property
    def address(self) -> str:
        """Of the page, with the token."""
        return f"http://127.0.0.1:{self.viser.get_port()}/{self.token}/"

    def stop(self) -> None:
        """Close all connections."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.viser.stop()

    @contextlib.contextmanager
    def _checks_put_in(self) -> Iterator[None]:
        """While viser starts, its call of ``serve`` gets our check in front of its own."""
        from websockets.asyncio import server

        original = server.serve

        def serve(*arguments: Any, **options: Any) -> Any:
            options["process_request"] = self._checked(options["process_request"])
            self._guarded += 1
            return original(*arguments, **options)

        with _patching:
            server.serve = serve  # type: ignore[assignment,misc]
            try:
                yield
            finally:
                server.serve = original  # type: ignore[misc]

    def _checked(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def process(connection: Any, request: Any) -> Any:
            port = connection.local_address[1]
            hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
            # another name for this machine would let a page of another origin in through its own name service
            if request.headers.get_all("Host")[:1] not in ([hosts[0]], [hosts[1]]):
                return connection.respond(HTTPStatus.FORBIDDEN, "wrong host\n")
            if any(origin not in (f"http://{host}" for host in hosts) for origin in request.headers.get_all("Origin")):
                return connection.respond(HTTPStatus.FORBIDDEN, "wrong origin\n")
            path, _, query = request.path.lstrip("/").partition("?")
            token, _, rest = path.partition("/")
            if not secrets.compare_digest(token.encode(), self.token.encode()):
                return connection.respond(HTTPStatus.FORBIDDEN, "the address lacks its token\n")
            if rest == "report":
                self._on_report(query)
                return connection.respond(HTTPStatus.NO_CONTENT, "")
            if rest == "":
                request.headers.pop("Accept-Encoding", None)  # the script goes into plain text
            response = answer(connection, dataclasses.replace(request, path=f"/{rest}"))
            return response if rest else self._with_script(response)

        return process

    def _with_script(self, response: Any) -> Any:
        if response is None:
            return None  # the socket, not the page
        body = response.body.replace(b"</body>", f"<script>{self._script}</script></body>".encode())
        headers = response.headers.copy()
        del headers["Content-Length"]
        headers["Content-Length"] = str(len(body))
        return dataclasses.replace(response, headers=headers, body=body)


def _require_free(port: int) -> None:
    """viser would take the next free port, and wait forever for one that there is not."""
    if not 0 <= port < 2**16:
        raise ValueError(f"port: there is no port {port}; choose one up to 65535, or 0 for a free one")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does, for ports just given back
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(
                f"port {port} cannot be used ({error.strerror}); choose another, or none for a free one"
            ) from None
