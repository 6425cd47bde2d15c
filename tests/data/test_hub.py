"""Datasets of the hub: read through `datasets`, and refused offline without a socket."""

from __future__ import annotations

import socket
import sys
import types

import pytest

from tests.data.building import lines, qa
from unsloth_ft.data import hub, load
from unsloth_ft.errors import MachineError, UserError

WAY_OUT = "Load it once where there is network, or save it as a file and pass that."
OFFLINE = f"not in the cache of datasets, and this run is offline. {WAY_OUT}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty home for the caches of `datasets` and the hub."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home" / "datasets"


@pytest.fixture
def no_network(monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)


@pytest.fixture
def no_sockets(no_network, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)


@pytest.fixture
def fake_datasets(monkeypatch):
    """`datasets` with a `load_dataset` that returns, or raises, what the test sets."""
    module = types.ModuleType("datasets")
    module.calls = []
    module.result = [{"question": "Who?", "answer": "Me."}, {"question": "b", "answer": "c"}]

    module.size_bytes = None

    def load_dataset_builder(**source):
        if isinstance(module.result, Exception):
            raise module.result
        return types.SimpleNamespace(info=types.SimpleNamespace(dataset_size=module.size_bytes))

    def load_dataset(path, *, name, revision, split, streaming):
        module.calls.append((path, name, revision, split, streaming))
        return module.result

    module.load_dataset_builder = load_dataset_builder
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    return module


def test_offline_opens_no_socket_and_loads_no_library(no_sockets):
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name", offline=True)
    assert str(failed.value) == f"hf://owner/name: {OFFLINE}"
    assert failed.value.exit_code == 3


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_variables_count(no_sockets, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(MachineError) as failed:
        load("hf://owner/name")
    assert str(failed.value) == f"hf://owner/name: {OFFLINE}"


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
    assert str(failed.value) == (
        f"hf://owner/name: not in the cache of datasets, and hub.invalid can't be reached. {WAY_OUT}"
    )


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
    assert fake_datasets.calls == [("hf://datasets/owner/name", None, "main", "test", False)]
    assert [row.where for row in dataset.conversations] == ["hf://datasets/owner/name@main:test:1", "hf://datasets/owner/name@main:test:2"]
    assert [(fact.rows, fact.bytes) for fact in dataset.files] == [(2, 71)]


@pytest.mark.parametrize(
    ("written", "config", "revision", "split"),
    [
        ("hf://owner/name", None, None, "train"),
        ("hf://owner/name/small", "small", None, "train"),
        ("hf://owner/name:test@v1.0", None, "v1.0", "test"),
        ("hf://owner/name/small@refs/pr/1:train[:10%]+test[5:]", "small", "refs/pr/1", "train[:10%]+test[5:]"),
    ],
)
def test_configuration_revision_and_split_can_be_named(fake_datasets, written, config, revision, split):
    load(written)
    assert fake_datasets.calls == [("hf://datasets/owner/name", config, revision, split, False)]


@pytest.mark.parametrize(("split", "streaming"), [("train", True), ("train[:10]", False)])
def test_large_datasets_are_streamed_where_they_can_be(fake_datasets, split, streaming):
    fake_datasets.size_bytes = 2**31
    load(f"hf://owner/name:{split}")
    assert fake_datasets.calls == [("hf://datasets/owner/name", None, None, split, streaming)]


@pytest.mark.parametrize("written", ["hf://only-one-part", "hf://a/b/c/d", "hf://a/b@x@y", "hf://a/b:x:y", "hf://a/b:", "hf://a/b c"])
def test_name_that_is_none_is_refused(written):
    with pytest.raises(UserError) as refused:
        load(written)
    expected = "not a dataset's name; expected hf://owner/name, with /config, @revision or :split behind it if needed."
    assert str(refused.value) == f"{written}: {expected}"


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


# A cache as `datasets` itself writes it.


def prepared(cache, tmp_path, name: str, *, config: str = "default", commit: str = "a" * 40, answer: str = "Me.") -> None:
    """Prepares `name` as `load_dataset` does, with a train and a test split."""
    from datasets.data_files import DataFilesDict
    from datasets.load import configure_builder_class
    from datasets.packaged_modules.json.json import Json, JsonConfig

    (tmp_path / "rows.jsonl").write_bytes(lines(qa(answer=answer), qa("b", "c")))
    files = DataFilesDict.from_patterns(dict.fromkeys(("train", "test"), [str(tmp_path / "rows.jsonl")]))
    short = name.split("/")[1]
    configured = configure_builder_class(Json, [JsonConfig(name=config, data_files=files)], default_config_name=None, dataset_name=short)
    builder = configured(cache_dir=str(cache), dataset_name=short, repo_id=name, config_name=config, hash=commit)
    builder.download_and_prepare()


@pytest.fixture
def faq(cache, tmp_path, no_network):
    prepared(cache, tmp_path, "Owner/FaqRows-v1")


def test_a_cached_dataset_is_read_offline_without_a_socket(faq):
    dataset = load("hf://Owner/FaqRows-v1", offline=True)
    assert [row.answer for row in dataset.conversations] == ["Me.", "c"]
    assert [row.where for row in dataset.conversations] == ["hf://Owner/FaqRows-v1:1", "hf://Owner/FaqRows-v1:2"]
    assert list(dataset.findings) == []
    assert [row.answer for row in load("hf://Owner/FaqRows-v1:test[1:]", offline=True).conversations] == ["c"]


def test_what_is_not_cached_is_refused_with_what_is(faq):
    for written in ("hf://Owner/FaqRows-v1@main", "hf://Owner/FaqRows-v1@bbbbbbb", "hf://Owner/FaqRows-v1/small"):
        with pytest.raises(MachineError) as failed:
            load(written, offline=True)
        there = 'There is "default@aaaaaaaaaaaa".'
        assert str(failed.value) == f"{written}: {OFFLINE.replace(WAY_OUT, there)} {WAY_OUT}"
    with pytest.raises(UserError) as refused:
        load("hf://Owner/FaqRows-v1:tset", offline=True)
    assert str(refused.value) == 'hf://Owner/FaqRows-v1:tset: no split tset; there is "train" and "test". Did you mean test?'


def test_a_revision_is_the_commit_that_it_stood_for(cache, tmp_path, no_network):
    for commit, answer in (("a" * 40, "old"), ("b" * 40, "new")):
        prepared(cache, tmp_path, "owner/name", commit=commit, answer=answer)
    references = cache.parent / "hub" / "datasets--owner--name" / "refs"
    references.mkdir(parents=True)
    (references / "v1").write_text("a" * 40)
    found = {written: load(written, offline=True).conversations[0].answer for written in ("hf://owner/name@v1", "hf://owner/name@bbbbbbb")}
    assert found == {"hf://owner/name@v1": "old", "hf://owner/name@bbbbbbb": "new"}


def test_one_of_several_configurations_has_to_be_named(cache, tmp_path, no_network):
    for config in ("small", "large"):
        prepared(cache, tmp_path, "owner/name", config=config, answer=config)
    with pytest.raises(UserError) as refused:
        load("hf://owner/name", offline=True)
    expected = 'hf://owner/name: the dataset has several configurations: "large" and "small". Name one: hf://owner/name/large'
    assert str(refused.value) == expected
    assert load("hf://owner/name/small", offline=True).conversations[0].answer == "small"


def test_without_network_the_cache_is_used_and_that_is_said(faq, monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    dataset = load("hf://Owner/FaqRows-v1")
    (found,) = dataset.findings
    message = f"hub.invalid can't be reached; read from the cache, as of commit {'a' * 40}."
    assert (found.severity, str(found)) == ("warning", f"hf://Owner/FaqRows-v1: {message}")


def test_a_torn_copy_and_a_missing_package_are_the_machines(faq, cache, monkeypatch):
    (rows,) = cache.glob("*/*/*/*/*-train.arrow")
    rows.unlink()
    with pytest.raises(MachineError) as failed:
        load("hf://Owner/FaqRows-v1", offline=True)
    way_out = f"Delete Owner___faq_rows-v1/default/0.0.0/{'a' * 40} there, and load it again where there is network."
    expected = f"its copy in the cache of datasets can't be read. {way_out}"
    assert str(failed.value) == f"hf://Owner/FaqRows-v1: {expected}"
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "datasets.packaged_modules.cache.cache", None)
    with pytest.raises(MachineError) as failed:
        load("hf://Owner/FaqRows-v1", offline=True)
    assert str(failed.value) == "hf://Owner/FaqRows-v1: reading from the hub needs the package datasets. Run: pip install datasets"
