"""The head: probabilities, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from recognizer.gallery import Head


def test_probabilities_are_the_softmax_of_the_linear_layer():
    head = Head("c", ("a", None), np.array([[2.0, 0], [0, 1]]), np.array([0.0, 0.5]))
    given = head.probabilities(np.array([[1, 0], [0, 1]], np.float32))
    expected = np.exp([[2, 0.5], [0, 1.5]])
    assert np.allclose(given, expected / expected.sum(axis=1, keepdims=True))
    assert head.probabilities(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_huge_logits_do_not_overflow():
    head = Head("c", ("a", "b"), np.array([[1e4, 0], [0, 1e4]]), np.zeros(2))
    assert np.allclose(head.probabilities(np.eye(2, dtype=np.float32)), np.eye(2))


@pytest.mark.parametrize(
    ("names", "weight", "bias", "message"),
    [
        (("a", "b"), np.zeros((3, 4)), np.zeros(3), "2 classes do not go with"),
        (("a", "b"), np.zeros((2, 4)), np.zeros(3), "do not go with"),
        (("a", "b"), np.zeros(2), np.zeros(2), "do not go with"),
        (("a", "a"), np.zeros((2, 4)), np.zeros(2), "a class is there twice"),
        ((None, None), np.zeros((2, 4)), np.zeros(2), "a class is there twice"),
    ],
)
def test_refusals(names, weight, bias, message):
    with pytest.raises(ValueError, match=message):
        Head("c", names, weight, bias)
