"""Heads start at the base, ConSE and DeViSE do what their papers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.encoders.model_file import HeadSpec
from retrieval.encoders.trained import apply_head
from retrieval.errors import InputError
from retrieval.training.heads import Head, conse, devise_pairs, fuse


@pytest.mark.parametrize("kind", ["linear", "mlp", "residual"])
def test_a_head_in_numpy_gives_what_it_gives_in_torch(kind: str) -> None:
    torch.manual_seed(0)
    spec = HeadSpec(kind, dim_in=6, dim_out=6, dim_hidden=0 if kind == "linear" else 9)  # type: ignore[arg-type]
    head = Head(spec, dropout=0.5).eval()
    torch.nn.init.normal_(head.last.weight)
    vectors = torch.randn(7, 6)
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    assert {name: value.shape for name, value in weights.items()} == spec.shapes()
    out = apply_head(vectors.numpy(), head=spec, weights=weights)
    np.testing.assert_allclose(out, head(vectors).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_linear_and_residual_heads_start_as_the_identity() -> None:
    vectors = torch.randn(3, 5)
    for spec in (HeadSpec("linear", 5, 5), HeadSpec("residual", 5, 5, 8)):
        assert torch.equal(Head(spec)(vectors), vectors)


def test_a_residual_head_cannot_change_the_dim() -> None:
    with pytest.raises(InputError, match="cannot add its input"):
        Head(HeadSpec("residual", dim_in=4, dim_out=5, dim_hidden=3))


def test_conse_mixes_the_names_of_the_best_classes_by_probability() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.4], [0.0, 0.0, 1.0]])
    names = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    mixed = torch.tensor([0.5 * 0.6 + 0.4 * 0.0, 0.5 * 0.8 + 0.4 * 1.0])
    out = conse(probabilities, names=names, n_top=2)
    torch.testing.assert_close(out[0], mixed / mixed.norm())
    torch.testing.assert_close(out[1], names[2])
    assert conse(probabilities, names=names, n_top=99).shape == (2, 2)


def test_fusion_weighs_each_row_by_its_own_share() -> None:
    learnt, label_space = torch.eye(2), torch.eye(2).flip(0)
    out = fuse(learnt, label_space=label_space, share=torch.tensor([0.2, 1.0]))
    torch.testing.assert_close(out[0], torch.tensor([0.8, 0.2]) / 0.68**0.5)
    torch.testing.assert_close(out[1], label_space[1])


def test_prototypes_join_a_batch_with_the_share_asked_and_the_length_of_its_features() -> None:
    features, targets = 3 * torch.eye(4), torch.eye(4, 2)
    prototypes = torch.diag(torch.arange(1.0, 11.0))[:, :4]
    prototypes[4:, 0] = 1.0
    names = torch.arange(20.0).reshape(10, 2)
    both, wanted = devise_pairs(
        features,
        targets=targets,
        prototypes=prototypes,
        names=names,
        share=0.5,
        generator=torch.Generator().manual_seed(0),
    )
    assert both.shape == (8, 4)
    torch.testing.assert_close(both[4:].norm(dim=1), torch.full((4,), 3.0))
    for vector, name in zip(both[4:], wanted[4:], strict=True):
        source = int(name[0] / 2)
        torch.testing.assert_close(vector / 3, prototypes[source] / prototypes[source].norm())
    assert len({float(name[0]) for name in wanted[4:]}) == 4  # without replacement
