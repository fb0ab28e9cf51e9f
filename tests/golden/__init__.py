"""Stores as earlier versions wrote them, and what those answered."""
