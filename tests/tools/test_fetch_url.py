"""fetch_url: only with leave, only to addresses that were judged, and bounded in size and time."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trio

from trouper.actors.permissions import PermissionPolicy
from trouper.actors.tool import ToolContext
from trouper.adapters import tools_web
from trouper.adapters.tools_web import is_public
from trouper.runtime import BadArguments, PermissionRefused, ToolError

HTML = """<!doctype html><html><head><title>A  page</title><style>p {}</style></head>
<body><h1>Hello</h1><p>One <b>two</b> &amp; three</p><script>alert(1)</script><ul><li>item</li></ul></body></html>"""


class Pages(BaseHTTPRequestHandler):
    seen: list

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"], self.headers["Accept-Encoding"]))
        getattr(self, "page_" + self.path.strip("/").partition("?")[0].replace("-", "_"))()

    def answer(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in {"Content_Type": "text/plain", "Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def page_text(self):
        self.answer("häl\n".encode(), Content_Type="text/plain; charset=utf-8")

    def page_latin(self):
        self.answer("häl".encode("latin-1"), Content_Type="text/plain; charset=latin-1")

    def page_strange(self):
        self.answer(b"x", Content_Type="text/plain; charset=klingon")

    def page_html(self):
        self.answer(HTML.encode(), Content_Type="text/html")

    def page_json(self):
        self.answer(b'{"a": 1}', Content_Type="application/json")

    def page_image(self):
        self.answer(b"\x89PNG", Content_Type="image/png")

    def page_missing(self):
        self.answer(b"no", status=404)

    def page_gzip(self):
        self.answer(b"bomb", Content_Encoding="gzip")

    def page_big(self):
        self.answer(b"x" * 50_000)

    def page_turn(self):
        self.answer(status=302, Location="/text")

    def page_metadata(self):
        self.answer(status=302, Location="http://169.254.169.254/latest")

    def page_file(self):
        self.answer(status=301, Location="file:///etc/passwd")

    def page_round(self):
        self.answer(status=302, Location="/round")

    def page_hang(self):
        self.server.stop.wait(20)

    def page_cut(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.seen, server.stop = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


OPEN = PermissionPolicy(network="allow", private_network="allow")


async def fetch(url, policy=OPEN, **options):
    (tool,) = tools_web.make(policy, **options)
    return await tool.call({"url": url}, ToolContext())


# ------------------------------------------------------------------ what may be asked


@pytest.mark.io
async def test_the_default_policy_refuses_before_anything_is_looked_up(server):
    before = len(server.seen)
    with pytest.raises(PermissionRefused, match=r"fetch http.*: permissions\.network is 'deny'"):
        await fetch(server.url + "/text", PermissionPolicy())

    assert len(server.seen) == before
    assert tools_web.make(PermissionPolicy())[0].permission == "network"


@pytest.mark.io
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"])
async def test_this_machine_is_refused_under_all_its_names(server, host):
    before = len(server.seen)
    with pytest.raises(ToolError) as caught:
        await fetch(f"http://{host}:{server.server_port}/text", PermissionPolicy(network="allow"))

    assert isinstance(caught.value, PermissionRefused), caught.value
    assert "`permissions.private_network: allow`" in str(caught.value)
    assert len(server.seen) == before


@pytest.mark.io
async def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch):
    async def answer(host, port, **_):
        return [(None, None, None, "", ("93.184.216.34", port)), (None, None, None, "", ("10.0.0.5", port))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", answer)

    with pytest.raises(PermissionRefused, match=r"fetch from example.org \(10\.0\.0\.5, no public address\)"):
        await fetch("http://example.org/", PermissionPolicy(network="allow"))


@pytest.mark.io
async def test_the_connection_goes_to_the_address_that_was_judged(server, monkeypatch):
    """The name is looked up once; what a name server says the next time cannot matter."""
    asked = []

    async def answer(host, port, **_):
        asked.append(host)
        return [(None, None, None, "", ("127.0.0.1" if len(asked) == 1 else "192.0.2.1", port))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", answer)
    page = await fetch(f"http://example.org:{server.server_port}/text")

    assert asked == ["example.org"]
    assert page["url"] == f"http://example.org:{server.server_port}/text"
    assert server.seen[-1] == ("/text", f"example.org:{server.server_port}", "identity")


@pytest.mark.io
@pytest.mark.parametrize("path", ["metadata", "file"])
async def test_a_redirect_is_judged_like_the_first_address(server, path, monkeypatch):
    policy = PermissionPolicy(network="allow", private_network="ask", asker=Once())

    with pytest.raises((PermissionRefused, BadArguments), match=r"169\.254\.169\.254|only http and https"):
        await fetch(f"{server.url}/{path}", policy)


class Once:
    """Somebody who says yes the first time."""

    def __init__(self):
        self.questions = []

    async def ask(self, question):
        self.questions.append(question)
        return len(self.questions) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "only http and https|names no host"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.org/x", "only http and https"),
        ("example.org", "only http and https"),
        ("http://", "names no host"),
        ("http://user:secret@example.org/", "password"),
        ("http://exa mple.org/\x00", "no address|cannot"),
        ("http://[::1", "no address"),
        ("http://example.org:99999/", "99999 is no port"),
    ],
)
async def test_what_is_no_web_address_is_refused(url, message):
    with pytest.raises(BadArguments, match=message) as caught:
        await fetch(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::93.184.216.34", True),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


# ------------------------------------------------------------------ what comes back


@pytest.mark.io
async def test_a_page_becomes_its_text(server):
    page = await fetch(server.url + "/html")

    assert page["title"] == "A page"
    assert page["text"] == "Hello\n\nOne two & three\n\nitem"
    assert page["sha256"] == hashlib.sha256(HTML.encode()).hexdigest()
    assert (page["status"], page["bytes"], page["content_type"]) == (200, len(HTML.encode()), "text/html")


@pytest.mark.io
@pytest.mark.parametrize(
    ("path", "text"), [("text", "häl\n"), ("latin", "häl"), ("strange", "x"), ("json", '{"a": 1}'), ("turn", "häl\n")]
)
async def test_text_is_decoded(server, path, text):
    page = await fetch(f"{server.url}/{path}")

    assert page["text"] == text
    assert page["url"] == f"{server.url}/{'text' if path == 'turn' else path}"


@pytest.mark.io
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("image", "is image/png, which is no text"),
        ("missing", "answered 404"),
        ("gzip", "asked not to compress"),
        ("big", "has more than 10,000 bytes"),
        ("round", "one redirect too many"),
        ("cut", "cannot fetch"),
    ],
)
async def test_what_cannot_be_used_is_a_tool_error(server, path, message):
    with pytest.raises(ToolError, match=message):
        await fetch(f"{server.url}/{path}", max_bytes=10_000)


@pytest.mark.io
async def test_a_server_that_does_not_answer_is_given_up(server):
    with pytest.raises(ToolError, match=r"/hang did not answer in full within 0\.2 s"):
        await fetch(server.url + "/hang", seconds=0.2)


@pytest.mark.io
async def test_nobody_listening_and_no_such_host_are_tool_errors(monkeypatch):
    with contextlib.closing(trio.socket.socket()) as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ToolError, match="cannot fetch"):
            await fetch(f"http://127.0.0.1:{port}/")

    async def nobody(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", nobody)
    with pytest.raises(ToolError, match=r"cannot find the host 'nowhere\.invalid'"):
        await fetch("http://nowhere.invalid/")


@pytest.mark.io
async def test_the_next_address_is_tried_when_one_cannot_be_reached(server, monkeypatch):
    async def answer(host, port, **_):
        return [(None, None, None, "", (a, port)) for a in ("127.0.0.77", "127.0.0.1")]

    monkeypatch.setattr(trio.socket, "getaddrinfo", answer)

    assert (await fetch(f"http://example.org:{server.server_port}/text"))["text"] == "häl\n"
