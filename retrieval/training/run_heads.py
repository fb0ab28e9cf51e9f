"""Behind `crossfind train heads`: pairs -> vectors -> heads -> verdict -> model file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import SUFFIX, HeadSpec, ModelFile, save_model_file
from retrieval.encoders.registry import open_encoder
from retrieval.errors import UsageError
from retrieval.media import Loader
from retrieval.training.adopt import judge_adoption, mean_recall
from retrieval.training.distributed import World, joined_world
from retrieval.training.features import Features, LoadsMany, encode_pairs
from retrieval.training.heads import HeadsModel
from retrieval.training.heads_job import HeadsJob, HeadsReport, Watchers, by_direction, figures
from retrieval.training.heads_plan import (
    PairTypes,
    choose_space,
    head_specs,
    n_rows_of,
    pair_types,
    training_objective,
)
from retrieval.training.heads_share import choose_shares, recalls_of
from retrieval.training.mining import hard_negatives
from retrieval.training.pairs import Pair, read_pairs
from retrieval.training.split import Split, split_rows
from retrieval.training.trainer import Trainer, TrainReport
from retrieval.types import Modality

__all__ = ["run_heads", "train_heads"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def run_heads(job: HeadsJob, *, watchers: Watchers | None = None) -> HeadsReport:
    """Train heads on a base model and keep them if they are better than the base alone.

    Args:
        job: what to do.
        watchers: who is told how it goes, and who may stop it.

    Returns:
        The report; its `path` is None where the result was not adopted and nothing was written.

    Raises:
        UsageError: the output has another suffix or no folder (`bad_output`), or the pairs cannot
            be used (see `read_pairs`, `split_rows`).
        ModelError: the base cannot be opened, or training diverged.
        StoppedError: the run was stopped; its checkpoint, if it has one, resumes it.
    """
    if job.out.suffix != SUFFIX or not job.out.parent.is_dir():
        raise UsageError(
            f"cannot write the model to {job.out}; name a file ending in {SUFFIX} in a folder that "
            "exists",
            code="bad_output",
        )
    pairs = read_pairs(job.source, spool=job.cache / "spool")
    encoder = open_encoder(job.base, threads=job.threads)
    torch.set_num_threads(job.threads)
    try:
        with Loader(spec=encoder.media, n_workers=job.n_workers) as loader, joined_world() as world:
            return train_heads(
                pairs, encoder=encoder, loader=loader, job=job, watchers=watchers, world=world
            )
    finally:
        encoder.close()


def train_heads(
    pairs: Sequence[Pair],
    *,
    encoder: Encoder,
    loader: LoadsMany,
    job: HeadsJob,
    watchers: Watchers | None = None,
    world: World | None = None,
) -> HeadsReport:
    """Do what `run_heads` does, with pairs, a base model and a loader that are at hand.

    Args:
        pairs: the rows.
        encoder: the base model.
        loader: decodes files in the form the base wants.
        job, watchers: see `run_heads`; the job's source and base are not opened.
        world: this process's place where several train together; rank 0 writes the model.

    Returns:
        The report.

    Raises:
        UsageError, ModelError, StoppedError: see `run_heads`.
    """
    start_s, watchers, world = time.monotonic(), watchers or Watchers(), world or World()
    space = choose_space(pairs, encoder=encoder)
    with world.first_alone():
        features = encode_pairs(
            pairs, encoder=encoder, space=space, loader=loader, cache=job.cache,
            with_trunk=job.options.on == "trunk", on_progress=watchers.on_encode,
        )  # fmt: skip
    split = _split(pairs, features=features, seed=job.recipe.seed)
    types = pair_types(features, rows=split.train)
    heads = head_specs(types, features=features, options=job.options)
    tensors, shares, training = _fit(
        features, split=split, types=types, heads=heads, job=job, watchers=watchers, world=world
    )
    judged = partial(recalls_of, features, rows=split.test, types=types, tensors=tensors)
    before, after = judged(heads={}), judged(heads=heads)
    adoption = judge_adoption(before, after=after, force=job.force, seed=job.recipe.seed)
    if adoption.adopted and world.rank == 0:
        told = figures(adoption, after=after)
        file = ModelFile(encoder.name, space.fingerprint, heads, tensors, told)
        save_model_file(job.out, model=file)
    return HeadsReport(
        base=encoder.name,
        path=str(job.out.absolute()) if adoption.adopted else None,
        n_pairs={"-".join(pair): n_rows_of(pair, features=features) for pair in types},
        n_rows=split.n_rows(),
        failures=features.failures,
        n_encoded=features.n_encoded,
        training=training,
        adoption=adoption,
        recalls={"before": by_direction(before), "after": by_direction(after)},
        seconds=round(time.monotonic() - start_s, 3),
        shares=shares,
    )


def _fit(
    features: Features,
    *,
    split: Split,
    types: PairTypes,
    heads: Mapping[Modality, HeadSpec],
    job: HeadsJob,
    watchers: Watchers,
    world: World,
) -> tuple[dict[str, Vectors], dict[Modality, float], TrainReport]:
    """Train the heads on the training rows; validation rows choose weights and shares."""
    options, recipe = job.options, job.recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    initial, bias = (10.0, -10.0) if options.loss == "siglip" else (1 / 0.07, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = HeadsModel(
            {str(m): spec for m, spec in heads.items()},
            pairs=[(str(a), str(b)) for a, b in types],
            initial=initial,
            bias=bias,
            dropout=options.dropout,
        ).to(device)
    objective = training_objective(features, rows=split.train, types=types, options=options).to(
        device
    )

    def validate(candidate: HeadsModel) -> float:
        tensors = candidate.head_tensors()
        recalls = recalls_of(
            features, rows=split.validation, types=types, heads=heads, tensors=tensors
        )
        return mean_recall(recalls)

    def mine(candidate: HeadsModel) -> torch.Tensor:
        return hard_negatives(candidate, objective=objective, n_hard=options.n_hard)

    trainer = Trainer(
        model,
        objective=objective,
        recipe=recipe,
        validate=validate,
        mine=mine if options.n_hard else None,
        world=world,
        device=device,
        data_fingerprint=f"{features.fingerprint} {options}",
    )
    report = trainer.train(
        checkpoint=job.checkpoint, log=job.log, on_step=watchers.on_step, stop=watchers.stop
    )
    tensors, shares = choose_shares(
        features, rows=split.validation, types=types, heads=heads, tensors=model.head_tensors()
    )
    return tensors, shares, report


def _split(pairs: Sequence[Pair], *, features: Features, seed: int) -> Split:
    """Keep rows of one picture, of one sound and of one named group on the same side."""
    bound = [features.groups["image"], features.groups["audio"], _numbers(pairs)]
    return split_rows(bound, seed=seed)


def _numbers(pairs: Sequence[Pair]) -> Ids:
    """Number the groups that the user named; rows without one get -1."""
    numbers: dict[str, int] = {}
    return np.array(
        [-1 if p.group is None else numbers.setdefault(p.group, len(numbers)) for p in pairs],
        dtype=np.int64,
    )
