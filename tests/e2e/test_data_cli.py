"""``nmoe-sim data``: listed, fetched from a server on this machine, cut, resumed, refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cifar_files import packed, shrink, write_folder
from conftest import TINY, Outcome, command

from nmoe_sim.nmoe.datasets import Cifar10, Cifar100, FashionMnist, Remote, RemoteFile

NAME = "cifar-10-binary.tar.gz"
CONTENT = packed(Cifar10)


@dataclass
class Server:
    """What a server on this machine has, does, and was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes after which the connection is closed."""
    knows_ranges: bool = True
    range_shift: int = 0
    """Bytes by which the server misses the range asked for."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on the loopback, gone after the test."""
    state = Server({f"/mirror/{NAME}": CONTENT})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            content, start = state.files.get(self.path), 0
            if content is None:
                self.send_error(404)
                return
            if asked is not None and state.knows_ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-")) + state.range_shift
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: state.cut_after])

        def log_message(self, *arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/mirror"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A machine without data, on which CIFAR is small; returns its data folder."""
    shrink(monkeypatch, Cifar10)
    file = RemoteFile(NAME, hashlib.md5(CONTENT).hexdigest(), len(CONTENT))
    monkeypatch.setattr(Cifar10, "remote", Remote("http://127.0.0.1:9/nobody", "https://page.example", (file,)))
    monkeypatch.delenv("NMOE_SIM_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("nmoe_sim.nmoe.datasets.files._SYSTEM_FOLDER", folder / "system")
    return folder / "xdg" / "nmoe-sim"


@pytest.fixture
def fetch(cli: Callable[..., Outcome], server: Server) -> Callable[..., Outcome]:
    """Fetch CIFAR-10 from the server on this machine."""
    return lambda *arguments: cli("data", "fetch", "cifar10", "--url", server.url, *arguments)


def refused(outcome: Outcome, *sayings: str) -> None:
    """One line, status 2, no traceback."""
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    for saying in sayings:
        assert saying in outcome.err


def left(machine: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in machine.rglob("*") if path.is_file()}


def test_a_fetched_data_set_is_whole_and_found(fetch: Any, server: Server, machine: Path, cli: Any) -> None:
    done = fetch()
    assert (done.status, done.err) == (0, "")
    assert done.out == f"cifar10: {machine / 'cifar10' / NAME}\n"
    assert left(machine) == {NAME: CONTENT}
    assert server.asked == [(f"/mirror/{NAME}", None)]
    assert Cifar10.locate() == (machine / "cifar10" / NAME,)
    again = fetch()
    assert again.status == 0
    assert again.out == f"cifar10: {machine / 'cifar10' / NAME}, here before; nothing was downloaded\n"
    assert len(server.asked) == 1
    assert str(machine / "cifar10" / NAME) in cli("data", "list").out


@pytest.mark.parametrize("where", ["named", "to"])
def test_the_folder_can_be_chosen(fetch: Any, folder: Path, monkeypatch: Any, where: str, machine: Path) -> None:
    if where == "named":
        monkeypatch.setenv("NMOE_SIM_DATA_DIR", "chosen")
        assert fetch().status == 0
        assert Cifar10.locate() is not None
    else:
        assert "set data.directory or NMOE_SIM_DATA_DIR to chosen" in fetch("--to", "chosen").out
        assert Cifar10.locate() is None
        assert Cifar10.locate("chosen") is not None
    assert left(folder) == {NAME: CONTENT}


@pytest.mark.parametrize("cut_after", [1, 1000, len(CONTENT) - 1])
def test_a_cut_download_goes_on_where_it_was_cut(fetch: Any, server: Server, machine: Path, cut_after: int) -> None:
    server.cut_after = cut_after
    refused(fetch(), f"closed after {cut_after:,} of {len(CONTENT):,} bytes; run again", "https://page.example")
    assert left(machine) == {f"{NAME}.part": CONTENT[:cut_after]}
    server.cut_after = None
    assert fetch().status == 0
    assert server.asked[1] == (f"/mirror/{NAME}", f"bytes={cut_after}-")
    assert left(machine) == {NAME: CONTENT}


def test_a_server_without_ranges_starts_again(fetch: Any, server: Server, machine: Path) -> None:
    server.cut_after, server.knows_ranges = 1000, False
    refused(fetch(), "closed after 1,000")
    server.cut_after = None
    assert fetch().status == 0
    assert left(machine) == {NAME: CONTENT}


def test_a_server_that_sends_another_part_is_not_believed(fetch: Any, server: Server, machine: Path) -> None:
    server.cut_after = 1000
    fetch()
    server.cut_after, server.range_shift = None, 5
    refused(fetch(), "another part of the file than it was asked for; run again")
    assert left(machine) == {}


@pytest.mark.parametrize("tail", [b"", b"more"])
def test_a_part_that_lacks_nothing_is_not_fetched_again(fetch: Any, machine: Path, tail: bytes) -> None:
    (machine / "cifar10").mkdir(parents=True)
    (machine / "cifar10" / f"{NAME}.part").write_bytes(CONTENT + tail)
    if tail:
        refused(fetch(), "the MD5 is ")
        assert left(machine) == {}
    else:
        assert fetch().status == 0
        assert left(machine) == {NAME: CONTENT}


def test_a_wrong_checksum_is_named_and_nothing_is_kept(fetch: Any, server: Server, machine: Path) -> None:
    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.files[f"/mirror/{NAME}"] = other
    both = (hashlib.md5(other).hexdigest(), hashlib.md5(CONTENT).hexdigest())
    refused(fetch(), f"{server.url}/{NAME}", *both, "it was removed. Run again, or choose another --url")
    assert left(machine) == {}


def test_what_was_there_stays_until_the_new_file_is_right(fetch: Any, server: Server, machine: Path) -> None:
    (machine / "cifar10").mkdir(parents=True)
    (machine / "cifar10" / NAME).write_bytes(b"broken")
    server.cut_after = 10
    refused(fetch(), "closed after 10")
    assert left(machine)[NAME] == b"broken"
    server.cut_after = None
    assert fetch().status == 0
    assert left(machine) == {NAME: CONTENT}


def test_no_such_file_on_the_server(fetch: Any, server: Server, machine: Path) -> None:
    server.files.clear()
    refused(fetch(), f"{server.url}/{NAME}: the server answers 404 Not Found; choose another --url")
    assert left(machine) == {}


def test_no_server(cli: Any, machine: Path) -> None:
    refused(
        cli("data", "fetch", "cifar10"),
        f"http://127.0.0.1:9/nobody/{NAME}: can't be fetched: ",
        "refused; run again to go on from there, or get the file from https://page.example",
    )
    assert left(machine) == {}


@pytest.mark.parametrize("url", ["file:///etc", "ftp://a/b", "nonsense", "http://"])
def test_addresses_of_another_kind_are_refused(cli: Any, url: str) -> None:
    refused(cli("data", "fetch", "cifar10", "--url", url), f"--url {url}: must be an address that begins with http")


def test_a_broken_copy_that_would_be_found_first_is_named(fetch: Any, machine: Path) -> None:
    write_folder(Cifar10, machine)
    (machine / "test_batch.bin").write_bytes(b"")
    refused(fetch(), f"{machine}/data_batch_1.bin: comes first in the search", "test_batch.bin: 0 bytes, not the")


def test_a_copy_in_another_form_is_kept(fetch: Any, server: Server, machine: Path) -> None:
    write_folder(Cifar10, machine / "cifar-10-batches-bin")
    assert "nothing was downloaded" in fetch().out
    assert server.asked == []


def test_a_folder_that_is_a_file(fetch: Any, folder: Path) -> None:
    (folder / "chosen").write_text("")
    refused(fetch("--to", "chosen"), "chosen/cifar10: can't be written: ", "choose another --to")


def test_names(cli: Any) -> None:
    refused(cli("data", "fetch", "cifar_10"), "cifar_10: no such data set; did you mean 'cifar10'?")
    refused(cli("data", "fetch", "x"), "x: no such data set; one of digits, ")
    refused(cli("data"), "COMMAND")
    done = cli("data", "fetch", "digits")
    assert (done.status, done.out) == (0, "digits: nothing to fetch\n")


def test_several_files(
    cli: Any, server: Server, fashion_files: Path, monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    import gzip

    published = {file.name: (fashion_files / file.name.removesuffix(".gz")) for file in FashionMnist.remote.files}  # type: ignore[union-attr]
    packed_files = {
        name: gzip.compress(path.read_bytes(), mtime=0) if path.exists() else (fashion_files / name).read_bytes()
        for name, path in published.items()
    }
    server.files = {f"/mirror/{name}": content for name, content in packed_files.items()}
    files = tuple(RemoteFile(name, hashlib.md5(c).hexdigest(), len(c)) for name, c in packed_files.items())
    monkeypatch.setattr(FashionMnist, "remote", Remote(server.url, "https://page.example", files))
    monkeypatch.setattr(FashionMnist, "num_train", 120)
    monkeypatch.setattr(FashionMnist, "num_test", 60)
    lost = f"/mirror/{files[3].name}"
    kept = server.files.pop(lost)
    refused(cli("data", "fetch", "fashion_mnist"), "404")
    server.files[lost] = kept
    assert cli("data", "fetch", "fashion_mnist").status == 0
    asked = [path for path, _ in server.asked]
    assert [asked.count(f"/mirror/{file.name}") for file in files] == [1, 1, 1, 2]
    assert left(machine) == packed_files


def test_list_says_what_there_is_and_what_to_do(cli: Any) -> None:
    out = cli("data", "list").out
    for text in ("digits", "1,347 + 450, 8×8 grey", "nothing to fetch", "60,000 + 10,000, 28×28 grey", "MIT", "169 MB"):
        assert text in out
    assert "not here: run 'nmoe-sim data fetch fashion_mnist', or" in out


def test_published_checksums_have_the_form_of_an_md5() -> None:
    for spec in (FashionMnist, Cifar100):
        assert spec.remote is not None
        for file in spec.remote.files:
            assert len(bytes.fromhex(file.md5)) == 16


def test_the_command_takes_nothing_but_the_published_archive(server: Server, folder: Path) -> None:
    """In a process of its own, with the true checksum, which no small file has."""
    done = command(
        "data", "fetch", "cifar10", "--url", server.url, "--to", "here", cwd=folder, environment={"no_proxy": "*"}
    )
    refused(done, "not c32a1d4ab5d03f1284b67883e8d87530")
    assert [path.name for path in (folder / "here").rglob("*")] == ["cifar10"]


def test_a_fetched_set_runs(fetch: Any, cli: Any, folder: Path) -> None:
    fetch()
    (folder / "tiny.yaml").write_text(TINY)
    setting = "data={kind: cifar10, partition: {kind: quantity_power_law}, feature_skew: {kind: combined}}"
    done = cli("run", "tiny.yaml", "--quiet", "--set", setting, "--set", "inference.duration_s=0.5")
    assert done.status == 0, done.err
