"""The layouts that image folders come in, and what file systems and tools leave in them.

Only names count here: the images are empty files, which a scan does not open.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from data import tree
from data.dataset import SPLITS
from data.folder import Scan, scan
from data.layout import part_folders
from tests.support.folders import both, fill, refused, sizes


def below(found: Scan, split: str) -> set[str]:
    """The folders that a split's images are in, from the root."""
    return {str(f.path.parent.relative_to(found.root)) for f in found.splits[split].files}


class TestSplits:
    """Folders for training, validation and test, whatever they are called."""

    @pytest.mark.parametrize(
        ("train", "validation", "test"),
        [
            ("train", "validation", "test"),
            ("train", "val", "test"),
            ("TRAIN", "Valid", "Test"),
            ("Training", "Validation", "Testing"),
            ("training", "validation", "evaluation"),
            ("seg_train", "seg_val", "seg_test"),
            ("train_images", "val_images", "test_images"),
            ("birds-training", "birds-valid", "birds-testing"),
        ],
    )
    def test_names(self, tmp_path: Path, train: str, validation: str, test: str) -> None:
        found = scan(fill(tmp_path, *both(train, validation, test)), 0)
        assert found.classes == ("a", "b")
        for split, folder in zip(SPLITS, (train, validation, test), strict=True):
            assert below(found, split) == {f"{folder}/a", f"{folder}/b"}
        assert found.warnings == ()

    @pytest.mark.parametrize(
        ("train", "test"),
        [
            ("train", "test"),
            ("Training", "Testing"),
            ("seg_train/seg_train", "seg_test/seg_test"),
            ("archive/Training", "archive/Testing"),
        ],
    )
    def test_validation_is_taken_from_the_training_images(
        self, tmp_path: Path, train: str, test: str
    ) -> None:
        root = fill(tmp_path, *both(train, test), each=20)
        found = scan(root, 0)
        assert sizes(found) == (36, 4, 40)
        assert below(found, "train") == below(found, "validation") == {f"{train}/a", f"{train}/b"}
        assert below(found, "test") == {f"{test}/a", f"{test}/b"}
        assert Counter(found.splits["validation"].labels) == {0: 2, 1: 2}
        assert not set(found.splits["train"].files) & set(found.splits["validation"].files)
        (line,) = found.warnings
        assert "no labelled images for validation: 4 for validation are taken from the 40" in line
        assert scan(root, 0) == found
        assert scan(root, 1).splits["validation"] != found.splits["validation"]

    @pytest.mark.parametrize("test", [None, "test", "test/test", "test/unknown"])
    def test_test_images_are_taken_where_none_have_labels(
        self, tmp_path: Path, test: str | None
    ) -> None:
        root = fill(tmp_path, *both("train", "val"), *([test] if test else []))
        found = scan(root, 0)
        assert sizes(found) == (18, 20, 2)
        assert below(found, "test") == {"train/a", "train/b"}
        assert "no labelled images for test" in found.warnings[0]
        assert (f"{root / 'test'}: no class folders" in found.warnings[0]) == bool(test)

    def test_both_are_taken_from_training_folders_in_parts(self, tmp_path: Path) -> None:
        parts = both("train/train1", "train/train2", "train/train10")
        found = scan(fill(tmp_path, *parts, each=20), 0)
        assert sizes(found) == (96, 12, 12)
        assert sum(found.splits["train"].parts) == 96
        assert len(found.splits["train"].parts) == 3
        order = [str(f.path.parent.relative_to(tmp_path)) for f in found.splits["train"].files]
        assert order == sorted(order, key=parts.index)

    @pytest.mark.parametrize("where", ["train", "train/train1"])
    def test_classes_called_train1_and_train2(self, tmp_path: Path, where: str) -> None:
        folders = [f"{split}/train{n}" for split in (where, "val", "test") for n in (1, 2)]
        found = scan(fill(tmp_path, *folders), 0)
        assert found.classes == ("train1", "train2")
        assert sizes(found) == (20, 20, 20)

    def test_too_few_images_to_take_from(self, tmp_path: Path) -> None:
        root = fill(tmp_path, *both("train", "test"), each=1)
        line = refused(root)
        assert f"{root / 'train/a'} holds 1 of the 2 images" in line
        assert "to be in training and validation" in line

    def test_images_to_predict_beside_the_splits_are_reported(self, tmp_path: Path) -> None:
        folders = both("seg_train/seg_train", "seg_test/seg_test")
        found = scan(fill(tmp_path, *folders, "seg_pred/seg_pred"), 0)
        assert found.classes == ("a", "b")
        assert found.warnings[0].startswith("left out images in seg_pred")

    def test_images_outside_of_class_folders_are_reported(self, tmp_path: Path) -> None:
        root = fill(tmp_path, *both("train", "val", "test"))
        (root / "train/stray.png").touch()
        (line,) = scan(root, 0).warnings
        assert line == f"left out 1 image directly in {root / 'train'}: outside of class folders"

    @pytest.mark.parametrize("wrapper", ["archive", "archive/birds", "train", "a/b/c/d"])
    def test_one_wrapping_folder(self, tmp_path: Path, wrapper: str) -> None:
        inside = [f"{wrapper}/{folder}" for folder in both("train", "val", "test")]
        root = fill(tmp_path, *inside)
        (root / "read me.txt").touch()
        fill(root, "__MACOSX/archive")
        found = scan(root, 0)
        assert found.classes == ("a", "b")
        assert sizes(found) == (20, 20, 20)

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_a_class_without_images_in_one_split(self, tmp_path: Path, split: str) -> None:
        root = fill(tmp_path, *both("train", "validation", "test"))
        for folder in ("a", "b"):
            for image in (root / split / folder).iterdir():
                image.unlink()
        (root / split / "a/notes.txt").touch()
        line = refused(root)
        assert f"{root / split / 'a'} holds no images" in line
        assert "(1 .txt)" in line

    def test_validation_and_test_alone(self, tmp_path: Path) -> None:
        assert "no folder 'train'" in refused(fill(tmp_path, *both("val", "test")))


class TestClasses:
    """Class folders alone, whatever they are called."""

    @pytest.mark.parametrize(
        "names",
        [
            ("bus", "car", "train"),
            ("test", "train", "val"),
            ("Training", "swimming"),
            ("test", "validation"),
            ("crash_test", "crash_train"),
            ("__negative__", "__unknown__", "cat"),
            ("0-2", "4-6", "8-13"),
            ("$5_", "my cat", "two\nlines"),
        ],
    )
    def test_names(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        found = scan(fill(tmp_path, *names), 0)
        assert found.classes == names
        assert sizes(found) == (8 * len(names), len(names), len(names))
        assert found.warnings == ()

    def test_a_class_called_train_in_subfolders(self, tmp_path: Path) -> None:
        found = scan(fill(tmp_path, "bus/ana", "car/ana", "train/ana", "train/rui"), 0)
        assert found.classes == ("bus", "car", "train")

    def test_a_folder_that_may_be_a_split_or_a_class(self, tmp_path: Path) -> None:
        root = fill(tmp_path, *both("train"), "more")
        line = refused(root)
        assert str(root / "train") in line
        assert str(root / "more") in line

    def test_images_in_subfolders_count_and_are_told_of(self, tmp_path: Path) -> None:
        root = fill(tmp_path, "a", "b", each=2)
        fill(root, "a/ana/2019", "a/rui", "b/ana", each=3)
        found = scan(root, 0)
        files = [f for split in SPLITS for f in found.splits[split].files]
        assert len(files) == len(set(files)) == 13
        (line,) = found.warnings
        assert "a: 6 of 8; b: 3 of 5" in line

    def test_splits_under_names_of_their_own_are_suspected(self, tmp_path: Path) -> None:
        found = scan(fill(tmp_path, *both("learn", "check")), 0)
        assert found.classes == ("check", "learn")
        assert "all hold folders named a; b" in found.warnings[0]

    @pytest.mark.parametrize("wrapper", ["archive", "archive/images"])
    def test_one_wrapping_folder(self, tmp_path: Path, wrapper: str) -> None:
        found = scan(fill(tmp_path, *both(wrapper)), 0)
        assert found.classes == ("a", "b")
        assert found.warnings == ()

    def test_one_class_is_not_enough(self, tmp_path: Path) -> None:
        assert "at least two" in refused(fill(tmp_path, "only"))
        assert "at least two" in refused(fill(tmp_path, "only/below"))


class TestLeftOut:
    """What is not read is counted, or is nothing of the user's."""

    def test_what_file_systems_and_tools_leave(self, tmp_path: Path) -> None:
        root = fill(tmp_path, *both("train", "val", "test"))
        before = scan(root, 0)
        junk = (
            *("lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle"),
            *(".Trash-1000", "__MACOSX", ".ipynb_checkpoints", "@Recycle", "#snapshot"),
            *(".Spotlight-V100", ".git", "__pycache__"),
        )
        for place in (".", "train", "train/a"):
            fill(root, *(f"{place}/{name}" for name in junk), each=1)
            fill(root, *(f"{place}/{name}/a" for name in junk), each=1)
            for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
                (root / place / name).touch()
        assert scan(root, 0) == before

    def test_kinds_are_counted_a_class(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = fill(tmp_path, "a", "b")
        names = ("x.HEIC", "y.svg", "z.SVG", "z.csv", "none", "odd.a b")
        for name in names:
            (root / "a" / name).touch()
        (root / "b/x.heif").touch()
        monkeypatch.setattr(tree, "HEIF_PACKAGE", "not_installed_here")
        heic, others = scan(root, 0).warnings
        assert "a: 1 .heic; b: 1 .heif" in heic
        assert "pip install pillow-heif" in heic
        assert others.endswith("(a: 1 .csv, 2 .svg, 2 without a known suffix)")
        monkeypatch.setattr(tree, "HEIF_PACKAGE", "json")  # as if the package were installed
        found = scan(root, 0)
        assert sum(sizes(found)) == 22
        assert found.warnings == (others,)

    @pytest.mark.parametrize(
        "suffix",
        ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "webp", "gif", "tif", "tiff", "JPG", "Jfif"],
    )
    def test_suffixes_of_images(self, tmp_path: Path, suffix: str) -> None:
        root = fill(tmp_path, "a", "b")
        (root / f"a/x.{suffix}").touch()
        found = scan(root, 0)
        assert sum(sizes(found)) == 21
        assert found.warnings == ()

    def test_links(self, tmp_path: Path) -> None:
        root = fill(tmp_path / "i", "a", "b")
        fill(tmp_path / "elsewhere", ".", "deep")
        for link, target in {
            "loop": "loop",
            "up": ".",
            "further up": "../..",
            "gone": "nowhere",
            "a/loop.png": "loop.png",
            "a/gone.png": "nowhere.png",
            "a/good.png": "0.png",
            "a/up": "..",
            "a/side": "../b",
            "c": str(tmp_path / "elsewhere"),
        }.items():
            (root / link).symlink_to(target)
        found = scan(root, 0)
        assert found.classes == ("a", "b", "c")
        assert sum(sizes(found)) == 11 + 10 + 20
        line = found.warnings[-1]
        assert line.startswith("left out links (further up; gone; loop; up; a/side and 3 more)")

    def test_pipes(self, tmp_path: Path) -> None:
        root = fill(tmp_path, "a", "b")
        os.mkfifo(root / "a/pipe.png")
        found = scan(root, 0)
        assert sum(sizes(found)) == 20
        assert "a: 1 of a special type" in found.warnings[0]


def test_training_folders_are_in_the_order_of_their_numbers() -> None:
    assert part_folders(["train10", "train9", "Train_2", "trainer"]) == [
        "Train_2",
        "train9",
        "train10",
    ]
