"""Running the tools over HTTP, behind the same boundary as the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from retrieval.server.auth import Boundary, make_policy
from retrieval.server.serve import Address, listen_tcp, run_servers, uvicorn_server

if TYPE_CHECKING:
    from mcp.server import MCPServer

__all__ = ["serve_tools"]


def serve_tools(
    tools: MCPServer[None], *, address: Address, on_start: Callable[[str], None]
) -> None:
    """Serve tools at /mcp until a signal comes.

    Args:
        tools: from `make_tools`.
        address: where, and who may come; see `retrieval.server.serve`.
        on_start: is told the URL.

    Raises:
        UsageError: an unsafe address, or one that is taken.
    """
    from mcp.server.transport_security import TransportSecuritySettings

    policy = make_policy(address.host, token=address.token, names=address.names)
    listener = listen_tcp(address)
    # The boundary checks hosts and origins, and knows the proxy's name, which the SDK does not.
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = tools.streamable_http_app(
        json_response=True, stateless_http=True, transport_security=unchecked
    )
    on_start(f"http://{address.host}:{listener.getsockname()[1]}/mcp")
    try:
        server = uvicorn_server(Boundary(app, policy=policy), lifespan="on")
        asyncio.run(run_servers([server], [listener]))
    finally:
        listener.close()
