"""Asking a running server from Python, with the Engine's surface: Client and AsyncClient."""

from retrieval.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
