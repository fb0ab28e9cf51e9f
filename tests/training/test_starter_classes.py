"""Where the starter puts the classes of its image trunk, beside a loop worked by hand."""

import numpy as np

from retrieval.training.starter.classes import Classes

WORDS = (("jersey", "T-shirt", "tee"), ("apple",), ("nothing above",))
VECTORS = {
    "jersey": (0.0, 1.0, 0.0),
    "T-shirt": (1.0, 0.0, 0.0),
    "tee": (0.8, 0.6, 0.0),
    "apple": (0.0, 0.0, 1.0),
    "nothing above": (0.0, 0.6, 0.8),
    "shirt": (0.96, 0.28, 0.0),
    "fruit": (0.0, 0.96, 0.28),
}
ABOVE = {1: ["shirt"], 2: ["fruit", "fruit"], 3: []}


class FakeTable:
    def encode(self, texts):
        return np.array([VECTORS[t] for t in texts], np.float32)


class FakeNouns:
    def above(self, offset):
        return ABOVE[offset]


def classes():
    return Classes(WORDS, (1, 2, 3), FakeNouns())


def scaled(vector):
    return vector / np.linalg.norm(vector)


def test_the_usual_name_counts_double_and_a_near_kind_counts_for_nothing():
    v = {k: np.array(x) for k, x in VECTORS.items()}
    # tee has the largest sum of cosines: .6 + .8 + 1, T-shirt 0 + 1 + .8, jersey 1 + 0 + .6
    shirt = scaled(v["jersey"] + v["T-shirt"] + 2 * v["tee"])
    assert shirt @ v["shirt"] > 0.9, "nearer than 0.7"
    weight = 0.8 * (1 - 0.28 / 0.7)  # cosine of apple and fruit
    both = [shirt, scaled(v["apple"] + weight * v["fruit"]), scaled(v["nothing above"])]
    mean = np.mean(both, axis=0)
    expected = [scaled(b - 0.9 * mean) for b in both]
    np.testing.assert_allclose(classes().label_space(FakeTable()), expected, atol=1e-6)


def test_a_kind_that_is_not_near_counts_for_the_more_the_farther_it_is():
    found = classes().label_space(FakeTable(), near=1.0, kind=2.0, centre=0.0)
    fruit, name = np.array(VECTORS["fruit"]), np.array(VECTORS["apple"])
    np.testing.assert_allclose(found[1], scaled(name + 2 * (1 - 0.28) * fruit), atol=1e-6)


def test_in_training_the_first_name_counts_double():
    found = classes().names(FakeTable())
    first = 2 * np.array(VECTORS["jersey"]) + VECTORS["T-shirt"] + VECTORS["tee"]
    np.testing.assert_allclose(found[0], scaled(first), atol=1e-6)
