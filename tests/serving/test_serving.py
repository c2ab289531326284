"""A server on the loopback interface, asked by a client as others would."""

import concurrent.futures
import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import uvicorn
from exporting.test_folders import CELL, make_language_config, mask_free_config, untrained_run
from training.small_runs import make_config

from rnnjax.errors import InputError
from rnnjax.exporting.folder import write_folder
from rnnjax.serving.app import make_app
from rnnjax.serving.limits import Limits
from rnnjax.serving.network import ServedNetwork, load_network, serve_run
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.trained_run import TrainedRun

TEXTS = ["goal season coach", "shares of the company", "", "new browser"]
SMALL = {"request_bytes": 20_000, "texts": 5, "characters": 1_000, "request_seconds": 0.5}


@contextlib.contextmanager
def serve(network: ServedNetwork, **limits: Any) -> Iterator[str]:
    """Serves a network on a free port, and yields the address."""
    app = make_app(network, Limits(**{**SMALL, **limits}))
    config = uvicorn.Config(app, port=0, ws="none", loop="asyncio", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def classifier(news) -> TrainedRun:
    return untrained_run(mask_free_config(news))


@pytest.fixture(scope="module")
def address(classifier) -> Iterator[str]:
    with serve(serve_run(classifier)) as address:
        yield address


def test_answers_are_those_of_the_network(address, classifier):
    response = requests.post(f"{address}/predict", json={"texts": TEXTS})
    assert response.status_code == 200
    assert response.json() == {"answers": classifier.answers(TEXTS)}
    health = requests.get(f"{address}/health").json()
    assert health == {"status": "ok", "task": "classification", "waiting": 0}
    assert "/predict" in requests.get(f"{address}/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ('{"texts": ["', 422, "JSON"),
        ('{"texts": []}', 422, "at least 1"),
        ('{"texts": [1]}', 422, "string"),
        ('{"texts": ["a"], "beam": 2}', 422, "beam"),
        ('{"texts": ["\\ud800"]}', 400, "not valid Unicode"),
        ('{"texts": ["a", "a", "a", "a", "a", "a"]}', 413, "expected at most 5"),
        ('{"texts": ["' + 1_001 * "a" + '"]}', 413, "expected at most 1,000"),
        ('{"texts": ["' + 30_000 * "a" + '"]}', 413, "more than 20,000 bytes"),
    ],
)
def test_bad_request_is_refused_with_the_reason(address, body, status, reason):
    headers = {"Content-Type": "application/json"}
    response = requests.post(f"{address}/predict", data=body, headers=headers)
    assert (response.status_code, reason in response.text) == (status, True), response.text


def test_body_without_a_length_is_counted(address):
    parts = (b"a" * 1_000 for _ in range(100))
    assert requests.post(f"{address}/predict", data=parts).status_code == 413


def test_slow_body_is_refused(address):
    host, port = address.removeprefix("http://").split(":")
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_other_query_is_refused_with_its_commands(address):
    response = requests.post(f"{address}/generate", json={"prompt": "goal"})
    assert response.status_code == 400
    assert "which generates no text; it can be used with" in response.json()["detail"]


def test_mixed_requests_are_answered_or_refused(classifier):
    expected = dict(zip(TEXTS, classifier.answers(TEXTS), strict=True))
    kinds = {
        **{text: ({"texts": [text]}, {200, 503}) for text in TEXTS},
        "huge": ({"texts": ["a" * 1_001]}, {413}),
        "many": ({"texts": ["a"] * 6}, {413}),
        "broken": ({"text": "a"}, {422}),
    }
    names = [list(kinds)[number % len(kinds)] for number in range(1_000)]
    sessions = threading.local()

    def ask(name: str) -> int:
        if not hasattr(sessions, "session"):
            sessions.session = requests.Session()
        body, statuses = kinds[name]
        response = sessions.session.post(f"{address}/predict", json=body, timeout=60)
        assert response.status_code in statuses, (name, response.text)
        if response.status_code == 200:
            assert response.json() == {"answers": [expected[name]]}
        return response.status_code

    with (
        serve(serve_run(classifier), waiting_texts=6) as address,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        statuses = list(pool.map(ask, names))
        assert requests.get(f"{address}/health").json()["waiting"] == 0
    assert len(statuses) == 1_000
    assert {200, 503} <= set(statuses)


def test_generated_text_is_streamed(tmp_path):
    run = untrained_run(make_language_config(tmp_path))
    expected = "".join(run.generate("the", 20, GenerationOptions(seed=3)))
    with serve(serve_run(run), streams=1, generated_tokens=20) as address:
        body = {"prompt": "the", "length": 20, "seed": 3}
        response = requests.post(f"{address}/generate", json=body, stream=True)
        assert response.status_code == 200
        busy = requests.post(f"{address}/generate", json={**body, "length": 21})
        assert busy.status_code == 413
        assert b"".join(response.iter_content(None)).decode() == expected


def test_network_without_text_is_refused():
    run = untrained_run(make_config({"task": "memory", "model": CELL}))
    with pytest.raises(InputError, match="which reads no text"):
        serve_run(run)


def test_exported_folder_is_served(classifier, tmp_path):
    folder = write_folder(classifier, tmp_path / "mine")
    with serve(load_network(folder)) as address:
        response = requests.post(f"{address}/predict", json={"texts": TEXTS})
        assert requests.get(f"{address}/health").json()["task"] == "classification"
        refusal = requests.post(f"{address}/generate", json={"prompt": "goal"})
    for actual, expected in zip(response.json()["answers"], classifier.answers(TEXTS), strict=True):
        assert actual["class"] == expected["class"]
        assert actual["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert refusal.status_code == 400
    assert "mine is an exported folder, which generates no text" in refusal.json()["detail"]


def test_no_code_of_an_exported_folder_is_run(classifier, tmp_path):
    folder = write_folder(classifier, tmp_path / "mine")
    (folder / "run.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputError, match=r"mine: run.py: differs .*; export the run again"):
        load_network(folder)
    path = folder / "fingerprints.json"
    fingerprints = json.loads(path.read_text())
    fingerprints["sha256"]["run.py"] = hashlib.sha256((folder / "run.py").read_bytes()).hexdigest()
    path.write_text(json.dumps(fingerprints))
    assert load_network(folder).answer(TEXTS[:1])[0]["class"] in classifier.classes
