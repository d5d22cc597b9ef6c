"""A small shop: one page, one stylesheet, and the two endpoints that a release is watched by.

Start it with `python3 app.py`. Environment: HOST (127.0.0.1), PORT (8000), MILLRACE_COMMIT (unknown).
"""

import html
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"

# The class of each item is what the stylesheet refers to.
NAVIGATION = [
    ("home", "/", "Home"),
    ("products", "/products", "Products"),
    ("orders", "/orders", "Orders"),
    ("cart", "/cart", "Cart"),
    ("account", "/account", "Account"),
]

# A message above the page, as HTML; empty for none.
BANNER = ""


def navigation():
    items = "".join(
        f'<li><a class="{name}" href="{path}">{html.escape(label)}</a></li>'
        for name, path, label in NAVIGATION
    )
    return f'<nav aria-label="Main"><ul>{items}</ul></nav>'


def page(title):
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} - Storefront</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
{BANNER}{navigation()}
<main>
<h1>{html.escape(title)}</h1>
<p>Good things, made to last.</p>
</main>
<footer>Commit {html.escape(commit())}</footer>
</body>
</html>
"""


def commit():
    return os.environ.get("MILLRACE_COMMIT", "unknown")


def respond(path):
    """The answer to GET path: status, content type, body."""
    path = path.split("?", 1)[0]
    if path == "/healthz":
        return 200, "text/plain; charset=utf-8", b"ok\n"
    if path == "/version":
        return 200, "application/json", json.dumps({"commit": commit()}).encode()
    if path == "/static/style.css":
        return 200, "text/css; charset=utf-8", (STATIC / "style.css").read_bytes()
    for _, item, label in NAVIGATION:
        if path == item:
            return 200, "text/html; charset=utf-8", page(label).encode()
    return 404, "text/html; charset=utf-8", page("Not found").encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, content_type, body = respond(self.path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000")))
    with ThreadingHTTPServer(address, Handler) as server:
        host, port = server.server_address[:2]
        print(f"storefront: http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
