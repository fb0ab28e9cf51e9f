"""Behind `crossfind models join`: two models, texts as the bridge, one joined file.

Recall is reported on captions and pairs that nothing was fitted on: of the bridge, of the audio
model alone, and of chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.encoders.joined import joint_space
from retrieval.encoders.joined_file import SUFFIX, JoinedFile, save_joined_file
from retrieval.encoders.registry import open_encoder
from retrieval.errors import UsageError
from retrieval.media import Loader, find_file
from retrieval.training.bridge import FitOptions, fit_bridge, recall_at, unit
from retrieval.training.captions import N_CAPTIONS, make_captions, read_captions
from retrieval.training.features import encode_pairs
from retrieval.training.join_pairs import (
    PAIRS_MIN,
    PairedRows,
    judge_pairs,
    paired_rows,
    train_on_pairs,
)
from retrieval.training.pairs import read_pairs
from retrieval.types import MediaSpec, Modality

__all__ = ["JoinJob", "JoinReport", "join_models", "run_join"]

Vectors = npt.NDArray[np.float32]

_CHUNK = 1024
OnText = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class JoinJob:
    """What to join, from what, to where.

    Attributes:
        image, audio: names of the two models.
        out: the joined file.
        captions: text file, one a line; None makes captions.
        n_captions: how many of them are used.
        pairs: source of pairs with sounds, or None.
        sounds: files whose mean says where the sounds lie, used where no pairs are given.
        cache: folder for encoded pairs.
        options: of the fit.
        threads, n_workers: of encoding and decoding.
    """

    image: str
    audio: str
    out: Path
    captions: Path | None
    pairs: Path | None
    sounds: tuple[Path, ...]
    cache: Path
    n_captions: int = N_CAPTIONS
    options: FitOptions = field(default_factory=FitOptions)
    threads: int = 2
    n_workers: int = 1


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What joining made and measured.

    Attributes:
        path: of the joined file.
        n_captions, n_held_out: used, and of these never fitted on.
        text_text: recall of held-out captions across the bridge: `r1`, `r10` and their chance.
        ridge_lambda, dim_hidden: what validation chose; 0 hidden: ridge alone.
        n_pairs: rows with a sound and a text or picture.
        trained_on_pairs: there were enough of them.
        before: recall on held-out pairs of the audio model alone.
        bridged: of the bridge that texts alone made.
        after: of the bridge trained on with pairs.
        seconds: wall clock.
    """

    path: str
    n_captions: int
    n_held_out: int
    text_text: dict[str, float]
    ridge_lambda: float
    dim_hidden: int
    n_pairs: int
    trained_on_pairs: bool
    before: dict[str, float]
    bridged: dict[str, float]
    after: dict[str, float]
    seconds: float


def run_join(job: JoinJob, *, on_text: OnText | None = None) -> JoinReport:
    """Open both models, join them, and write the joined file.

    Args:
        job: what to do.
        on_text: called with captions done and in all.

    Returns:
        The report.

    Raises:
        UsageError: the output has no folder or another suffix (`bad_output`), or captions or pairs
            cannot be used.
        ModelError: a model cannot be opened, or has no text (`pair_not_served`).
    """
    if job.out.suffix != SUFFIX or not job.out.parent.is_dir():
        raise UsageError(
            f"cannot write the joined model to {job.out}; name a file ending in {SUFFIX} in a "
            "folder that exists",
            code="bad_output",
        )
    image = open_encoder(job.image, threads=job.threads)
    audio = open_encoder(job.audio, threads=job.threads)
    try:
        return join_models(job, image=image, audio=audio, on_text=on_text)
    finally:
        image.close()
        audio.close()


def join_models(
    job: JoinJob, *, image: Encoder, audio: Encoder, on_text: OnText | None = None
) -> JoinReport:
    """Do what `run_join` does, with models that are open."""
    started_s = time.monotonic()
    captions = _captions(job)
    pairs = _encode_pairs(job, image=image, audio=audio)
    sources, targets = _encode_captions(captions, image=image, audio=audio, on_text=on_text)
    shift = sources.mean(axis=0) - _mean_sound(job, audio=audio, pairs=pairs)
    fit, validation, test = _split(len(captions), seed=job.options.seed)
    options = replace(job.options, noise=_noise(pairs, shift, default=job.options.noise))
    known = np.concatenate([fit, validation])
    bridge = fit_bridge(
        sources[known], targets=targets[known], validation=np.arange(len(fit), len(known)),
        options=options,
    )  # fmt: skip
    joined = JoinedFile(
        image=image.name,
        image_fingerprint=joint_space(image, other="image").fingerprint,
        audio=audio.name,
        audio_fingerprint=joint_space(audio, other="audio").fingerprint,
        dim_hidden=bridge.dim_hidden,
        tensors={**bridge.tensors, "shift": shift.astype(np.float32)},
    )
    text_text = _judge_texts(joined, sources[test], targets[test])
    before = judge_pairs(pairs, joined=None) if pairs else {}
    bridged = judge_pairs(pairs, joined=joined) if pairs else {}
    enough = pairs is not None and len(pairs.split.train) >= PAIRS_MIN
    if pairs is not None and enough:
        joined = train_on_pairs(joined, pairs=pairs, seed=job.options.seed)
    after = judge_pairs(pairs, joined=joined) if pairs and enough else {}
    metrics = {f"text_text_{name}": value for name, value in text_text.items()}
    save_joined_file(job.out, joined=replace(joined, metrics=metrics | (after or bridged)))
    return JoinReport(
        path=str(job.out),
        n_captions=len(captions),
        n_held_out=len(test),
        text_text=text_text,
        ridge_lambda=bridge.ridge_lambda,
        dim_hidden=bridge.dim_hidden,
        n_pairs=0 if pairs is None else len(pairs.sounds),
        trained_on_pairs=bool(enough),
        before=before,
        bridged=bridged,
        after=after,
        seconds=time.monotonic() - started_s,
    )


def joint_media(image: Encoder, *, audio: Encoder) -> MediaSpec:
    """Ask for pictures as the one model wants them, and sounds as the other."""
    return replace(
        image.media,
        sample_rate_hz=audio.media.sample_rate_hz,
        window_s=audio.media.window_s,
        hop_s=audio.media.hop_s,
    )


def _captions(job: JoinJob) -> list[str]:
    if job.captions is None:
        return make_captions(job.n_captions, seed=job.options.seed)
    found = read_captions(job.captions)
    order = np.random.default_rng(job.options.seed).permutation(len(found))
    return [found[position] for position in order[: job.n_captions]]


def _encode_captions(
    captions: Sequence[str], *, image: Encoder, audio: Encoder, on_text: OnText | None
) -> tuple[Vectors, Vectors]:
    """Encode captions by both models; those that one of them cannot place are left out."""
    made: list[tuple[Vectors, Vectors]] = []
    spaces = joint_space(audio, other="audio"), joint_space(image, other="image")
    for start in range(0, len(captions), _CHUNK):
        chunk = captions[start : start + _CHUNK]
        sources = audio.encode(chunk, modality="text", space=spaces[0])
        targets = image.encode(chunk, modality="text", space=spaces[1])
        made.append((sources, targets))
        if on_text is not None:
            on_text(start + len(chunk), len(captions))
    sources = np.concatenate([pair[0] for pair in made])
    targets = np.concatenate([pair[1] for pair in made])
    # Zero rows stay: they keep their place, and pull nothing in a regression.
    return sources, targets


def _encode_pairs(job: JoinJob, *, image: Encoder, audio: Encoder) -> PairedRows | None:
    if job.pairs is None:
        return None
    pairs = read_pairs(job.pairs, spool=job.cache / "spool")
    with Loader(spec=joint_media(image, audio=audio), n_workers=job.n_workers) as loader:
        sides: tuple[tuple[Encoder, Modality], ...] = ((audio, "audio"), (image, "image"))
        of_audio, of_image = (
            encode_pairs(pairs, encoder=encoder, space=joint_space(encoder, other=other),
                         loader=loader, cache=job.cache)
            for encoder, other in sides
        )  # fmt: skip
    return paired_rows(of_audio, of_image=of_image, seed=job.options.seed)


def _mean_sound(job: JoinJob, *, audio: Encoder, pairs: PairedRows | None) -> Vectors:
    """Average sounds: those of the pairs that may be trained on, or the ones given."""
    if pairs is not None:
        return np.asarray(pairs.sounds[pairs.split.train].mean(axis=0), dtype=np.float32)
    with Loader(spec=audio.media, n_workers=1) as loader:
        loaded = [loader.load(find_file(path)) for path in job.sounds]
    payloads = [p.payload for one in loaded for p in one.parts if p.modality == "audio"]
    if not payloads:
        raise UsageError(
            "no sounds to tell where the audio model puts sounds; give some with --sounds or "
            "--pairs",
            code="no_sounds",
        )
    vectors = audio.encode(payloads, modality="audio", space=joint_space(audio, other="audio"))
    return np.asarray(vectors[vectors.any(axis=1)].mean(axis=0), dtype=np.float32)


def _noise(pairs: PairedRows | None, shift: Vectors, *, default: float) -> float:
    """Measure how far shifted sounds lie from their own texts, on pairs that may be trained on."""
    if pairs is None:
        return default
    rows = pairs.split.train[pairs.has_text[pairs.split.train]]
    if len(rows) < 8:
        return default
    moved = unit(pairs.sounds[rows] + shift.astype(np.float32))
    return float(np.linalg.norm(moved - pairs.captions[rows], axis=1).mean())


def _split(n_rows: int, *, seed: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Shuffle rows into 80 % to fit, 10 % to choose by and 10 % to report."""
    order = np.random.default_rng(seed).permutation(n_rows)
    a, b = round(n_rows * 0.8), round(n_rows * 0.9)
    return order[:a], order[a:b], order[b:]


def _judge_texts(joined: JoinedFile, sources: Vectors, targets: Vectors) -> dict[str, float]:
    placed = unit(joined.bridge(sources, sounds=False))
    n = len(targets)
    return {
        "r1": recall_at(placed, items=targets, k=1),
        "r10": recall_at(placed, items=targets, k=10),
        "r1_chance": 1 / n,
        "r10_chance": min(1.0, 10 / n),
        "cosine": float((placed * targets).sum(axis=1).mean()),
    }
