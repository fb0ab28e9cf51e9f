"""Faults injected into a working store, and what must hold afterwards."""
