"""Who may ask, from where: the first thing that happens to every request, whatever its path."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import itertools
import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import BusyError, UsageError
from retrieval.server.limits import (
    BODY_SECONDS,
    MAX_BODY_BYTES,
    Body,
    Budget,
    RequestError,
    too_large,
)

__all__ = ["MIN_TOKEN_CHARACTERS", "Boundary", "Policy", "is_loopback", "make_policy"]

Headers = dict[bytes, bytes]

MIN_TOKEN_CHARACTERS = 16
# Counted, not drawn: asking the kernel for random bytes lets a busy thread in first, each time.
_COUNTER = itertools.count(1)
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ONCE = (b"host", b"authorization", b"origin", b"content-length", b"content-type")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_STRICT_CSP = b"default-src 'none'; frame-ancestors 'none'; sandbox"


@dataclass(frozen=True)
class Policy:
    """What a listener lets through.

    Attributes:
        token: that every request must carry; empty for none.
        hosts: names by which the server may be addressed.
        any_address: whether any bare IP address will do as well. DNS rebinding needs a name.
        local: the listener is a socket in the store's directory, which only the owner can open.
    """

    token: str = field(default="", repr=False)
    hosts: frozenset[str] = _LOCAL_NAMES
    any_address: bool = False
    local: bool = False


def is_loopback(host: str) -> bool:
    """Tell whether an address can only be reached from this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_policy(host: str, *, token: str = "", names: tuple[str, ...] = ()) -> Policy:
    """Decide what a TCP listener lets through.

    Args:
        host: address it listens on.
        token: the secret, or empty.
        names: further host names, e.g. of a proxy in front.

    Raises:
        UsageError: off loopback without a token (`token_missing`), or one that can be guessed
            (`token_too_short`).

    Example:
        >>> make_policy("0.0.0.0")
        Traceback (most recent call last):
        retrieval.errors.UsageError: 0.0.0.0 can be reached by others; set a token of at least ...
    """
    if token and len(token) < MIN_TOKEN_CHARACTERS:
        raise UsageError(
            f"the token has {len(token)} characters; it must have at least {MIN_TOKEN_CHARACTERS}",
            code="token_too_short",
        )
    if is_loopback(host):
        return Policy(token=token, hosts=_LOCAL_NAMES | _lower(names))
    if not token:
        raise UsageError(
            f"{host} can be reached by others; set a token of at least {MIN_TOKEN_CHARACTERS} "
            "characters by CROSSFIND_TOKEN, or listen on 127.0.0.1",
            code="token_missing",
        )
    own = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Policy(token=token, hosts=_LOCAL_NAMES | own | _lower(names), any_address=True)


class Boundary:
    """Wraps the application: refuses what may not come in, and marks what goes out.

    Args:
        app: the application.
        policy: of the listener it stands behind.
        body_seconds: the longest a body may take to arrive.
        budget: of the bodies of all requests; one of its own when left out.
        is_full: tells of a path whether the work behind it has no room; then a request is refused
            before anything is made of it, so that refusing stays cheap when there are thousands.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy,
        body_seconds: float = BODY_SECONDS,
        budget: Budget | None = None,
        is_full: Callable[[str], bool] = lambda _path: False,
    ) -> None:
        self._app = app
        self._body_seconds = body_seconds
        self._budget = budget or Budget()
        self._is_full = is_full
        self._policy = policy
        self._name = secrets.token_hex(4)  # of this run, so that two runs share no request id
        self._digest = hashlib.sha256(policy.token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other protocols than HTTP are hung up on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        request_id = f"{self._name}{next(_COUNTER):x}"
        scope["request_id"], scope["local"] = request_id, self._policy.local
        answer = _marking(send, request_id)
        try:
            headers = _headers(scope)
            self._check(scope, headers)
        except RequestError as error:
            await _refuse(answer, error, request_id, head=scope["method"] == "HEAD")
            return
        body = Body(receive, budget=self._budget, seconds=self._body_seconds)
        try:
            if self._is_full(scope["path"]):
                await _turn_away(body, answer, request_id)
            else:
                await self._app(scope, body, answer)
        finally:
            body.close()

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not self._policy.local:
            self._check_token(headers)
            self._check_host(headers)
            _check_origin(scope, headers)
        _check_length(headers)
        if scope["method"] in ("POST", "PUT", "PATCH"):
            _check_type(headers)

    def _check_token(self, headers: Headers) -> None:
        if not self._policy.token:
            return
        given = hashlib.sha256(_secret(headers.get(b"authorization", b""))).digest()
        if not hmac.compare_digest(given, self._digest):
            raise RequestError(
                "this server needs its token: Authorization: Bearer TOKEN (in a browser, any "
                "user name and the token as password)",
                code="unauthorized",
                status=401,
            )

    def _check_host(self, headers: Headers) -> None:
        name = _host_name(headers.get(b"host", b"").decode("latin-1"))
        if name in self._policy.hosts or (self._policy.any_address and _is_address(name)):
            return
        raise RequestError(
            "the Host header names another server; start with --allow-host to add a name",
            code="wrong_host",
            status=421,
        )


def _secret(authorization: bytes) -> bytes:
    """Take the token out of a Bearer or Basic header; empty where there is none."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _headers(scope: Scope) -> Headers:
    found: Headers = {}
    for name, value in scope["headers"]:
        if name in found and name in _ONCE:
            raise RequestError(
                f"the header {name.decode('latin-1')} comes twice", code="bad_header", status=400
            )
        found[name] = value
    return found


def _check_origin(scope: Scope, headers: Headers) -> None:
    """Refuse what a page of another site asks for: a browser says so in these two headers."""
    origin = headers.get(b"origin")
    if origin is not None:
        own = b"://" + headers.get(b"host", b"")
        if origin not in (b"http" + own, b"https" + own):
            raise _cross_site()
    site = headers.get(b"sec-fetch-site", b"none")
    opens_page = scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
    if site in (b"cross-site", b"same-site") and not (opens_page and scope["path"] == "/"):
        raise _cross_site()


def _cross_site() -> RequestError:
    return RequestError(
        "the request comes from a page of another site", code="cross_site", status=403
    )


def _check_length(headers: Headers) -> None:
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 15:
        raise RequestError("Content-Length is no number", code="bad_header", status=400)
    if int(length) > MAX_BODY_BYTES:
        raise too_large()


def _check_type(headers: Headers) -> None:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"multipart/form-data"):
        raise RequestError(
            "a POST needs Content-Type: application/json, or multipart/form-data with files",
            code="wrong_content_type",
            status=403,
        )


def _host_name(host: str) -> str:
    """Take the port off a Host header."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or (port and not port.isdigit()):
        name = host.lower()
    return name.strip("[]") if name.startswith("[") else name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _lower(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _marking(send: Send, request_id: str) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            headers += [*_HEADERS, (b"x-request-id", request_id.encode())]
            names = {name for name, _ in headers}
            if b"content-security-policy" not in names:
                headers.append((b"content-security-policy", _STRICT_CSP))
            if b"cache-control" not in names:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return marked


async def _turn_away(body: Body, send: Send, request_id: str) -> None:
    """Read the body, so that the connection can be used again, and say when to come back."""
    try:
        while (await body()).get("more_body"):
            pass
    except (RequestError, BusyError):
        pass  # too large or too slow as well
    error = RequestError("the server is busy; ask again in a moment", code="busy", status=503)
    await _refuse(send, error, request_id, head=False, keep=True)


async def _refuse(
    send: Send, error: RequestError, request_id: str, *, head: bool, keep: bool = False
) -> None:
    told = {"code": error.code, "message": str(error), "request_id": request_id}
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if not keep:
        headers.append((b"connection", b"close"))
    if error.status == 503:
        headers.append((b"retry-after", b"1"))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="crossfind", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
