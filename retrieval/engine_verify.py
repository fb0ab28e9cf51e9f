"""Verifying a store as a whole: its bytes, then a sample of its vectors against their sources."""

from __future__ import annotations

from dataclasses import replace

from retrieval.catalog.store import Catalog
from retrieval.engine_serving import Serving
from retrieval.errors import ModelError
from retrieval.store import Store
from retrieval.verify import VerifyReport, verify
from retrieval.verify_record import remember
from retrieval.verify_sample import check_sample, mend


def run_verification(
    *, catalog: Catalog, store: Store, serving: Serving, repair: bool, n_sample: int
) -> VerifyReport:
    """Check everything, and remember the result; see `retrieval.verify.verify`.

    Args:
        catalog, store, serving: of the store; with `repair`, the writer lock is held.
        repair: see there.
        n_sample: parts of each modality that are encoded again; 0 for none.
    """
    with catalog.reading() as reader:
        generation = reader.generation()
    report = verify(catalog=catalog, store=store, repair=repair)
    if n_sample and generation:
        report = _with_sample(report, catalog, serving, repair=repair, n_sample=n_sample)
    remember(report, store=store, generation=generation)
    return report


def _with_sample(
    report: VerifyReport, catalog: Catalog, serving: Serving, *, repair: bool, n_sample: int
) -> VerifyReport:
    with serving.reading() as (_, generation):  # first: another process may have changed the model
        try:
            encoder = serving.encoder
        except ModelError as error:  # the bytes are checked all the same
            return replace(report, unencoded=str(error))
        sample = check_sample(
            catalog=catalog,
            encoder=encoder,
            new_loader=lambda: serving.new_loader(1, spec=encoder.media),
            lookup=lambda space, ids: generation.spaces[space.id].lookup(ids),
            n_parts=n_sample,
        )
    if repair:
        sample = mend(sample, catalog=catalog)
    return replace(
        report,
        findings=(*report.findings, *sample.findings),
        n_encoded=sample.n_encoded,
        n_unknown=sample.n_unknown,
    )
