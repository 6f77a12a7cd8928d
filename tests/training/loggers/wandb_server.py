"""A W&B server on the loopback address that keeps artifacts, for the real client.

Its answers are what wandb 0.31 requests; they say nothing about how the real server decides.
"""

import base64
import json
import re
import threading
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WandbServer(ThreadingHTTPServer):
    """Keeps what runs upload; `artifacts` by id, `blobs` by path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.artifacts, self.blobs = {}, {}

    def answer(self, operation, given):
        """Return the data of a GraphQL response."""
        project = {"id": "p", "internalId": "p", "name": "color"}
        project |= {"entity": {"id": "e", "name": "me"}}
        source = {"__typename": "ArtifactSequence", "name": "model-abc", "project": project}
        if operation == "Viewer":
            names = ("id", "entity", "username", "email")
            return {"viewer": dict.fromkeys(names, "me") | {"flags": "{}", "teams": {"edges": []}}}
        if operation == "UpsertBucket":
            bucket = {"id": "b", "name": given["name"], "displayName": given["displayName"]}
            bucket |= {"config": "{}", "sweepName": None, "historyLineCount": 0, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [self._upload(f"run/{name}", name=name) for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if operation == "CreateArtifact":
            key = f"artifact{len(self.artifacts)}"
            self.artifacts[key] = {"files": {}, "index": len(self.artifacts)} | given["input"]
            artifact = {"id": key, "state": "PENDING"}
            artifact |= {"artifactSequence": {"id": "s", "latestArtifact": None}}
            return {"createArtifact": {"artifact": artifact}}
        if operation == "CreateArtifactManifest":
            file = self._upload(f"{given['artifactID']}/manifest", id="f", name=given["name"])
            return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
        if operation == "CreateArtifactFiles":
            nodes = []
            for spec in given["input"]["artifactFiles"]:
                path = f"{spec['artifactID']}/files/{spec['name']}"
                self.artifacts[spec["artifactID"]]["files"][spec["name"]] = path
                nodes.append(self._upload(path, id=path, name=spec["name"], storagePath=path))
                nodes[-1] |= {"uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}
            edges = [{"node": node} for node in nodes]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if operation == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}
        if operation == "ArtifactMembershipByName":
            if (found := self.find(given["name"])) is None:
                return {"project": {"artifactCollectionMembership": None}}
            key, kept = found
            artifact = {"__typename": "Artifact", "id": key, "artifactSequence": source}
            artifact |= {"versionIndex": kept["index"], "artifactType": {"name": "model"}}
            artifact |= {"metadata": kept["metadata"], "digest": kept["digest"], "size": 1}
            artifact |= {"state": "COMMITTED", "fileCount": 1, "commitHash": "c", "tags": []}
            artifact |= dict.fromkeys(("description", "historyStep"))
            artifact |= {"ttlIsInherited": False, "ttlDurationSeconds": 0, "updatedAt": None}
            artifact |= {"createdAt": "2026-01-01", "digestAlgorithm": "MANIFEST_MD5"}
            member = {"__typename": "ArtifactCollectionMembership", "id": key, "aliases": []}
            member |= {"versionIndex": kept["index"], "createdAt": "2026-01-01"}
            member |= {"artifactCollection": source, "artifact": artifact}
            return {"project": {"artifactCollectionMembership": member}}
        if operation == "FetchArtifactManifest":
            file = {"__typename": "File", "directUrl": f"{self.url}/{given['id']}/manifest"}
            return {"artifact": {"currentManifest": {"file": file}}}
        if operation == "GetArtifactMembershipFileUrls":
            _, kept = self.find(f"{given['collection']}:{given['alias']}")
            nodes = [
                {"__typename": "File", "name": name, "directUrl": f"{self.url}/{path}"}
                for name, path in kept["files"].items()
            ]
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            files = {"pageInfo": page, "edges": [{"node": node} for node in nodes]}
            membership = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
            return {"project": {"artifactCollection": membership}}
        return {"project": None, "viewer": None}

    def find(self, name):
        """Return id and content of the newest artifact with a name and alias or version."""
        collection, _, alias = name.partition(":")
        for key, kept in reversed(self.artifacts.items()):
            aliases = {each["alias"] for each in kept["aliases"]} | {f"v{kept['index']}"}
            if kept["artifactCollectionName"] == collection and alias in aliases:
                return key, kept
        return None

    def _upload(self, path, **fields):
        fields |= {"displayName": path, "uploadHeaders": []}
        return fields | {"uploadUrl": f"{self.url}/{path}"}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        out = b"{}"
        if self.path == "/graphql":
            asked = json.loads(body)
            operation = re.search(r"(?:query|mutation) (\w+)", asked["query"])[1]
            data = self.server.answer(operation, asked.get("variables") or {})
            out = json.dumps({"data": data}).encode()
        elif self.command == "PUT":
            self.server.blobs[self.path.lstrip("/")] = body
        elif self.command == "GET":
            out = self.server.blobs[self.path.lstrip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(out)))
        self.send_header("ETag", base64.b64encode(md5(body).digest()).decode())
        self.end_headers()
        self.wfile.write(out)

    do_POST = do_PUT = do_HEAD = do_GET


@contextmanager
def serving():
    """Run a server in a thread."""
    with WandbServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
