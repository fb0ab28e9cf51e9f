"""How the starter's audio tower mixes what its networks heard, against the formula written out."""

import numpy as np
import pytest

from retrieval.encoders.starter_audio import AudioMix

F, C, D, H = 6, 30, 5, 4
SETTINGS = {"sharpness": 0.9, "share": 0.55, "event_share": 0.9}


def _tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "mean": (F,),
        "spread": (F,),
        "w1": (H, F),
        "b1": (H,),
        "w2": (D, H),
        "b2": (D,),
        "classes": (C, H),
        "bias": (C,),
        "names": (C, D),
        "shift": (C,),
        "middle": (D,),
    }
    tensors = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    tensors["spread"] = np.abs(tensors["spread"]) + 1
    tensors["middle"] *= 0.1
    return tensors


def _slow(t: dict[str, np.ndarray], feature: np.ndarray, events: np.ndarray) -> np.ndarray:
    x = t["w1"] @ ((np.sqrt(feature) - t["mean"]) / t["spread"]) + t["b1"]
    hidden = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    own = np.log(1 / (1 + np.exp(-(t["classes"] @ hidden + t["bias"]))))
    evidence = 0.9 * (0.9 * events + 0.1 * own - t["shift"])
    p = np.exp(evidence)
    p[np.argsort(-p)[20:]] = 0
    named = (p[:, None] * t["names"]).sum(axis=0)
    learnt = t["w2"] @ hidden + t["b2"]
    mixed = 0.45 * learnt / np.linalg.norm(learnt) + 0.55 * named / np.linalg.norm(named)
    return mixed / np.linalg.norm(mixed) - t["middle"]


def test_a_sound_is_mixed_of_its_head_and_its_likeliest_names_less_the_common_part():
    rng = np.random.default_rng(1)
    features = rng.random((7, F)).astype(np.float32)
    events = np.log(rng.random((7, C))).astype(np.float32)
    tensors = _tensors()
    found = AudioMix(tensors, settings=SETTINGS)(features, events=events)
    wanted = [_slow(tensors, f, e) for f, e in zip(features, events, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_class_that_is_shifted_down_names_no_sound():
    tensors = _tensors()
    events = np.full((1, C), -4.0, np.float32)
    events[0, 3] = -0.1
    feature = np.ones((1, F), np.float32)
    plain = AudioMix(tensors, settings=SETTINGS).class_evidence(feature, events=events)
    tensors["shift"] = tensors["shift"] + 20.0 * (np.arange(C) == 3)
    lowered = AudioMix(tensors, settings=SETTINGS).class_evidence(feature, events=events)
    assert plain[0, 3] - lowered[0, 3] == pytest.approx(0.9 * 20.0, rel=1e-4)
    assert np.array_equal(np.delete(plain, 3), np.delete(lowered, 3))
