"""Vectors, ids and scores: indexes, segments and their storage. Knows nothing of media, models or SQL."""
