"""Sources: scenes, Fashion-MNIST and folders of photos, on small made-up raw data."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from patchline.config import Counts, DataParams
from patchline.data import fashion_mnist, folder, prepare, scenes
from patchline.data.fashion_mnist import BAG, Garments
from patchline.data.pixels import eight_bit
from patchline.errors import UserError

COUNTS = Counts(train=40, val=12, test=12)


def _write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def _garments(count: int, seed: int) -> Garments:
    """Random blobs in the middle of the frame, classes in turn."""
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    images[:, 6:22, 4:24] = np.random.default_rng(seed).integers(40, 256, size=(count, 16, 20))
    return Garments(images, np.arange(count, dtype=np.int64) % 10)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Fashion-MNIST's form with 100 + 60 garments."""
    monkeypatch.setattr(scenes, "VAL_GARMENTS", 40)
    for part, count in (("train", 100), ("t10k", 60)):
        garments = _garments(count, len(part))
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", garments.images)
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", garments.labels.astype(np.uint8))
    return tmp_path


def _params(raw: Path, source: str, **changes: object) -> DataParams:
    return DataParams.model_validate({"source": source, "folder": str(raw), "counts": COUNTS, **changes})


def test_scenes_have_the_asked_form(raw: Path) -> None:
    data = prepare(_params(raw, "scenes", resolution=48), seed=1)
    assert data.composed
    assert data.boxes is not None
    for name, split in data.splits.items():
        assert split.images.shape == (getattr(COUNTS, name), 48, 48, 3)
        assert split.images.dtype == np.uint8
        assert split.labels.mean() == 0.5
        boxes = data.boxes[name]
        with_bag = np.unique(boxes[boxes[:, 1] == BAG, 0])
        np.testing.assert_array_equal(with_bag, np.flatnonzero(split.labels))
        per_scene = np.bincount(boxes[:, 0], minlength=len(split.labels))
        assert per_scene.min() >= 1
        assert per_scene.max() <= scenes.MAX_GARMENTS
        assert (boxes[:, 2:] >= 0).all()
        assert (boxes[:, 2:] <= 48).all()
        assert (boxes[:, 4] > boxes[:, 2]).all()
        assert (boxes[:, 5] > boxes[:, 3]).all()


def test_scenes_are_the_same_bytes_on_every_machine() -> None:
    split, boxes = scenes.compose(_garments(50, 0), 70, 96, (7, 0))
    digest = hashlib.sha256(split.images.tobytes() + split.labels.tobytes() + boxes.tobytes()).hexdigest()
    assert digest == "5f128c779ef4aacd508481ca2039dcf7800cd08172e6b9a49622189b98b11284"


def test_scenes_change_with_the_seed() -> None:
    one, two = (scenes.compose(_garments(50, 0), 4, 32, (seed,))[0] for seed in (1, 2))
    assert (one.images != two.images).any()


def test_a_garment_stands_out_inside_its_box() -> None:
    garments = _garments(50, 0)
    garments.images[garments.images > 0] = 255
    split, boxes = scenes.compose(garments, 64, 96, (3,))
    single = [row for row in boxes if (boxes[:, 0] == row[0]).sum() == 1]
    assert single
    for scene, _, x0, y0, x1, y1 in single:
        luminance = split.images[scene] @ scenes.LUMINANCE
        inside = np.zeros((96, 96), dtype=bool)
        inside[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = True
        around = ~inside
        around[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3] = False
        assert abs(luminance[inside].mean() - luminance[around].mean()) > 20


def test_splits_of_scenes_share_no_garment(raw: Path) -> None:
    images = fashion_mnist.read_idx(raw / "t10k-images-idx3-ubyte.gz").copy()
    images[0] = fashion_mnist.read_idx(raw / "train-images-idx3-ubyte.gz")[0]
    _write_idx(raw / "t10k-images-idx3-ubyte.gz", images)
    parts = scenes._garments_per_split(raw)
    assert [len(part.labels) for part in parts.values()] == [60, 40, 59]
    keys = [{image.tobytes() for image in part.images} for part in parts.values()]
    assert not keys[0] & keys[1]
    assert not (keys[0] | keys[1]) & keys[2]


@pytest.mark.parametrize("resolution", [16, 28, 56, 96])
def test_fashion_mnist_is_enlarged_and_padded(raw: Path, resolution: int) -> None:
    data = prepare(_params(raw, "fashion-mnist", resolution=resolution), seed=1)
    images = data.splits["train"].images
    assert images.shape == (40, resolution, resolution, 3)
    assert len(data.classes) == 10
    assert not data.composed
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    if resolution == 28:
        raw_images = fashion_mnist.read_garments(raw, "train").images
        assert {image[..., 0].tobytes() for image in images} <= {image.tobytes() for image in raw_images}
    if resolution == 96:
        assert not images[:, :6].any()
        np.testing.assert_array_equal(images[:, 6:90:3, 6:90:3], images[:, 8:90:3, 8:90:3])


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "damaged"),
        (b"not gzip", "damaged"),
        (gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 9, 28, 28) + b"x"), "announces the shape"),
        (gzip.compress(b"\0\0\x08\x03"), "cut off"),
        (gzip.compress(b"hello"), "not an IDX file"),
        (gzip.compress(b"x" * 5000)[:-9], "damaged"),
    ],
    # names of their own: gzip writes the time into its header, and workers must agree on the tests' names
    ids=["empty", "not gzip", "other shape", "cut off", "not IDX", "truncated gzip"],
)
def test_a_damaged_raw_file_is_named(raw: Path, content: bytes, fragment: str) -> None:
    path = raw / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=fragment) as caught:
        prepare(_params(raw, "scenes"), seed=1)
    assert path.name in str(caught.value)


def test_missing_raw_data_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="patchline fetch-data"):
        prepare(_params(tmp_path, "scenes"), seed=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with 60 photos each, JPEG and PNG."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name / "day 1").mkdir(parents=True)
        for index in range(60):
            pixels = rng.integers(0, 100, size=(40, 50, 3), dtype=np.uint8) + np.uint8(100 * label)
            suffix = "jpg" if index % 2 else "PNG"
            Image.fromarray(pixels).save(tmp_path / name / ("day 1" if index % 3 else "") / f"{index}.{suffix}")
    return tmp_path


def _folder_params(path: Path, **changes: object) -> DataParams:
    return _params(path, "folder", **{"resolution": 24, "counts": Counts(train=3, val=1, test=1), **changes})


def test_folder_reads_every_photo_once(photos: Path) -> None:
    (photos / "cat" / "notes.txt").write_text("not a photo")
    data = prepare(_folder_params(photos), seed=1)
    assert data.classes == ("cat", "dog")
    assert sum(len(split.labels) for split in data.splits.values()) == 120
    for split in data.splits.values():
        assert split.images.shape[1:] == (24, 24, 3)
        np.testing.assert_array_equal(split.images.mean(axis=(1, 2, 3)) > 100, split.labels == 1)
    assert len(data.splits["train"].labels) > len(data.splits["val"].labels)


def test_photos_come_mixed_whatever_their_class_is_called(photos: Path) -> None:
    before = prepare(_folder_params(photos), seed=1).splits
    (photos / "cat").rename(photos / "lynx")  # behind the dogs now
    after = prepare(_folder_params(photos), seed=1).splits
    for name, split in before.items():
        changes = np.count_nonzero(np.diff(split.labels))
        assert changes > len(split.labels) / 4, f"{name} lists one class after the other: {split.labels}"
        np.testing.assert_array_equal(after[name].images, split.images)
        np.testing.assert_array_equal(after[name].labels, 1 - split.labels)
    other = prepare(_folder_params(photos), seed=2).splits["train"]
    assert (other.labels != after["train"].labels).any()


def test_a_photo_keeps_its_split_when_others_come_and_go(photos: Path) -> None:
    before = prepare(_folder_params(photos), seed=1).splits["test"].images
    for index in range(20):
        next(photos.glob(f"cat/**/{index}.*")).unlink()
    after = {image.tobytes() for image in prepare(_folder_params(photos), seed=2).splits["test"].images}
    assert after <= {image.tobytes() for image in before}


def test_copies_of_a_photo_never_stand_in_two_splits(photos: Path) -> None:
    original = next(photos.glob("dog/**/0.*"))
    for number in range(5):
        (photos / "dog" / f"copy {number}.png").write_bytes(original.read_bytes())
    data = prepare(_folder_params(photos), seed=1)
    assert data.duplicates == 5
    assert sum(len(split.labels) for split in data.splits.values()) == 120


def test_one_photo_in_two_classes_is_refused(photos: Path) -> None:
    original = next(photos.glob("dog/**/0.*"))
    (photos / "cat" / "0 again.png").write_bytes(original.read_bytes())
    with pytest.raises(UserError, match="two classes") as caught:
        prepare(_folder_params(photos), seed=1)
    assert original.name in str(caught.value)


def _spoil(photos: Path) -> list[str]:
    whole = next(photos.glob("cat/**/1.*")).read_bytes()
    contents = {"empty.jpg": b"", "cut.jpg": whole[: len(whole) // 2], "text.png": b"hello", "half.png": b"\x89PNG\r\n"}
    for name, content in contents.items():
        (photos / "cat" / name).write_bytes(content)
    return [f"cat/{name}" for name in sorted(contents)]


def test_corrupt_files_are_listed_and_stop_the_run(photos: Path) -> None:
    names = _spoil(photos)
    with pytest.raises(UserError, match="4 files cannot be read") as caught:
        prepare(_folder_params(photos), seed=1)
    for name in names:
        assert name in str(caught.value)
    assert "data.skip_corrupt: true" in str(caught.value)


def test_corrupt_files_can_be_left_out(photos: Path) -> None:
    names = _spoil(photos)
    data = prepare(_folder_params(photos, skip_corrupt=True), seed=1)
    assert list(data.skipped) == names
    assert sum(len(split.labels) for split in data.splits.values()) == 120


def test_a_class_with_too_few_photos_stops(photos: Path) -> None:
    with pytest.raises(UserError, match=r"class 'cat' .* has 60 .* asks for 61"):
        prepare(_folder_params(photos, min_images_per_class=61), seed=1)


def test_a_split_without_a_class_stops(photos: Path) -> None:
    with pytest.raises(UserError, match=r"no photo in the val split .* data.counts.val"):
        prepare(_folder_params(photos, counts=Counts(train=10_000_000, val=1, test=100_000)), seed=1)


@pytest.mark.parametrize("classes", [[], ["only"]])
def test_a_folder_without_classes_stops(tmp_path: Path, classes: list[str]) -> None:
    for name in classes:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds {len(classes)} class folders"):
        prepare(_folder_params(tmp_path), seed=1)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:20] = 255
    orientation = Image.Exif()
    orientation[0x0112] = 3  # the camera was held upside down
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=orientation, quality=95)
    read = folder.read_photo(tmp_path / "a.jpg", 20)
    assert read is not None
    assert read[2].mean() < 20
    assert read[-3].mean() > 235


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_deep_greyscale_does_not_turn_white(tmp_path: Path, mode: str) -> None:
    levels = np.repeat(np.arange(0, 256, 15, dtype=np.uint8), 2)[None].repeat(36, axis=0)
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(eight_bit(deep.convert(mode))), levels)
    deep.save(tmp_path / "deep.png")
    read = folder.read_photo(tmp_path / "deep.png", 36)
    assert read is not None
    assert np.array_equal(read, levels[..., None].repeat(3, axis=2))


def test_shares_of_the_splits_follow_the_counts() -> None:
    counts = Counts(train=8, val=1, test=1)
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(3000)]
    share = sum(folder.split_of(digest, counts) == "train" for digest in digests) / len(digests)
    assert abs(share - 0.8) < 0.03
