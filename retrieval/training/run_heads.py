"""Behind `crossfind train heads`: pairs -> vectors -> heads -> verdict -> model file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import SUFFIX, HeadSpec, ModelFile, save_model_file
from retrieval.encoders.registry import open_encoder
from retrieval.errors import UsageError
from retrieval.media import Loader
from retrieval.training.adopt import Recalls, judge_adoption, mean_recall
from retrieval.training.distributed import World, joined_world
from retrieval.training.features import Features, LoadsMany, encode_pairs
from retrieval.training.heads import HeadsModel
from retrieval.training.heads_job import (
    HeadOptions,
    HeadsJob,
    HeadsReport,
    Watchers,
    by_direction,
    figures,
)
from retrieval.training.heads_plan import (
    PairTypes,
    check_options,
    choose_space,
    head_specs,
    n_rows_of,
    pair_types,
    training_objective,
)
from retrieval.training.heads_share import choose_shares, recalls_of
from retrieval.training.lessons import Lessons, Teacher, prepare_lessons
from retrieval.training.mining import hard_negatives
from retrieval.training.pairs import Pair, read_pairs
from retrieval.training.recipe import Recipe
from retrieval.training.split import Split, split_rows
from retrieval.training.trainer import Trainer, TrainReport
from retrieval.types import Modality, Space

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
    torch.set_num_threads(job.threads)
    with ExitStack() as held:

        def opened(name: str) -> tuple[Encoder, Loader]:
            encoder = open_encoder(name, threads=job.threads)
            held.callback(encoder.close)
            loader = Loader(spec=encoder.media, n_workers=job.n_workers)
            return encoder, held.enter_context(loader)

        base, loader = opened(job.base)
        teacher = Teacher(*opened(job.options.teacher)) if job.options.teacher else None
        world = held.enter_context(joined_world())
        return train_heads(
            pairs,
            encoder=base,
            loader=loader,
            job=job,
            watchers=watchers,
            world=world,
            teacher=teacher,
        )


def train_heads(
    pairs: Sequence[Pair],
    *,
    encoder: Encoder,
    loader: LoadsMany,
    job: HeadsJob,
    watchers: Watchers | None = None,
    world: World | None = None,
    teacher: Teacher | None = None,
) -> HeadsReport:
    """Do what `run_heads` does, with pairs, a base model and a loader that are at hand.

    Args:
        pairs: the rows.
        encoder: the base model.
        loader: decodes files in the form the base wants.
        job, watchers: see `run_heads`; the job's source and base are not opened.
        world: this process's place where several train together; rank 0 writes the model.
        teacher: the model that the job's options name, if they do.

    Returns:
        The report.

    Raises:
        UsageError, ModelError, StoppedError: see `run_heads`.
    """
    start_s, watchers, world = time.monotonic(), watchers or Watchers(), world or World()

    with world.first_alone():
        ground = _prepare(pairs, encoder=encoder, loader=loader, job=job, watchers=watchers)
        lessons_of = _asked(pairs, ground=ground, encoder=encoder, job=job, teacher=teacher)
        lessons = lessons_of(ground.split.train)
    run = _Run(ground, job, watchers, world)
    tensors, shares, training = _fit(run, lessons=lessons)
    judged = partial(ground.recalls, rows=ground.split.test, tensors=tensors)
    before, after = judged(heads={}), judged()
    adoption = judge_adoption(before, after=after, force=job.force, seed=job.recipe.seed)
    prefixes = ground.by_prefix(job.options.dims, tensors=tensors)
    if refitted := adoption.adopted and job.refit:
        tensors = _refit(run, lessons_of, shares=shares, n_epochs=training.best_epoch + 1)
    if adoption.adopted and world.rank == 0:
        place, told = ground.space.fingerprint, figures(adoption, after=after)
        save_model_file(job.out, model=ModelFile(encoder.name, place, ground.heads, tensors, told))
    return HeadsReport(
        base=encoder.name,
        path=str(job.out.absolute()) if adoption.adopted else None,
        n_pairs={"-".join(p): n_rows_of(p, features=ground.features) for p in ground.types},
        n_rows=ground.split.n_rows(),
        failures=ground.features.failures,
        n_encoded=ground.features.n_encoded,
        training=training,
        adoption=adoption,
        recalls={"before": by_direction(before), "after": by_direction(after)},
        seconds=round(time.monotonic() - start_s, 3),
        shares=shares,
        lessons=lessons.told,
        prefixes=prefixes,
        refitted=refitted,
    )


@dataclass(frozen=True)
class _Ground:
    """What a training of heads stands on."""

    space: Space
    features: Features
    split: Split
    types: PairTypes
    heads: Mapping[Modality, HeadSpec]

    def recalls(
        self,
        *,
        rows: Ids,
        tensors: Mapping[str, Vectors],
        heads: Mapping[Modality, HeadSpec] | None = None,
        dim: int | None = None,
    ) -> Recalls:
        """Search some rows among themselves, by other heads than its own if given."""
        return recalls_of(
            self.features,
            rows=rows,
            types=self.types,
            heads=self.heads if heads is None else heads,
            tensors=tensors,
            dim=dim,
        )

    def by_prefix(
        self, dims: Sequence[int], *, tensors: Mapping[str, Vectors]
    ) -> dict[int, dict[str, float]]:
        """Judge test rows by vectors cut to each dim, of the base and of the heads."""
        judged = partial(self.recalls, rows=self.split.test, tensors=tensors)
        kinds = {"before": {}, "after": self.heads}
        return {
            dim: {told: mean_recall(judged(heads=heads, dim=dim)) for told, heads in kinds.items()}
            for dim in dims
        }


def _prepare(
    pairs: Sequence[Pair],
    *,
    encoder: Encoder,
    loader: LoadsMany,
    job: HeadsJob,
    watchers: Watchers,
) -> _Ground:
    """Encode the pairs, split them, and plan the heads."""
    space = choose_space(pairs, encoder=encoder)
    features = encode_pairs(
        pairs, encoder=encoder, space=space, loader=loader, cache=job.cache,
        with_trunk=job.options.on == "trunk", on_progress=watchers.on_encode,
    )  # fmt: skip
    split = _split(pairs, features=features, seed=job.recipe.seed)
    types = pair_types(features, rows=split.train)
    check_options(job.options, types=types, dim=space.dim)
    heads = head_specs(types, features=features, options=job.options)
    return _Ground(space, features, split, types, heads)


def _asked(
    pairs: Sequence[Pair],
    *,
    ground: _Ground,
    encoder: Encoder,
    job: HeadsJob,
    teacher: Teacher | None,
) -> Callable[[Ids], Lessons]:
    """Say what teaches some rows besides the pairs."""
    return lambda rows: prepare_lessons(
        pairs, student=encoder, space=ground.space, features=ground.features, rows=rows,
        sides=list(ground.heads), options=job.options, cache=job.cache, teacher=teacher,
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """What every training of one job shares."""

    ground: _Ground
    job: HeadsJob
    watchers: Watchers
    world: World

    def trainer(
        self,
        rows: Ids,
        *,
        recipe: Recipe,
        lessons: Lessons,
        validate: Callable[[HeadsModel], float] | None = None,
    ) -> Trainer[HeadsModel]:
        """Set up a training of new heads on some rows."""
        ground, options = self.ground, self.job.options
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        objective = training_objective(
            ground.features, rows=rows, types=ground.types, options=options,
            guides=lessons.guides, classes=lessons.classes,
        ).to(device)  # fmt: skip

        def mine(candidate: HeadsModel) -> torch.Tensor:
            return hard_negatives(candidate, objective=objective, n_hard=options.n_hard)

        return Trainer(
            _new_model(ground, options=options, seed=recipe.seed).to(device),
            objective=objective,
            recipe=recipe,
            validate=validate,
            mine=mine if options.n_hard else None,
            world=self.world,
            device=device,
            data_fingerprint=f"{ground.features.fingerprint[:12]} {objective.fingerprint[:12]}",
            options={f.name: str(getattr(options, f.name)) for f in fields(options)},
        )


def _fit(
    run: _Run, *, lessons: Lessons
) -> tuple[dict[str, Vectors], dict[Modality, float], TrainReport]:
    """Train the heads on the training rows; validation rows choose weights and shares."""
    ground, job = run.ground, run.job
    rows = ground.split.validation

    def validate(candidate: HeadsModel) -> float:
        return mean_recall(ground.recalls(rows=rows, tensors=candidate.head_tensors()))

    trainer = run.trainer(ground.split.train, recipe=job.recipe, lessons=lessons, validate=validate)
    report = trainer.train(
        checkpoint=job.checkpoint,
        log=job.log,
        on_step=run.watchers.on_step,
        stop=run.watchers.stop,
    )
    tensors, shares = choose_shares(
        ground.features, rows=rows, types=ground.types, heads=ground.heads,
        tensors=trainer.model.head_tensors(),
    )  # fmt: skip
    return tensors, shares, report


def _refit(
    run: _Run,
    lessons_of: Callable[[Ids], Lessons],
    *,
    shares: Mapping[Modality, float],
    n_epochs: int,
) -> dict[str, Vectors]:
    """Train once more, on all rows, for the epochs and with the shares that were best."""
    rows = run.ground.split.all_rows()
    with run.world.first_alone():
        lessons = lessons_of(rows)
    recipe = replace(run.job.recipe, n_epochs=n_epochs)
    trainer = run.trainer(rows, recipe=recipe, lessons=lessons)
    trainer.train(on_step=run.watchers.on_step, stop=run.watchers.stop)
    kept = {f"{side}.share": np.array([share], np.float32) for side, share in shares.items()}
    return trainer.model.head_tensors() | kept


def _new_model(ground: _Ground, *, options: HeadOptions, seed: int) -> HeadsModel:
    """Make the heads; the caller's random numbers stay as they were."""
    initial, bias = (10.0, -10.0) if options.loss == "siglip" else (1 / 0.07, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HeadsModel(
            {str(m): spec for m, spec in ground.heads.items()},
            pairs=[(str(a), str(b)) for a, b in ground.types],
            initial=initial,
            bias=bias,
            dropout=options.dropout,
        )


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
