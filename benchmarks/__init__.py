"""Measurements anyone can repeat: each prints figures and a JSON line, with seed and machine."""
