"""A stub of the Hugging Face Hub: the routes that huggingface_hub calls to create, commit to and read a repository."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "a" * 34


class Hub:
    """Repositories with their commits: name -> commit -> file -> content; `private`: what was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.address = ""

    def latest(self, repository: str) -> dict[str, bytes]:
        """The files of the newest commit."""
        commits = self.repositories[repository]
        return commits[list(commits)[-1]] if commits else {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        found: Hub = self.server.hub  # type: ignore[attr-defined]
        return found

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/objects/"):
            self.answer({"error": "Invalid username or password."}, 401)
            return
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path.startswith("/objects/"):
            self.hub.objects[parts[1]] = body
            self.answer({})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.batch(json.loads(body))
        elif parts[:2] == ["api", "models"]:
            self.model("/".join(parts[2:4]), parts[4:], body)
        elif parts[2:3] == ["resolve"]:
            self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.answer({"error": f"unexpected {path}"}, 500)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            self.answer({"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"}, 409)
            return
        self.hub.repositories[name] = {}
        self.hub.private[name] = wanted.get("private", wanted.get("visibility") == "private")
        self.answer({"url": f"{self.hub.address}/{name}", "name": name})

    def batch(self, wanted: dict[str, Any]) -> None:
        href = f"{self.hub.address}/objects/"
        objects = [{**one, "actions": {"upload": {"href": href + one["oid"]}}} for one in wanted["objects"]]
        self.answer({"transfer": "basic", "objects": objects})

    def model(self, name: str, action: list[str], body: bytes) -> None:
        commits = self.hub.repositories.get(name)
        if commits is None:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif action[:1] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self.answer({"files": modes})
        elif action[:1] == ["commit"]:
            files = dict(self.hub.latest(name))
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    files[line["value"]["path"]] = self.hub.objects[line["value"]["oid"]]
            commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
            commits[commit] = files
            self.answer(
                {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.address}/{name}/commit/{commit}"}
            )
        elif action[:1] == ["revision"] or not action:
            revision = action[1] if action else "main"
            commit = list(commits)[-1] if revision == "main" and commits else revision
            if commit not in commits:
                self.answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
                return
            self.answer({"id": name, "sha": commit, "siblings": [], "private": True, "downloads": 0, "tags": []})
        elif action[:1] == ["tree"]:
            files = commits[action[1]]
            self.answer(
                [
                    {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": path}
                    for path, content in files.items()
                ]
            )
        else:
            self.answer({"error": f"unexpected {action}"}, 500)

    def file(self, name: str, commit: str, path: str) -> None:
        content = self.hub.repositories[name][commit][path]
        self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=commit)


@contextmanager
def stub_hub() -> Iterator[Hub]:
    """Run the stub on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = server.hub = Hub()  # type: ignore[attr-defined]
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
