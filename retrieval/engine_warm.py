"""Reading beforehand what the first search of a generation would have to wait for."""

from __future__ import annotations

from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.media import Loader
from retrieval.query.generation import Generation
from retrieval.query.grammar import make_query
from retrieval.query.search import search


def warm(generation: Generation, *, reader: Reader, encoder: Encoder, loader: Loader) -> None:
    """Open the model and the vectors, and measure how scores are spread, by a search.

    Where another model serves the generation nothing is done.
    """
    prints = {space.fingerprint for space in reader.spaces()}
    if not prints or prints & {space.fingerprint for space in encoder.spaces}:
        query = make_query("warm", k=1, modality=None)
        search(query, reader=reader, generation=generation, encoder=encoder, loader=loader)
