"""Serves the page to browsers of this machine.

Only the loopback addresses are bound. Other programs and pages of this machine cannot use the
server: every address begins with a random token, the Host header must be that of a loopback address
(against DNS rebinding), and requests of other pages are refused by their Origin.
"""

from __future__ import annotations

import importlib
import json
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from throughtime.inspection.page.files import FILES, content_of
from throughtime.inspection.page.session import Session
from throughtime.reading import json_value

__all__ = ["application", "serve"]

MOST_BYTES = 1 << 20
"""The largest size of a request."""

# More than this is not even read to its end, so that the browser may not see the answer.
_MOST_BYTES_READ = 1 << 28

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    # The address holds the token.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def serve(runs: Sequence[str | Path], *, port: int = 0, say: Callable[[str], Any] = print) -> None:
    """Serves the page of runs until Ctrl-C.

    Args:
        runs: the run folders.
        port: the port; 0 takes any that is free.
        say: called with the address, and with each remark for the user, a line of text.

    Raises:
        ValueError: if a folder is no run that can be inspected, or the port is taken.
        ImportError: if starlette or uvicorn is missing.
    """
    uvicorn = _imported("uvicorn")
    # Before a port is bound, so that a wrong folder is answered at once.
    session = Session(runs)
    sockets = _bound(port)
    port, token = sockets[0].getsockname()[1], secrets.token_urlsafe()
    config = uvicorn.Config(
        application(session, token, port),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    say(f"http://127.0.0.1:{port}/{token}/")
    say("Open this address in a browser of this machine. Ctrl-C ends the server.")
    threads = torch.get_num_threads()
    # One step of one sequence is too little work to share: waiting for other threads would take
    # longer than the step, and much longer if they are busy.
    torch.set_num_threads(1)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=sockets)
    finally:
        torch.set_num_threads(threads)
        session.close()
        for listening in sockets:
            listening.close()
    say("The server has ended.")


def application(session: Session, token: str, port: int) -> Any:
    """The ASGI application that answers the requests of the page.

    Args:
        session: what answers them.
        token: the first part of every path.
        port: the port at which the server listens, for the Host header.

    Raises:
        ImportError: if starlette is missing.
    """
    _imported("starlette")
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route

    def refusal(status: int, sentence: str) -> Response:
        return PlainTextResponse(f"{sentence}\n", status, _HEADERS)

    def failure(sentence: str, status: int = 400) -> Response:
        return answered(json.dumps({"error": sentence}).encode(), status)

    def answered(content: bytes, status: int = 200) -> Response:
        return Response(content, status, _HEADERS, "application/json")

    async def body_of(request: Request) -> bytes:
        pieces, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > _MOST_BYTES_READ:
                break
            # A request that is too large is read to its end: otherwise the browser would report a
            # lost connection instead of the answer.
            if size <= MOST_BYTES:
                pieces.append(piece)
        if size > MOST_BYTES:
            raise ValueError(
                f"The request has more than {MOST_BYTES:,} bytes. The page reads texts of at most "
                f"{max(run.most_characters for run in session.runs):,} characters; take a part of "
                "it."
            )
        return b"".join(pieces)

    async def api(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return failure("expected a request of the type application/json.", 415)
        name = request.path_params["name"]

        def answer() -> bytes:
            # Escapes also what UTF-8 cannot hold, such as half of a surrogate pair.
            fields = json_value(name, body.decode("utf-8"))
            return json.dumps(session.answer(name, fields), allow_nan=False).encode("ascii")

        try:
            body = await body_of(request)
            return answered(await run_in_threadpool(answer))
        except UnicodeDecodeError:
            return failure("expected a request in UTF-8.")
        except (ValueError, OSError, ImportError) as error:
            return failure(str(error))

    async def file(request: Request) -> Response:
        name = request.path_params.get("file", "index.html")
        if name not in FILES:
            return refusal(404, "There is no such file.")
        content, kind = content_of(name)
        return Response(content, headers={**_HEADERS, "Content-Type": kind})

    async def with_slash(request: Request) -> Response:
        return RedirectResponse(f"/{token}/", headers=_HEADERS)

    async def failed(request: Request, error: Exception) -> Response:
        return failure(f"{type(error).__name__}: {error} (a fault of throughtime)", 500)

    inner = Starlette(
        routes=[
            Route(f"/{token}/api/{{name}}", api, methods=["POST"]),
            Route(f"/{token}/", file),
            Route(f"/{token}", with_slash),
            Route(f"/{token}/{{file}}", file),
        ],
        exception_handlers={Exception: failed},
    )
    hosts = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        # The others are the start and the end of the server; uvicorn is told to speak HTTP only.
        is_request = scope["type"] == "http"
        if is_request and (reason := _refused(scope, hosts, token)):
            await refusal(403, reason)(scope, receive, send)
        else:
            await inner(scope, receive, send)

    return guarded


def _headers_of(scope: Any) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _refused(scope: Any, hosts: set[str], token: str) -> str:
    """Why a request is refused; empty if it is not."""
    headers = _headers_of(scope)
    host = headers.get("host", [])
    if len(host) != 1 or host[0].lower() not in hosts:
        return "The Host header is not that of this machine. Open the address that was printed."
    path_token = scope["path"].split("/")[1]
    if not secrets.compare_digest(path_token.encode("utf-8", "replace"), token.encode()):
        return "The token in the address is wrong. Open the address that was printed."
    if scope["method"] not in ("GET", "HEAD"):
        origins = headers.get("origin", [])
        sites = headers.get("sec-fetch-site", [])
        is_own = all(o.lower() == f"http://{host[0].lower()}" for o in origins)
        if not is_own or any(site != "same-origin" for site in sites):
            return "Requests of other pages are refused."
    return ""


def _bound(port: int) -> list[socket.socket]:
    """Sockets that listen on the loopback addresses: 127.0.0.1, and ::1 where it can be had."""
    # With the number of the protocol, without which asyncio leaves small pieces of an answer
    # waiting for the acknowledgement of those before (40 ms).
    first = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Otherwise a server that is started again at once would find its port taken.
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        first.bind(("127.0.0.1", port))
        # From now on a browser may connect; it waits until the server answers.
        first.listen()
    except (OSError, OverflowError) as error:
        first.close()
        raise ValueError(
            f"port: {port} cannot be had: {error}. Take another one, or 0 for any that is free."
        ) from error
    sockets = [first]
    try:
        second = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError:
        # This machine has no IPv6, and the address that is printed does not need it.
        return sockets
    try:
        second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(("::1", first.getsockname()[1]))
        second.listen()
        sockets.append(second)
    except OSError:
        second.close()
    return sockets


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'the page: the package {name} is missing. Install it: pip install "throughtime[lens]"'
        ) from error
