"""Images on their way into a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchline.supernet.images import _filter, batch_indices, mirrored, resize, to_input


@given(st.integers(1, 130), st.integers(1, 130))
def test_filter_rows_are_whole_and_sum_to_the_same(size: int, new: int) -> None:
    weights = _filter(size, new)
    assert torch.equal(weights, weights.round()) and weights.min() >= 0
    assert torch.equal(weights.sum(1), torch.full((new,), 256.0))


@pytest.mark.parametrize("resolution", [4, 11, 16, 24])
def test_a_flat_image_stays_flat(resolution: int) -> None:
    for value in (0, 1, 127, 255):
        images = np.full((2, 16, 16, 3), value, dtype=np.uint8)
        assert np.array_equal(np.unique(resize(images, resolution)), [value])


def test_halving_averages_squares() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    mean = images.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    assert np.array_equal(resize(images, 4), np.floor(mean + 0.5))


def test_the_input_is_the_resized_pixel_over_255() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    x = to_input(images, 12)
    assert x.shape == (3, 3, 12, 12)
    expected = resize(images, 12).astype(np.float32).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)


def test_an_epoch_sees_every_image_once_and_depends_on_seed_and_epoch_only() -> None:
    order = batch_indices(100, 10, seed=1, epoch=2)
    assert sorted(order.ravel()) == list(range(100))
    assert np.array_equal(order, batch_indices(100, 10, seed=1, epoch=2))
    assert not np.array_equal(order, batch_indices(100, 10, seed=1, epoch=3))
    assert batch_indices(5, 10, 1, 0).shape == (1, 5)


def test_mirroring_flips_whole_images() -> None:
    x = torch.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4).float()
    for image, original in zip(mirrored(x, np.random.default_rng(0)), x, strict=True):
        assert torch.equal(image, original) or torch.equal(image, original.flip(2))
