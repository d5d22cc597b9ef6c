"""A small release: says how it is, which commit it is, and what it can see and do."""

import http.server
import json
import os
import sys

SHA = os.environ["MILLRACE_COMMIT"]


def attempt(action):
    try:
        action()
        return "allowed"
    except OSError as error:
        return type(error).__name__


def seen():
    with open("/proc/self/status") as status:
        lines = [line.split(":", 1) for line in status]
    fields = {name: value.strip() for name, value in lines}
    return {
        "env": dict(os.environ),
        "uid": os.getuid(),
        "status": fields,
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "cwd": sorted(os.listdir(".")),
        "write_release": attempt(lambda: open("/release/x", "w").close()),
        "write_usr": attempt(lambda: open("/usr/x", "w").close()),
        "write_state": attempt(lambda: open("/state/x", "w").close()),
        "write_tmp": attempt(lambda: open("/tmp/x", "w").close()),
        "read_root": attempt(lambda: os.listdir(sys.argv[1])),
    }


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = {
            "/healthz": (200, b"ok"),
            "/version": (200, json.dumps({"commit": SHA}).encode()),
            "/seen": (200, json.dumps(seen()).encode() if self.path == "/seen" else b""),
        }.get(self.path, (404, b"no"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


address = (os.environ["HOST"], int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
