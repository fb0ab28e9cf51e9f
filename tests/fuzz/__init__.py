"""Throwing bytes at everything that reads what others wrote."""
