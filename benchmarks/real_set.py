"""Vectors of real pictures and of real captions, by any model, for the goals of the index layer.

    python -m benchmarks.real_set --openclipart /usr/share/openclipart/svg --grocery DIR \\
        --out REAL.npz
    python -m benchmarks.goal 4 --vectors REAL.npz
    python -m benchmarks.goal 5 --vectors REAL.npz

Drawings of Debian's openclipart-svg with their titles (drawn by rsvg-convert), and photos of the
grocery set with the names of what they show. To be made again when the model's weights change.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import subprocess
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.measure import Options
from benchmarks.quality.starter_sets import Pixels, draw, pixels_of
from benchmarks.synthetic import SyntheticSet, make_set
from index.types import Vectors
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.training.starter.sources import openclipart
from retrieval.types import MediaSpec

BATCH = 32


def given_set(options: Options, *, n_queries: int) -> SyntheticSet:
    """Read the set that `--vectors` names, or draw the synthetic one.

    Args:
        options: of the goal.
        n_queries: texts wanted; fewer where the file has fewer.
    """
    if not options.vectors:
        return make_set(options.n, dim=options.dim, n_queries=n_queries, seed=options.seed)
    with np.load(options.vectors) as held:  # plain arrays; pickles are refused by default
        pictures, texts, targets = held["pictures"], held["texts"], held["targets"]
    rng = np.random.default_rng(options.seed)
    drawn = rng.choice(len(texts), min(n_queries, len(texts)), replace=False)
    return SyntheticSet(
        pictures=pictures,
        clusters=np.zeros(len(pictures), np.int64),
        picture_queries=pictures[rng.choice(len(pictures), len(drawn))],
        text_queries=np.ascontiguousarray(texts[drawn]),
        targets=targets[drawn],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Encode the pictures and captions of some folders into one .npz."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_set", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--openclipart", type=pathlib.Path)
    parser.add_argument("--grocery", type=pathlib.Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=1 << 30, help="pictures of each source")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    given = parser.parse_args(argv)
    encoder = open_encoder(given.model, threads=given.threads)
    captions: list[str] = []
    pictures: list[Vectors] = []
    for source in _sources(given, encoder.media):
        for block in _blocks(source, limit=given.limit):
            captions += [caption for caption, _ in block]
            pictures.append(encoder.encode([pixels for _, pixels in block], modality="image"))
            print(f"\r{len(captions):,} pictures", end="", flush=True)
    unique = {caption: row for row, caption in reversed(list(enumerate(captions)))}
    np.savez(
        given.out,
        pictures=np.concatenate(pictures),
        texts=_encode(encoder, list(unique)),
        targets=np.array(list(unique.values())),
    )
    print(f", {len(unique):,} captions in {given.out}")


def _sources(given: argparse.Namespace, spec: MediaSpec) -> Iterator[Iterator[tuple[str, Pixels]]]:
    if given.openclipart:
        yield _drawings(given.openclipart, spec)
    if given.grocery:
        yield _photos(given.grocery, spec)


def _drawings(folder: pathlib.Path, spec: MediaSpec) -> Iterator[tuple[str, Pixels]]:
    for picture in openclipart(folder):
        try:
            drawn = draw(picture.svg, spec=spec)
        except subprocess.CalledProcessError:
            continue  # rsvg-convert draws all but a few
        yield picture.title, drawn


def _photos(folder: pathlib.Path, spec: MediaSpec) -> Iterator[tuple[str, Pixels]]:
    for table in ("train.csv", "val.csv", "test.csv"):
        if (folder / table).is_file():
            with (folder / table).open(newline="") as file:
                for row in csv.DictReader(file):
                    yield row["coarse_name"], pixels_of(folder / row["path"], spec=spec)


def _blocks(
    source: Iterator[tuple[str, Pixels]], *, limit: int
) -> Iterator[list[tuple[str, Pixels]]]:
    block: list[tuple[str, Pixels]] = []
    for number, pair in enumerate(source):
        if number >= limit:
            break
        block.append(pair)
        if len(block) == BATCH:
            yield block
            block = []
    if block:
        yield block


def _encode(encoder: Encoder, texts: list[str]) -> Vectors:
    blocks = range(0, len(texts), BATCH)
    parts = [encoder.encode(texts[i : i + BATCH], modality="text") for i in blocks]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
