"""The prepared format: what is written is what is read, and equal data give equal bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline import files
from patchline.data import Prepared, Split, load_boxes, load_manifest, load_split, write_prepared
from patchline.data.prepared import shuffled
from patchline.errors import UserError
from patchline.network.contract import photos


def _prepared(boxes: bool = True) -> Prepared:
    rng = np.random.default_rng(0)
    splits = {
        name: Split(rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count, dtype=np.int64) % 2)
        for name, count in (("train", 6), ("val", 4), ("test", 3))
    }
    return Prepared(
        name="tiny",
        classes=("a", "b"),
        splits=splits,
        licence="none",
        description="made up",
        boxes={name: np.full((2, 6), 3, dtype=np.int32) for name in splits} if boxes else None,
        box_classes=("x",) if boxes else (),
        skipped=("bad.png",),
    )


def test_round_trip(tmp_path: Path) -> None:
    data = _prepared()
    manifest = write_prepared(data, tmp_path)
    assert load_manifest(tmp_path) == manifest
    assert manifest.counts == {"train": 6, "val": 4, "test": 3}
    assert manifest.class_counts["test"] == {"a": 2, "b": 1}
    assert manifest.resolution == 8
    assert manifest.input == photos(8)
    assert manifest.skipped == ("bad.png",)
    for name, split in data.splits.items():
        found = load_split(name, tmp_path)
        np.testing.assert_array_equal(found.images, split.images)
        np.testing.assert_array_equal(found.labels, split.labels)
    assert load_boxes("val", tmp_path).shape == (2, 6)


def test_manifests_of_older_versions_have_no_contract(tmp_path: Path) -> None:
    write_prepared(_prepared(), tmp_path)
    content = files.read_json(tmp_path / "manifest.json")
    assert content["input"]["pixels"] == [0.0, 1.0] and content["input"]["fit"] == "crop-box"
    del content["input"]
    files.write_json(tmp_path / "manifest.json", content)
    assert load_manifest(tmp_path).input == photos(8)


def test_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_prepared(_prepared(), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert files.hash_file(path) == files.hash_file(tmp_path / "two" / path.name), path.name


def test_data_without_boxes_say_so(tmp_path: Path) -> None:
    assert write_prepared(_prepared(boxes=False), tmp_path).boxes is None
    with pytest.raises(UserError, match="no boxes"):
        load_boxes("train", tmp_path)


def test_data_that_are_not_prepared_name_the_command(tmp_path: Path) -> None:
    for load in (load_manifest, lambda folder: load_split("train", folder)):
        with pytest.raises(UserError, match="dvc repro prepare"):
            load(tmp_path)


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_shuffled_splits_hold_the_same_images_with_their_labels_and_boxes(seed: int, other_order: int) -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    labels = np.repeat([0, 1], 6)
    # as many boxes as its label says, each with the pixel at the top left, so that a box tells its image
    boxes = np.array([[i, 0, *images[i, 0, 0], 9] for i in range(12) for _ in range(labels[i])], dtype=np.int32)
    data = replace(_prepared(), splits={"train": Split(images, labels)}, boxes={"train": boxes})

    mixed = shuffled(data, seed)
    split, moved = mixed.splits["train"], (mixed.boxes or {})["train"]
    assert {i.tobytes(): n for i, n in zip(split.images, split.labels, strict=True)} == {
        i.tobytes(): n for i, n in zip(images, labels, strict=True)
    }
    np.testing.assert_array_equal(np.bincount(moved[:, 0], minlength=12), split.labels)
    np.testing.assert_array_equal(moved[:, 2:5], split.images[moved[:, 0], 0, 0])
    assert (np.diff(moved[:, 0]) >= 0).all()

    # neither the order in which a source lists them nor the numbers of the classes matter
    listed = np.random.default_rng(other_order).permutation(12)
    again = shuffled(replace(data, splits={"train": Split(images[listed], 1 - labels[listed])}, boxes=None), seed)
    np.testing.assert_array_equal(again.splits["train"].images, split.images)
    np.testing.assert_array_equal(again.splits["train"].labels, 1 - split.labels)
