"""The Hugging Face hub's protocol on 127.0.0.1, as much as downloads need, with the faults that networks and servers have."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

LOGIN_PAGE = b"<html><body>Welcome to our network. Please log in.</body></html>"
LARGE = (".safetensors", ".bin", ".pth", ".png")  # what the hub keeps as LFS files


@dataclass
class Repository:
    """Files of the newest commit; every change of `files` is to be followed by `commit`."""

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)

    def commit(self) -> str:
        sha = hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()
        self.commits[sha] = dict(self.files)
        self.revisions["main"] = sha
        return sha


@dataclass
class Faults:
    """What goes wrong, by what a path ends with: a fault is used up unless it is said to stay."""

    drop_after: dict[str, list[int]] = field(default_factory=dict)  # bytes of the answer, then the connection closes
    stall_after: dict[str, int] = field(default_factory=dict)  # bytes of the answer, then silence
    other_bytes: dict[str, bytes] = field(default_factory=dict)  # what is sent in place of the file
    other_size: dict[str, int] = field(default_factory=dict)  # what HEAD says
    status: dict[str, int] = field(default_factory=dict)
    page: set[str] = field(default_factory=set)  # a login page with 200
    ignores_range: bool = False


class Hub(ThreadingHTTPServer):
    """`repositories` by name; `requests` are (method, path, Range) in their order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent = 0  # bytes of files
        self.uploaded: dict[str, bytes] = {}  # by sha256
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.other_host = self.url.replace(
            "127.0.0.1", "localhost"
        )  # files are redirected to, as a CDN is another host
        self.over = threading.Event()

    def add(self, name: str, files: Mapping[str, bytes], **about: Any) -> Repository:
        self.repositories[name] = Repository(dict(files), **about)
        self.repositories[name].commit()
        return self.repositories[name]

    def file(self, sha256: str) -> bytes | None:
        commits = [commit for repo in self.repositories.values() for commit in repo.commits.values()]
        blobs = (content for commit in commits for content in commit.values())
        return next((content for content in blobs if sha256_hex(content) == sha256), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


def sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Nothing to the terminal."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        """What an upload asks for: a repository, how to send each file, where the large ones go, and the commit."""
        path, body = unquote(urlsplit(self.path).path), self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.command, path, None))
        if self.headers.get("Authorization") != "Bearer hf_allowed":
            said = "Invalid credentials in Authorization header"
            return self.send(401, json.dumps({"error": said}).encode(), {"X-Error-Message": said})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories.setdefault(name, Repository({}, private=asked.get("visibility") == "private"))
            return self.reply({"url": f"{self.server.url}/{name}"})
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.server.url}/put/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return self.reply({"transfer": "basic", "objects": objects})
        name, _, end = path.removeprefix("/api/models/").rpartition("/")[0].rpartition("/")
        if end == "preupload":
            files = [item["path"] for item in json.loads(body)["files"]]
            modes = [{"path": f, "uploadMode": "lfs" if large(f) else "regular", "shouldIgnore": False} for f in files]
            return self.reply({"files": modes})
        assert end == "commit"
        repo = self.server.repositories[name]
        for item in map(json.loads, body.splitlines()):
            value = item["value"]
            if item["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repo.files[value["path"]] = self.server.uploaded[value["oid"]]
        sha = repo.commit()
        self.reply({"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.uploaded[sha256_hex(content)] = content
        self.send(200, b"", {})

    def reply(self, content: Mapping[str, Any]) -> None:
        self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self) -> None:
        path, faults = unquote(urlsplit(self.path).path), self.server.faults
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        if status := next((status for end, status in faults.status.items() if path.endswith(end)), None):
            return self.send(status, b"", {})
        if any(path.endswith(end) for end in faults.page):
            return self.send(200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})
        if path.startswith("/cdn/"):
            content = self.server.file(path.split("/")[2])
            assert "Authorization" not in self.headers  # a token is for the hub alone
            return self.send(404, b"", {}) if content is None else self.send_file(path, content)
        if path.startswith("/api/models/"):
            return self.about(path.removeprefix("/api/models/"))
        owner, name, word, revision, file = path[1:].split("/", 4)
        assert word == "resolve"
        self.resolve(f"{owner}/{name}", revision, file)

    def commit_of(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository and commit; None where an error was sent."""
        repo = self.server.repositories.get(name)
        if repo is None:
            self.send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return None
        sha = repo.revisions.get(revision, revision)
        if sha not in repo.commits:
            self.send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
            return None
        return repo, sha

    def about(self, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        if (found := self.commit_of(name, revision or "main")) is None:
            return
        repo, sha = found
        siblings = [
            {"rfilename": file, "size": len(content), "blobId": git_sha(content)}
            | (
                {"lfs": {"sha256": sha256_hex(content), "size": len(content), "pointerSize": 134}}
                if large(file)
                else {}
            )
            for file, content in repo.commits[sha].items()
        ]
        about = {
            "id": name,
            "modelId": name,
            "sha": sha,
            "siblings": siblings,
            "cardData": repo.card,
            "gated": repo.gated,
        }
        self.send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def resolve(self, name: str, revision: str, file: str) -> None:
        if (found := self.commit_of(name, revision)) is None:
            return
        repo, sha = found
        if repo.gated and self.headers.get("Authorization") != "Bearer hf_allowed":
            return self.send(401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"})
        content = repo.commits[sha].get(file)
        if content is None:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_sha(content)}"'}
        if not large(file):
            return self.send_file(f"/{file}", content, headers)
        headers |= {"X-Linked-ETag": f'"{sha256_hex(content)}"', "X-Linked-Size": str(len(content))}
        size = next((size for end, size in self.server.faults.other_size.items() if file.endswith(end)), None)
        headers |= {} if size is None else {"X-Linked-Size": str(size)}
        self.send(302, b"", headers | {"Location": f"{self.server.other_host}/cdn/{sha256_hex(content)}/{file}"})

    def send_file(self, path: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        content = next((other for end, other in self.server.faults.other_bytes.items() if path.endswith(end)), content)
        asked, start = self.headers.get("Range"), 0
        if asked and not self.server.faults.ignores_range:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                return self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        parts = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self.send(206 if start else 200, content[start:], {"Accept-Ranges": "bytes", **(headers or {}), **parts}, path)

    def send(self, status: int, body: bytes, headers: Mapping[str, str], path: str = "") -> None:
        faults = self.server.faults
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        drops = next((drops for end, drops in faults.drop_after.items() if drops and path.endswith(end)), None)
        stop = next((stop for end, stop in faults.stall_after.items() if path and path.endswith(end)), None)
        stop = drops.pop(0) if drops else stop
        self.wfile.write(body[:stop])
        self.server.sent += len(body[:stop]) if path else 0
        if drops is not None and stop is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        elif stop is not None:
            self.wfile.flush()
            self.server.over.wait(20)
            self.close_connection = True


def large(file: str) -> bool:
    return file.endswith(LARGE)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub during the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        hub.shutdown()
        hub.server_close()


def point_at(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let this process use `hub`, with caches in `folder`; return what does the same in the environment of another."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "hf" / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache")}
