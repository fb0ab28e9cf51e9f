"""The starter's image tower against the slow obvious form of what it computes."""

import numpy as np
import pytest

from retrieval.encoders.starter_colour import COLOURS, colour_shares
from retrieval.encoders.starter_image import ImageTower

F, M, D, CLASSES, HIDDEN = 3, 3, 5, 4, 6
SETTINGS = {
    "side_px": 40, "power": 0.5, "tint": 0.3, "temperature": 0.9, "share_low": 0.05,
    "share_high": 0.4, "photo_share": 0.6, "photo_from": 2.0, "photo_width": 0.25,
}  # fmt: skip


class Files:
    """A network of channel means and maxima, and tensors of chance."""

    def __init__(self):
        self.manifest = {"image": SETTINGS}

    def read(self, _name):
        from onnx import TensorProto, helper

        nodes = [
            helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x"], ["feature"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMax", ["x"], ["middle"], axes=[1, 2], keepdims=0),
        ]
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 40, 40, 3])
        outs = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3])
            for n in ("feature", "middle")
        ]
        graph = helper.make_graph(nodes, "trunk", [image], outs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model.SerializeToString()

    def tensors(self, _name):
        rng = np.random.default_rng(3)
        n = F + len(COLOURS) + M
        names = rng.normal(size=(CLASSES, D))
        made = {
            "classes": rng.normal(size=(CLASSES, F)) / 50, "bias": rng.normal(size=CLASSES),
            "names": names / np.linalg.norm(names, axis=1, keepdims=True),
            "colours": rng.normal(size=(len(COLOURS), D)), "mean": rng.normal(size=n) + 10,
            "spread": rng.random(n) + 4, "w1": rng.normal(size=(HIDDEN, n)),
            "b1": rng.normal(size=HIDDEN), "w2": rng.normal(size=(D, HIDDEN)),
            "b2": rng.normal(size=D),
        }  # fmt: skip
        return {name: value.astype(np.float32) for name, value in made.items()}


def length_one(v):
    return v / np.linalg.norm(v)


def slow(feature, colours, middle):
    t = Files().tensors("")
    logits = [(t["classes"][c] @ feature + t["bias"][c]) / 0.9 for c in range(CLASSES)]
    p = np.exp(logits) / np.exp(logits).sum()
    named = length_one(sum(p[c] * t["names"][c] for c in range(CLASSES)))
    named = length_one(named + 0.3 * colours @ t["colours"])
    x = (np.concatenate([feature**0.5, colours**0.5, middle]) - t["mean"]) / t["spread"]
    photo = 1 / (1 + np.exp((2.0 - (x[:F] ** 2).mean()) / 0.25))
    share = 0.05 + 0.35 * p.max()
    share += max(0.6 - share, 0) * photo
    x[-M:] *= 1 - photo
    h = t["w1"] @ x + t["b1"]
    h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    return (1 - share) * length_one(t["w2"] @ h + t["b2"]) + share * named, photo


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(1)
    flat = [np.full((40, 40, 3), c, np.uint8) for c in ((220, 20, 20), (90, 120, 160))]
    return [*flat, rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)]


def test_features_are_the_trunks_the_colours_and_the_earlier_stages(pictures):
    seen = ImageTower(Files(), threads=1).features(pictures)
    assert seen.shape == (3, F + len(COLOURS) + M)
    np.testing.assert_allclose(seen[0], [220, 20, 20, *colour_shares(pictures)[0], 220, 20, 20])


def test_vectors_are_those_of_the_slow_form_for_drawings_and_for_photos(pictures):
    tower = ImageTower(Files(), threads=1)
    seen = tower.features(pictures)
    seen = np.concatenate([seen, seen * np.float32(4)])
    wanted = [slow(s[:F], s[F:-M], s[-M:]) for s in seen.astype(np.float64)]
    photo_like = [w[1] for w in wanted]
    assert min(photo_like) < 0.3
    assert max(photo_like) > 0.7
    np.testing.assert_allclose(tower.project(seen), [w[0] for w in wanted], rtol=2e-5, atol=2e-6)
