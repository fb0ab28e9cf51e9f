"""Vectors, ids and scores: indexes, segments and storage. Knows no media, models or SQL."""
