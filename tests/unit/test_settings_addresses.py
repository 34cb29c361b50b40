"""Addresses of a cluster's head."""

import pytest

from search.settings import is_address


@pytest.mark.parametrize("text", ["127.0.0.1:6379", "head:1", "head.example.org:65535", "kopf-ä:7"])
def test_a_host_and_a_port_are_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "head",
        ":6379",
        "head:",
        "head:0",
        "head:65536",
        "head:six",
        "head:-1",
        "head:²",
        "a..b:1",
    ],
)
def test_nothing_else_is(text: str) -> None:
    assert not is_address(text)
