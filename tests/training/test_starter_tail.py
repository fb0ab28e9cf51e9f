"""Tuning the last blocks of the starter's image trunk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_worlds import write_lite2

from retrieval.training.starter import efficientnet, tail
from retrieval.training.starter.image import HeadPlan, Pairs, Prototypes, TrainedHead
from retrieval.training.starter.looks import Looks, moved
from retrieval.training.starter.tail import Seen, TailPlan

N, N_CLASSES = 8, 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("lite2") / "lite2.safetensors"
    write_lite2(path, n_classes=N_CLASSES)
    return load_file(path)


def test_folding_batch_norms_changes_no_output(weights):
    generator = torch.Generator().manual_seed(1)
    named = {k: v for k, v in weights.items() if k.startswith("_blocks.17.")}
    for key in [k for k in named if "_bn" in k]:
        named[key] = torch.rand(named[key].shape, generator=generator) + 0.5
    x = torch.randn(2, 208, 4, 4, generator=generator)
    block = efficientnet.blocks(2)[17]
    made = efficientnet.through(x, block, folded=efficientnet.fold(named))

    def plain(x, part, norm, *, groups=1):
        kernel = named[f"{block.name}.{part}.weight"]
        x = torch.nn.functional.conv2d(x, kernel, padding=kernel.shape[2] // 2, groups=groups)
        of = [named[f"{block.name}.{norm}.{k}"] for k in ("running_mean", "running_var")]
        to = [named[f"{block.name}.{norm}.{k}"] for k in ("weight", "bias")]
        return torch.nn.functional.batch_norm(x, *of, *to, eps=1e-3)

    y = plain(x, "_expand_conv", "_bn0").clamp(0, 6)
    y = plain(y, "_depthwise_conv", "_bn1", groups=1248).clamp(0, 6)
    torch.testing.assert_close(made, x + plain(y, "_project_conv", "_bn2"), rtol=1e-3, atol=1e-4)


def test_the_fast_filter_has_the_gradients_of_torch():
    generator = torch.Generator().manual_seed(0)
    x, bias = (torch.randn(s, generator=generator) for s in ((2, 6, 5, 5), (6,)))
    kernel = torch.randn(6, 1, 3, 3, generator=generator)
    found = []
    for run in (
        tail._filtered,
        lambda x, kernel, bias: torch.nn.functional.conv2d(x, kernel, bias, padding=1, groups=6),
    ):
        leaves = [t.clone().requires_grad_() for t in (x, bias)]
        made = run(leaves[0], kernel, leaves[1])
        (made**2).sum().backward()
        found.append([made.detach(), *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def world():
    """Drawings of two looks, each with its word."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 1, 1, 208)).repeat(8, 1).repeat(8, 2)  # the same when mirrored
    late = (kinds[np.arange(N) % 2] + 0.3 * rng.normal(size=(N, 8, 8, 208))).astype(np.float16)
    looks = Looks(late, np.zeros((N, 512), np.float16))
    texts = np.eye(384, dtype=np.float32)[np.arange(N) % 2]
    pairs = Pairs(
        features=rng.random((N, 1280)).astype(np.float32),
        colours=np.full((N, 12), 1 / 12, np.float32),
        middle=np.zeros((N, 512), np.float32),
        texts=np.repeat(texts[:, None], 8, axis=1),
        tinted=texts,
        mistinted=texts,
        coloured=np.zeros(N, np.bool_),
        groups=np.arange(N) % 2,
        chances=np.full(N, 1 / N),
        places=np.arange(N),
    )
    unit = np.eye(384, dtype=np.float32)[2 : 2 + N_CLASSES]
    inputs = rng.normal(size=(N_CLASSES, 1280)).astype(np.float32)
    head = {
        "w1": rng.normal(size=(16, 1804)) / 40,
        "b1": np.zeros(16),
        "w2": rng.normal(size=(384, 16)) / 4,
        "b2": np.zeros(384),
        "mean": np.zeros(1804),
        "spread": np.ones(1804),
    }
    tensors = TrainedHead({k: v.astype(np.float32) for k, v in head.items()})
    return pairs, looks, Prototypes(inputs, unit, unit, N_CLASSES), tensors


def test_tuning_brings_drawings_nearer_to_their_words_and_moves_only_the_last_blocks(
    weights, monkeypatch
):
    monkeypatch.setattr(tail, "_TELL_EVERY", 3)
    told = []
    pairs, looks, classes, head = world()
    folded = efficientnet.fold(weights)
    classifier = (weights["_fc.weight"].numpy(), weights["_fc.bias"].numpy())
    plan = TailPlan(
        n_steps=6, n_drawings=N, n_photos=2, average=0.0, share=1.0,
        keep_drawings=0.0, keep_photos=0.1,
        head=HeadPlan(rate=1e-2, dropout=0.0, n_prototypes=2, colour_chance=0.0),
    )  # fmt: skip

    def rightly(folded, head, plan):
        network = tail._Network(folded, head, 2, replace(plan, head=HeadPlan(dropout=0.0)))
        with torch.no_grad():
            features = network.features(looks.late)
            vectors = network.vectors(network.standardised(features, pairs.colours, looks.middle))
        scores = vectors.numpy() @ pairs.texts[:2, 0].T
        return scores[np.arange(N), np.arange(N) % 2] - scores[np.arange(N), 1 - np.arange(N) % 2]

    made, better = tail.tune(
        pairs, seen=Seen(looks, looks, looks), classes=classes, head=head, folded=folded,
        classifier=classifier, variant=2, plan=plan, tell=told.append,
    )  # fmt: skip
    assert [line.split(":")[0] for line in told] == ["step 3 of 6", "step 6 of 6"]
    first, last = (float(line.rsplit(" ", 1)[1]) for line in told)
    assert last < first
    assert rightly(made, better, plan).min() > max(0.0, rightly(folded, head, plan).min() + 0.05)
    changed = {k.split("._")[0] for k in folded if not torch.equal(made[k], folded[k])}
    assert changed == {
        *(f"_blocks.{n}" for n in range(16, 21)),
        "_conv_head.weight",
        "_conv_head.bias",
    }
    assert all(
        torch.equal(made[k], folded[k]) for k in folded if k.endswith("_depthwise_conv.weight")
    )


def test_a_moved_drawing_keeps_its_ground_and_its_thing():
    drawing = np.full((240, 240, 3), 255, np.uint8)
    drawing[90:150, 100:140] = (200, 0, 0)
    rng = np.random.default_rng(3)
    for changed in (moved(drawing, rng=rng) for _ in range(20)):
        assert changed.shape == drawing.shape
        assert changed[0, 0].min() > 230, "white came in, if a little darker"
        red = (changed[..., 0].astype(int) - changed[..., 1]) > 100
        assert 0.4 < red.sum() / 2400 < 3.0
