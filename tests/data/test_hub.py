"""Datasets of the hub: read through `datasets`, and refused offline without a socket."""

from __future__ import annotations

import socket
import sys
import types

import pytest

from unsloth_ft.data import hub, load
from unsloth_ft.errors import MachineError, UserError

WAY_OUT = "Save it as a file where there is network, and pass that file."


@pytest.fixture
def no_sockets(monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setitem(sys.modules, "datasets", None)


@pytest.fixture
def fake_datasets(monkeypatch):
    """`datasets` with a `load_dataset` that returns, or raises, what the test sets."""
    module = types.ModuleType("datasets")
    module.calls = []
    module.result = [{"question": "Who?", "answer": "Me."}, {"question": "b", "answer": "c"}]

    def load_dataset(name, *, revision, split):
        module.calls.append((name, revision, split))
        if isinstance(module.result, Exception):
            raise module.result
        return module.result

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    return module


def test_offline_opens_no_socket_and_loads_no_library(no_sockets):
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name", offline=True)
    assert str(failed.value) == f"hf://owner/name: a dataset of the hub needs the network, and this run is offline. {WAY_OUT}"
    assert failed.value.exit_code == 3


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_variables_count(no_sockets, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name")
    assert str(failed.value) == f"hf://owner/name: a dataset of the hub needs the network, and this run is offline. {WAY_OUT}"


def test_without_network_the_host_is_named(monkeypatch):
    def refused(*arguments, **options):
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name")
    assert str(failed.value) == f"hf://owner/name: hub.invalid can't be reached. {WAY_OUT}"


def test_network_that_does_not_answer_is_given_up(monkeypatch):
    import threading

    waiting = threading.Event()

    def silent(*arguments, **options):
        waiting.wait(60)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    monkeypatch.setattr(hub, "_PROBE_SECONDS", 0.01)
    assert hub._reachable() is False
    waiting.set()


def test_rows_are_numbered_and_counted(fake_datasets):
    dataset = load("hf://datasets/owner/name@main:test")
    assert fake_datasets.calls == [("owner/name", "main", "test")]
    assert [row.where for row in dataset.conversations] == ["hf://datasets/owner/name@main:test:1", "hf://datasets/owner/name@main:test:2"]
    assert [(fact.rows, fact.bytes) for fact in dataset.files] == [(2, 71)]


def test_train_is_read_unless_a_split_is_named(fake_datasets):
    load("hf://owner/name")
    assert fake_datasets.calls == [("owner/name", None, "train")]


def test_name_that_is_none_is_refused():
    with pytest.raises(UserError) as refused:
        load("hf://only-one-part")
    expected = "hf://only-one-part: not a dataset's name; expected hf://owner/name, with @revision or :split if needed."
    assert str(refused.value) == expected


def test_dataset_that_is_not_there_is_the_users(fake_datasets):
    fake_datasets.result = FileNotFoundError("Dataset 'owner/nam' doesn't exist\non the Hub")
    with pytest.raises(UserError) as refused:
        load("hf://owner/nam")
    assert str(refused.value) == "hf://owner/nam: Dataset 'owner/nam' doesn't exist on the Hub"


def test_connection_that_breaks_is_the_machines(fake_datasets):
    fake_datasets.result = ConnectionError("reset by peer")
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name")
    assert str(failed.value) == "hf://owner/name: could not be loaded: reset by peer"
