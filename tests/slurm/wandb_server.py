"""A stub of W&B's server on the loopback address, for W&B's own agent and SDK.

Each answer says which function of wandb 0.31 reads it. GraphQL documents are told apart by the name
of their operation; those of the SDK's service are compiled into `wandb/bin/wandb-core`.
"""

import itertools
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

ENTITY = "lab"


class WandbServer:
    """The server, with one sweep; its grid is handed out once, whatever becomes of the runs."""

    def __init__(self):
        self.sweep = {}  # config, state
        self.agents = []  # host of each
        self.handed = {}  # arguments of each run, by id
        self.runs = {}  # what was logged to each run, by id
        self.unknown = Counter()  # operations without an answer
        self._lock = threading.Lock()
        self._grid = iter(())
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                self._reply(server.answer(self.path, self.rfile.read(length)))

            do_PUT = do_GET = do_HEAD = do_POST

            def _reply(self, content):
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path, body):
        """Return the content of a response."""
        with self._lock:
            if path == "/graphql":
                request = json.loads(body)
                name = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
                return {"data": self._graphql(name, request.get("variables") or {})}
            if path.endswith("/file_stream"):
                return self._file_stream(path.split("/")[-2], json.loads(body))
            return {}  # uploads, telemetry, and `HEAD /` of our own check

    def _graphql(self, name, variables):
        operation = getattr(self, name, None)
        if operation is None:
            self.unknown[name] += 1
            return {}
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
        return {"id": "p", "name": self.sweep["project"], "entity": entity}

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
        return {
            "createRunFiles": {
                **{"runID": run, "uploadHeaders": []},
                "files": [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in files],
            }
        }

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
        return {"limits": {}}
