"""The server of the page: who may ask, what is refused, and how it begins and ends."""

import http.client
import importlib
import json
import signal
import subprocess
import sys
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from throughtime.inspection.page import server
from throughtime.inspection.page.files import FILES
from throughtime.inspection.page.server import application, serve

PORT, TOKEN = 8123, "a-token"
BASE = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def client(sessions):
    app = application(sessions["language"], TOKEN, PORT)
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield client


def ask(client, name, request, **headers):
    return client.post(f"/{TOKEN}/api/{name}", json=request, headers=headers)


def test_the_page_and_its_files(client):
    page = client.get(f"/{TOKEN}/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in page.text
    for name in FILES:
        file = client.get(f"/{TOKEN}/{name}")
        assert file.status_code == 200
        assert file.headers["content-type"].split(";")[0] in (
            "text/html",
            "text/javascript",
            "text/css",
        )
    assert {"index.html", "main.js", "page_style.css"} <= set(FILES)
    assert client.get(f"/{TOKEN}").headers["location"] == f"/{TOKEN}/"


def test_every_answer_keeps_other_pages_out(client):
    for answer in (client.get(f"/{TOKEN}/"), ask(client, "runs", {}), client.get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_requests_are_answered_as_json(client):
    answer = ask(client, "runs", {})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["runs"][0]["task"] == "char-lm"
    answer = ask(client, "read", {"run": 0, "text": ""})
    assert answer.status_code == 400
    assert answer.json() == {"error": "expected at least one character, got an empty text."}


@pytest.mark.parametrize(
    "path",
    ["/", "/api/runs", "/wrong/", "/wrong/api/runs", f"/{TOKEN}x/", "/%00/", f"//{TOKEN}/", "/ä/"],
)
def test_a_wrong_token(client, path):
    for answer in (client.get(path), client.post(path, json={})):
        assert answer.status_code == 403
        assert "The token in the address is wrong" in answer.text


@pytest.mark.parametrize(
    "path", ["secret", "../server.py", "..%2fserver.py", "%2e%2e/session.py", "__init__.py", "%00"]
)
def test_only_files_of_the_page_are_served(client, path):
    assert client.get(f"/{TOKEN}/{path}").status_code in (403, 404)


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"0.0.0.0:{PORT}", ""],
)
def test_a_foreign_host(client, host):
    answer = client.get(f"/{TOKEN}/", headers={"Host": host})
    assert answer.status_code == 403
    assert "Host header" in answer.text
    assert ask(client, "runs", {}, Host=host).status_code == 403


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"])
def test_the_hosts_of_this_machine(client, host):
    assert client.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": BASE, "Sec-Fetch-Site": "none"},
    ],
)
def test_requests_of_other_pages(client, headers):
    answer = ask(client, "runs", {}, **headers)
    assert answer.status_code == 403
    assert answer.text == "Requests of other pages are refused.\n"


def test_requests_of_the_page_itself(client):
    headers = {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    assert ask(client, "runs", {}, **headers).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_request_of_another_type(client, kind):
    answer = client.post(f"/{TOKEN}/api/runs", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]


def test_other_methods(client):
    assert client.get(f"/{TOKEN}/api/runs").status_code == 405
    assert client.put(f"/{TOKEN}/api/runs", json={}).status_code == 405
    assert client.options(f"/{TOKEN}/api/runs").status_code == 405
    assert client.post(f"/{TOKEN}/", json={}).status_code == 405


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "read"),
        (b"{", "read"),
        (b"[]", "expected an object"),
        (b"\xff", "UTF-8"),
        (b'{"run": 0, "text": NaN}', "read"),
        (b'{"run": 0, "run": 0, "text": "a"}', "read"),
        (b"[" * 5000, "read"),
        (b'{"run": 0, "text": "\\ud800"}', "the vocabulary"),
        (b'{"run": 1' + b"0" * 5000 + b"}", "read"),
    ],
)
def test_bodies_that_are_no_request(client, content, words):
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/{TOKEN}/api/read", content=content, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_megabyte_that_is_pasted_at_once(client):
    answer = ask(client, "read", {"run": 0, "text": "a" * 1_000_000, "values": []})
    assert answer.status_code == 400
    assert "1,000,000 characters" in answer.json()["error"]
    assert "at most 10,000" in answer.json()["error"]
    answer = ask(client, "read", {"run": 0, "text": "a" * 3_000_000, "values": []})
    assert answer.status_code == 400
    assert "1,048,576 bytes" in answer.json()["error"]
    assert "at most 10,000" in answer.json()["error"]
    assert ask(client, "runs", {}).status_code == 200


def test_a_fault_of_ours_is_told(client, sessions, monkeypatch):
    def broken(name, request):
        raise RuntimeError("it broke")

    monkeypatch.setattr(sessions["language"], "answer", broken)
    quiet = TestClient(client.app, base_url=BASE, raise_server_exceptions=False)
    answer = ask(quiet, "runs", {})
    assert answer.status_code == 500
    assert answer.json() == {"error": "RuntimeError: it broke (a fault of throughtime)"}


def test_a_package_that_is_missing(folders, monkeypatch):
    real = importlib.import_module

    def missing(name):
        if name == "uvicorn":
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'uvicorn is missing.*pip install "throughtime\[lens\]"'):
        serve([folders["language"]])


def test_a_port_that_is_taken(folders):
    sockets = server._bound(0)
    try:
        port = sockets[0].getsockname()[1]
        with pytest.raises(ValueError, match=f"port: {port} cannot be had"):
            serve([folders["language"]], port=port)
    finally:
        for listening in sockets:
            listening.close()
    with pytest.raises(ValueError, match="port: 70000 cannot be had"):
        serve([folders["language"]], port=70000)


def test_only_loopback_addresses_are_bound():
    sockets = server._bound(0)
    try:
        addresses = [listening.getsockname()[:2] for listening in sockets]
        assert {host for host, _ in addresses} <= {"127.0.0.1", "::1"}
        assert len({port for _, port in addresses}) == 1
    finally:
        for listening in sockets:
            listening.close()


def post(address, name, request):
    parts = urlsplit(address)
    headers = {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
        connection.request("POST", f"{parts.path}api/{name}", json.dumps(request), headers)
        with connection.getresponse() as response:
            assert response.status == 200
            return json.loads(response.read())


def test_a_server_from_its_address_to_ctrl_c(folders):
    code = (
        "import sys; from throughtime.inspection.page.server import serve; serve(sys.argv[1:], "
        "say=lambda line: print(line, flush=True))"
    )
    command = [sys.executable, "-c", code, str(folders["language"]), str(folders["gru"])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        address = run.stdout.readline().strip()
        try:
            assert "Ctrl-C" in run.stdout.readline()
            answers = {}

            def ask_all(index):
                requests = [{"run": index, "text": "the cat"[:n]} for n in range(1, 8)]
                answers[index] = [post(address, "read", request) for request in requests]

            clients = [threading.Thread(target=ask_all, args=(i,)) for i in range(2)]
            for one in clients:
                one.start()
            for one in clients:
                one.join()
            assert [a["steps"][""] for a in answers[0]] == [a["steps"][""] for a in answers[1]]
            assert answers[0][-1]["top"] != answers[1][-1]["top"]
            run.send_signal(signal.SIGINT)
            out, errors = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 0
    assert out == "The server has ended.\n"
    assert errors == ""
