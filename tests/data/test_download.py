import gzip
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
import pooch
import pytest

from throughtime.data.download import FILES, ChecksumError, DownloadError, RemoteFile, fetch

CONTENT = b"It was the best of times, it was the worst of times.\n" * 50
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No mirror, and a cache of its own for every test."""
    monkeypatch.delenv("THROUGHTIME_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "throughtime" / "data"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("THROUGHTIME_DATA", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", fail)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server on this machine that gives `content`, and counts in `requests` how often."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            running.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(running.content)))
            self.end_headers()
            self.wfile.write(running.content)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "*")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.content, running.requests = CONTENT, 0
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def url_of(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/text.txt"


def files_below(folder: Path) -> list[str]:
    """The names of the files, without those that only hold a lock."""
    return [f.name for f in folder.rglob("*") if f.is_file() and f.suffix != ".lock"]


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_the_mirror_is_read_and_unpacked_without_a_download(mirror, no_network, name):
    (mirror / name).write_bytes(gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT)
    assert fetch(RemoteFile(name, SHA256, "http://example.invalid")) == CONTENT


def test_other_content_in_the_mirror_is_refused_and_not_downloaded_over(mirror, no_network):
    (mirror / "text.txt").write_bytes(CONTENT + b"!")
    with pytest.raises(ChecksumError) as error:
        fetch(RemoteFile("text.txt", SHA256, "http://example.invalid"))
    got = hashlib.sha256(CONTENT + b"!").hexdigest()
    for words in (str(mirror / "text.txt"), f"expected content of sha256 {SHA256}", got, "Delete"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip.compress(CONTENT)[:-20], id="truncated"),
        pytest.param(CONTENT, id="not gzip"),
        pytest.param(gzip.compress(CONTENT)[:10] + b"\xff" * 40, id="damaged inside"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_damaged_gzip_file_is_refused(mirror, packed):
    (mirror / "text.txt.gz").write_bytes(packed)
    with pytest.raises(ChecksumError, match=r"text\.txt\.gz: expected .*, got .*\. Delete"):
        fetch(RemoteFile("text.txt.gz", SHA256, None))


@pytest.mark.parametrize("with_mirror", [False, True])
def test_without_mirror_and_network_the_error_says_what_to_do(
    with_mirror, cache, tmp_path, monkeypatch, no_network
):
    if with_mirror:
        monkeypatch.setenv("THROUGHTIME_DATA", str(tmp_path))
    with pytest.raises(DownloadError) as error:
        fetch(FILES["tinyshakespeare"]["all"])
    looked = f"not in THROUGHTIME_DATA={tmp_path}" if with_mirror else "THROUGHTIME_DATA is not set"
    wanted = ("tinyshakespeare/input.txt", "raw.githubusercontent.com", "no route", "--data PATH")
    for words in ('data set "tinyshakespeare"', looked, *wanted):
        assert words in str(error.value)
    assert files_below(cache) == []


def test_a_file_that_no_upstream_has_is_only_looked_for_in_the_mirror(no_network):
    with pytest.raises(DownloadError, match=r'"ptb-char".*test\.txt\.gz.*nowhere to download'):
        fetch(FILES["ptb-char"]["test"])


def test_a_cache_that_cannot_be_written_is_the_reason_in_the_error(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"File exists|Not a directory"):
        fetch(RemoteFile("text.txt", SHA256, "http://example.invalid"))


def test_a_download_is_kept_in_the_cache_under_the_unpacked_name(server, cache):
    file = RemoteFile("set/text.txt.gz", SHA256, url_of(server))
    assert fetch(file) == fetch(file) == CONTENT
    assert server.requests == 1
    assert (cache / "set" / "text.txt").read_bytes() == CONTENT


def test_a_folder_without_the_file_does_not_hinder_the_download(server, mirror):
    assert fetch(RemoteFile("text.txt", SHA256, url_of(server))) == CONTENT
    assert files_below(mirror) == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(server, cache):
    cache.mkdir(parents=True)
    (cache / "text.txt").write_bytes(CONTENT[:100])
    assert fetch(RemoteFile("text.txt", SHA256, url_of(server))) == CONTENT
    assert server.requests == 1


@pytest.mark.parametrize(
    "content",
    [pytest.param(CONTENT[:-1] + b"!", id="changed"), pytest.param(CONTENT[:99], id="broken off")],
)
def test_a_bad_download_leaves_nothing_behind(server, cache, content):
    server.content = content
    with pytest.raises(DownloadError, match=re.escape(url_of(server))):
        fetch(RemoteFile("text.txt", SHA256, url_of(server)))
    assert files_below(cache) == []


def test_a_packed_download_is_unpacked_and_kept_so(server, cache):
    server.content = gzip.compress(CONTENT)
    file = RemoteFile("set/text.txt.gz", SHA256, url_of(server) + ".gz")
    assert fetch(file) == fetch(file) == CONTENT
    assert server.requests == 1
    assert [path.name for path in (cache / "set").iterdir() if path.suffix != ".lock"] == [
        "text.txt"
    ]


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(CONTENT)[:-20], gzip.compress(b"other")],
    ids=["no gzip", "broken off", "other"],
)
def test_a_bad_packed_download_leaves_nothing_behind(server, cache, content):
    server.content = content
    with pytest.raises(DownloadError, match=re.escape(url_of(server))):
        fetch(RemoteFile("text.txt.gz", SHA256, url_of(server) + ".gz"))
    assert {path.suffix for path in cache.iterdir()} <= {".lock"}


def test_several_at_once_download_a_file_once(server):
    file = RemoteFile("text.txt", SHA256, url_of(server))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, [file] * 4)) == [CONTENT] * 4
    assert server.requests == 1


def test_every_entry_is_well_formed_and_no_two_share_a_file():
    files = [file for parts in FILES.values() for file in parts.values()]
    for file in files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert not Path(file.mirror).is_absolute()
        # A commit, not a branch: what it names cannot change.
        assert file.url is None or re.search("/[0-9a-f]{40}/", file.url)
    assert len({file.mirror for file in files}) == len(files)
    for parts in FILES.values():
        assert set(parts) == {"all"} or "all" not in parts
