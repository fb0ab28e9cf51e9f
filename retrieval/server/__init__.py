"""The HTTP side: one warm Engine for many users, safe by default.

    request -> Boundary (token, host, origin, size, time) -> route -> Gate -> Engine -> JSON

Importing this package imports neither FastAPI nor uvicorn.
"""
