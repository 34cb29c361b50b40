"""The card of a handed-over network of the user's own says how it was trained and is loaded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data import catalog
from models.spec import OwnSpec, TrainingSpec
from search.retraining.card import own_network
from search.study import provenance
from tests.support.model_rows import ROW
from tests.support.pictures import image_folder

OWN = {
    "optimizer": {"name": "AdamW", "config": {"learning_rate": 0.02}},
    "loss_scaled": True,
    "loss": "CategoricalCrossentropy",
    "label_smoothing": 0.1,
    "dtype_policy": "mixed_float16",
    "floatx": "float32",
    "custom_objects": ["mine>Swish"],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "trained with AdamW (learning rate 0.02), the loss CategoricalCrossentropy with"),
        ({}, "label smoothing 0.1 and the dtype policy mixed\\_float16."),
        ({}, "import what registers mine\\>Swish before loading it"),
        (
            {"optimizer": {"name": "Mine", "config": {"learning_rate": {"class_name": "Falling"}}}},
            "trained with Mine (learning rate Falling), the",
        ),
        ({"optimizer": {"name": "Mine", "config": {}}}, "trained with Mine, the loss"),
    ],
)
def test_the_card_says_how_it_was_trained(change: dict[str, object], said: str) -> None:
    row = replace(ROW, spec=json.dumps({"own_network": OWN | change}))
    assert said in " ".join(own_network(row).split())


@pytest.mark.parametrize(("names", "said"), [((), ""), (("mine>Swish",), "registers mine\\>Swish")])
def test_of_an_ensemble_the_card_says_how_it_is_loaded(names: tuple[str, ...], said: str) -> None:
    spec = json.dumps({"ensemble": {"custom_objects": names}})
    text = own_network(replace(ROW, kind="ensemble", spec=spec))
    assert said in text
    assert bool(text) == bool(names)


def test_of_other_networks_the_card_says_nothing_more() -> None:
    assert own_network(ROW) == ""


def test_the_spec_has_it_beside_what_it_always_had(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images", each=20)
    data = catalog.load(str(folder), image_size=8, cache=tmp_path / "cache").dataset
    model = OwnSpec(code="net.py:build", digest="0123", params={"n": 1})
    before = json.loads(provenance.document(model, TrainingSpec(), 1, data))
    now = json.loads(provenance.document(model, TrainingSpec(), 1, data, json.dumps(OWN)))
    assert now.pop("own_network") == OWN
    assert now == before
