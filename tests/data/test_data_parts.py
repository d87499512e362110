"""Parts of a split: seeded, and every beginning of one holds the classes in their proportion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.data import Split
from patchline.data.parts import part, stratified

sizes_of_classes = st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any)


@st.composite
def labels_in_any_order(draw: st.DrawFn) -> NDArray[np.int64]:
    """Of classes of any size: one after the other, as folders are read, or mixed."""
    labels = np.repeat(np.arange(len(sizes := draw(sizes_of_classes))), sizes)
    return labels if draw(st.booleans()) else np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)


@given(labels_in_any_order(), st.integers(0, 400), st.integers(0, 2**31 - 1))
def test_a_part_is_drawn_without_repeats_and_depends_on_the_seed_alone(
    labels: NDArray[np.int64], count: int, seed: int
) -> None:
    chosen = stratified(labels, count, seed)
    assert len(chosen) == min(count, len(labels))
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(chosen.tolist()) <= set(range(len(labels)))
    np.testing.assert_array_equal(chosen, stratified(labels, count, seed))
    np.testing.assert_array_equal(chosen, stratified(labels, len(labels), seed)[:count])


@given(labels_in_any_order(), st.integers(0, 2**31 - 1))
def test_every_part_holds_the_classes_in_their_proportion(labels: NDArray[np.int64], seed: int) -> None:
    order = labels[stratified(labels, len(labels), seed)]
    classes, totals = np.unique(labels, return_counts=True)
    for count in range(1, len(labels) + 1):
        found = (order[:count, None] == classes).sum(axis=0)
        # half an image for rounding, and what the other classes' rounding pushes over
        allowed = 0.5 + totals / len(labels) * len(classes) / 2
        assert (np.abs(found - totals * count / len(labels)) <= allowed + 1e-9).all(), (count, found)


@given(labels_in_any_order(), st.integers(0, 2**31 - 1))
def test_the_numbers_of_the_classes_do_not_matter(labels: NDArray[np.int64], seed: int) -> None:
    numbers = np.random.default_rng(seed).permutation(labels.max() + 1) * 3 - 1
    np.testing.assert_array_equal(stratified(labels, len(labels), seed), stratified(numbers[labels], len(labels), seed))


def test_another_seed_draws_other_images() -> None:
    labels = np.repeat([0, 1], 50)
    assert set(stratified(labels, 20, 1).tolist()) != set(stratified(labels, 20, 2).tolist())


@pytest.mark.parametrize("count", [4, 6, 99])
def test_images_and_labels_of_a_part_belong_together(count: int) -> None:
    labels = np.repeat(np.arange(2), 3)
    split = Split(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), labels)
    drawn = part(split, count)
    assert len(drawn.labels) == min(count, 6)
    np.testing.assert_array_equal(drawn.labels, labels[drawn.images[:, 0, 0, 0]])
    assert part(split, None) is split
