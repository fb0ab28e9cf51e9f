"""Measurements of quality: how well searches find what they should."""
