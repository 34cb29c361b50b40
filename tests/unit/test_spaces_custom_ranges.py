"""Spaces of the user's own: ranges from a TOML file."""

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from models.spec import map_sides
from search.errors import SettingsError
from search.spaces.builtin import Documents
from search.spaces.custom_ranges import OwnRanges
from search.spaces.training_defaults import TrainingDefaults

BUILT_IN = Documents(TrainingDefaults(epochs=20), 32)


def read(folder: Path, text: str) -> OwnRanges:
    (folder / "space.toml").write_text(text)
    return OwnRanges.read(folder / "space.toml", {"documents": BUILT_IN})


def test_ranges_are_narrowed_and_widened_and_the_others_stay(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        """
        space = "documents"
        [ranges]
        blocks = { low = 1 }
        last_filters = [64, 1024]
        batch_norm = true
        dropout_dense = { low = 0.2, high = 0.9 }
        l2_conv = 1e-3
        """,
    )
    found = space.distributions()
    assert list(found) == list(BUILT_IN.distributions())
    changed = {
        "blocks": IntDistribution(1, 5),
        "last_filters": CategoricalDistribution((64, 1024)),
        "batch_norm": CategoricalDistribution((True,)),
        "dropout_dense": FloatDistribution(0.2, 0.9),
        "l2_conv": FloatDistribution(1e-3, 1e-3, log=True),
    }
    assert found == BUILT_IN.distributions() | changed
    assert space.record() != BUILT_IN.record()
    assert space.of_documented_run() is None  # 256 filters are no longer a choice
    params = dict(BUILT_IN.of_documented_run() or {}, blocks=1, last_filters=1024)
    assert space.contains(params)
    model, _ = space.specs(params)
    assert [block.filters for block in model.blocks] == [1024]
    assert map_sides(model, 32) == [16]


def test_ranges_that_are_the_built_in_ones_are_the_built_in_space(tmp_path: Path) -> None:
    space = read(tmp_path, "[ranges]\nlast_filters = [128, 256, 512]\n")
    assert space.record() == BUILT_IN.record()
    assert space.of_documented_run() == BUILT_IN.of_documented_run()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ranges", "space.toml: "),
        ("[range]", "unknown 'range'; expected space = … and"),
        ('space = "mine"', "space 'mine': expected documents"),
        ("ranges = 3", "expected a table"),
        (
            "[ranges]\nmomentum = 0.9",
            "unknown parameter 'momentum'; expected one of blocks, last_filters",
        ),
        ("[ranges]\nblocks = 2.5", "blocks: expected { low = …, high = … } or a whole number, not"),
        ("[ranges]\nblocks = { least = 2 }", "blocks: expected low and high, not 'least'"),
        ("[ranges]\nblocks = { low = 4, high = 3 }", "blocks: low 4 is more than high 3"),
        ("[ranges]\nblocks = { high = 6 }", "blocks 6: block 6 of 6 gets a 1x1 map, too small"),
        ("[ranges]\ndropout_first = { high = 1.0 }", "dropout_first 1.0: Input should be less"),
        ("[ranges]\nl2_conv = { low = 0.0 }", "l2_conv: "),
        ("[ranges]\nbatch_size = []", "batch_size: expected a list of choices"),
        ("[ranges]\nbatch_size = [32.5]", "batch_size: expected a list of choices (int), not"),
        ("[ranges]\nbatch_norm = [1]", "batch_norm: expected a list of choices (bool), not [1]"),
        ("[ranges]\nbatch_size = [0]", "batch_size 0: Input should be greater"),
    ],
)
def test_what_is_no_space_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "space.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        OwnRanges.read(tmp_path / "none.toml", {"documents": BUILT_IN})
