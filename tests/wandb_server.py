"""A stub of W&B's server on the loopback address, for W&B's own agent and client.

Each answer says which function of wandb 0.31 reads it. GraphQL documents are told apart by the name
of their operation; those of the SDK's service are compiled into `wandb/bin/wandb-core`.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import signal
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

ENTITY = "lab"


class WandbServer(ThreadingHTTPServer):
    """The server, with one sweep; its grid is handed out once, whatever becomes of the runs."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sweep = {}  # config, state
        self.agents = []  # host of each
        self.handed = {}  # arguments of each run, by id
        self.runs = {}  # what was logged to each run, by id
        self.artifacts = {}  # by id
        self.blobs = {}  # uploaded files, by path
        self.unknown = Counter()  # operations without an answer
        self._lock = threading.Lock()
        self._grid = iter(())

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def answer(self, command, path, body):
        """Return the content of a response."""
        with self._lock:
            if path == "/graphql":
                request = json.loads(body)
                name = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
                data = self._graphql(name, request.get("variables") or {})
                return json.dumps({"data": data}).encode()
            if path.endswith("/file_stream"):
                self._file_stream(path.split("/")[-2], json.loads(body))
                return b'{"limits": {}}'
            if command == "PUT":
                self.blobs[path.lstrip("/")] = body
            # Else telemetry, and `HEAD /` of our own check.
            return self.blobs.get(path.lstrip("/"), b"{}") if command == "GET" else b"{}"

    def _graphql(self, name, variables):
        operation = getattr(self, name, None)
        if operation is None:
            self.unknown[name] += 1
            return {"project": None, "viewer": None}
        return operation(**variables)

    def Viewer(self):
        """`default_entity` of wandb.apis.public.Api; wandb_login verifies the key by it."""
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {
            "viewer": {
                **{"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}"},
                "teams": teams,
            }
        }

    def ServerFeaturesQuery(self):
        """featurechecker of wandb-core: no optional feature."""
        return {"serverInfo": {"features": []}}

    def UpsertSweep(self, config=None, projectName=None, state=None, **_):
        """`_upsert_sweep` (wandb sweep) and `_set_sweep_state` (wandb sweep --cancel)."""
        if config is None:
            self.sweep["state"] = state
            return {"upsertSweep": {"sweep": {"name": self.sweep["name"]}}}
        self.sweep = {"name": "abcd1234", "config": config, "state": "RUNNING"}
        self.sweep["project"] = projectName
        parameters = yaml.safe_load(config)["parameters"]
        names = list(parameters)
        values = [parameters[n].get("values") or [parameters[n]["value"]] for n in names]
        self._grid = (dict(zip(names, each, strict=True)) for each in itertools.product(*values))
        return {
            "upsertSweep": {
                "sweep": {"name": self.sweep["name"], "project": self._project()},
                "configValidationWarnings": [],
            }
        }

    def _project(self):
        entity = {"id": "e", "name": ENTITY}
        name = self.sweep.get("project", "color")
        return {"id": "p", "internalId": "p", "name": name, "entity": entity}

    def SweepWithRuns(self, **_):
        """`_sweep_with_runs`: the agent takes its command from the configuration."""
        keys = ("id", "name", "state", "config")
        sweep = dict(zip(keys, ("s", *(self.sweep[key] for key in keys[1:])), strict=True))
        return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}

    def GetSweep(self, **_):
        """`Api.sweep`."""
        keys = ("name", "state", "config")
        return {"project": {"sweep": {"id": "s"} | {key: self.sweep[key] for key in keys}}}

    def CreateAgent(self, host, **_):
        """`_register_agent`."""
        self.agents.append(host)
        return {"createAgent": {"agent": {"id": f"agent-{len(self.agents)}"}}}

    def Heartbeat(self, id, runState, **_):
        """`_agent_heartbeat`: commands as JSON, which `Agent._process_command` runs.

        An agent without a run gets the next combination or, after the last, `exit`.
        """
        commands = []
        if not json.loads(runState):
            arguments = next(self._grid, None)
            if arguments is None:
                commands = [{"type": "exit"}]
            else:
                run = f"run{len(self.handed):05d}"
                self.handed[run] = arguments
                args = {name: {"value": value} for name, value in arguments.items()}
                commands = [{"type": "run", "run_id": run, "args": args, "program": "program"}]
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": json.dumps(commands)}}

    def RunResumeStatus(self, name, **_):
        """`resume` of wandb-core: with resume=allow, null starts a run, else it continues."""
        run = self.runs.get(name)
        bucket = None
        if run is not None:
            bucket = {
                **{"id": name, "name": name, "displayName": name, "logLineCount": 0},
                **{"historyLineCount": len(run["history"]), "eventsLineCount": 0},
                **{"historyTail": json.dumps(run["history"][-1:]), "eventsTail": "[]"},
                **{"summaryMetrics": run["summary"], "config": "{}", "tags": [], "notes": ""},
                "wandbConfig": '{"t": 1}',
            }
        return {"model": {**self._project(), "bucket": bucket}}

    def UpsertBucket(self, name, sweep=None, **_):
        """`runupserter` of wandb-core: creates or updates a run, several times per start."""
        inserted = name not in self.runs
        run = self.runs.setdefault(
            name, {"sweep": sweep, "history": [], "summary": "{}", "exits": []}
        )
        return {
            "upsertBucket": {
                "bucket": {
                    **{"id": name, "name": name, "displayName": name, "description": ""},
                    **{"config": "{}", "sweepName": sweep, "project": self._project()},
                    "historyLineCount": len(run["history"]),
                },
                "inserted": inserted,
            }
        }

    def RunStoppedStatus(self, **_):
        """`runstatus` of wandb-core: nobody asks the run to stop."""
        return {"project": {"run": {"stopped": False}}}

    def CreateRunFiles(self, run, files, **_):
        """`uploader` of wandb-core: where to PUT each file."""
        nodes = [self._upload(f"{run}/{name}", name=name) for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": nodes}}

    def _upload(self, path, **fields):
        fields |= {"displayName": path, "uploadHeaders": []}
        return fields | {"uploadUrl": f"{self.url}/{path}"}

    def CreateArtifact(self, input):
        """`artifactsaver` of wandb-core, as the three below."""
        key = f"artifact{len(self.artifacts)}"
        self.artifacts[key] = {"files": {}, "index": len(self.artifacts)} | input
        artifact = {"id": key, "state": "PENDING"}
        artifact |= {"artifactSequence": {"id": "s", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, artifactID, name, **_):
        file = self._upload(f"{artifactID}/manifest", id="f", name=name)
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def CreateArtifactFiles(self, input):
        edges = []
        for spec in input["artifactFiles"]:
            path = f"{spec['artifactID']}/files/{spec['name']}"
            self.artifacts[spec["artifactID"]]["files"][spec["name"]] = path
            node = self._upload(path, id=path, name=spec["name"], storagePath=path)
            node |= {"uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def CommitArtifact(self, artifactID):
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": "d"}}}

    def ArtifactMembershipByName(self, name, **_):
        """`Artifact._from_name` of wandb.sdk.artifacts, as the two below its methods."""
        if (found := self.find(name)) is None:
            return {"project": {"artifactCollectionMembership": None}}
        key, kept = found
        source = {"__typename": "ArtifactSequence", "name": name.partition(":")[0]}
        source["project"] = self._project()
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

    def FetchArtifactManifest(self, id, **_):
        file = {"__typename": "File", "directUrl": f"{self.url}/{id}/manifest"}
        return {"artifact": {"currentManifest": {"file": file}}}

    def GetArtifactMembershipFileUrls(self, collection, alias, **_):
        _, kept = self.find(f"{collection}:{alias}")
        nodes = [
            {"__typename": "File", "name": name, "directUrl": f"{self.url}/{path}"}
            for name, path in kept["files"].items()
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        files = {"pageInfo": page, "edges": [{"node": node} for node in nodes]}
        membership = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": membership}}

    def find(self, name):
        """Return id and content of the newest artifact with a name and alias or version."""
        collection, _, alias = name.partition(":")
        for key, kept in reversed(self.artifacts.items()):
            aliases = {each["alias"] for each in kept["aliases"]} | {f"v{kept['index']}"}
            if kept["artifactCollectionName"] == collection and alias in aliases:
                return key, kept
        return None

    def _file_stream(self, name, body):
        """`filestream` of wandb-core: history at an offset, summary, at last the exit code."""
        run = self.runs[name]
        chunk = body.get("files", {}).get("wandb-history.jsonl", {})
        if chunk:
            first, content = chunk["offset"], chunk["content"]
            # Not `first:`, because a late chunk would remove what came after it.
            run["history"][first : first + len(content)] = content
        if summary := body.get("files", {}).get("wandb-summary.json", {}).get("content"):
            run["summary"] = summary[-1]
        if "exitcode" in body:
            run["exits"].append(body["exitcode"])


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        out = self.server.answer(self.command, self.path, body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.send_header("ETag", base64.b64encode(hashlib.md5(body).digest()).decode())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(out)

    do_POST = do_PUT = do_HEAD = do_GET


def stop_service():
    """Stop W&B's service, which can wait forever for a server that is gone: then kill it."""
    import wandb

    thread = threading.Thread(target=wandb.teardown, daemon=True)
    thread.start()
    thread.join(30)
    if thread.is_alive():
        for children in Path("/proc/self/task").glob("*/children"):
            for child in children.read_text().split():
                if b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
        thread.join(30)
