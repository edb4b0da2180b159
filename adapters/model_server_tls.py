"""A certificate authority for one test: made in memory, written to a directory of the caller's, trusted by nobody else.

A TLS test needs a certificate that a client can be told to trust, and the standard library makes none. What is needed
of X.509 is small (one key on P-256, one authority, one certificate for this machine), so it is written out here instead
of asking every user of `trouper bench` for a compiled library. It is for servers on this machine that live for a test:
the arithmetic takes no care to hide the key from whoever can measure its time.

Source: SEC 1 (the curve, ECDSA), RFC 5280 (certificates), RFC 5915 (the key's file).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
import ssl
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

DAYS = 30
"""How long a certificate is good for."""


@attrs.frozen
class Authority:
    """What a server needs to speak TLS, and what a client needs to trust it: two files."""

    ca_file: Path
    """The authority's certificate: give it to clients (`llm.ca_file`, `SSL_CERT_FILE`, `cafile=`)."""
    server_file: Path
    """The server's key and certificate."""

    def server_context(self) -> ssl.SSLContext:
        """A context for the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server_file)
        return context


def make_authority(folder: Path, *, host: str = "127.0.0.1") -> Authority:
    """Make an authority and a certificate for `host` and `localhost`, in files that only you can read."""
    ca_key, key = _new_key(), _new_key()
    ca = _certificate("Trouper test authority", ca_key, "Trouper test authority", ca_key, hosts=())
    server = _certificate("Trouper test server", key, "Trouper test authority", ca_key, hosts=("localhost", host))
    made = Authority(folder / "ca.pem", folder / "server.pem")
    _write(made.ca_file, _pem("CERTIFICATE", ca))
    _write(made.server_file, _pem("EC PRIVATE KEY", _key_file(key)) + _pem("CERTIFICATE", server))
    return made


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="ascii")


def _pem(kind: str, data: bytes) -> str:
    lines = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"


# ------------------------------------------------------------------ the curve
def _add(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, _P)
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(number: int, point: _Point) -> _Point:
    total: _Point = None
    while number:
        if number & 1:
            total = _add(total, point)
        point = _add(point, point)
        number >>= 1
    return total


def _new_key() -> int:
    return secrets.randbelow(_N - 1) + 1


def _public(key: int) -> bytes:
    point = _times(key, _G)
    assert point is not None  # noqa: S101 - a key is smaller than the order of the curve
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _signed(data: bytes, key: int) -> bytes:
    digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
    while True:
        once = _new_key()
        point = _times(once, _G)
        r = point[0] % _N if point is not None else 0
        s = pow(once, -1, _N) * (digest + r * key) % _N
        if r and s:
            return _sequence(_integer(r), _integer(s))


# ------------------------------------------------------------------ DER
def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 128 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bits(data: bytes, unused: int = 0) -> bytes:
    return _der(0x03, bytes((unused,)), data)


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray((40 * first + second,))
    for number in rest:
        digits = [number & 127]
        while number := number >> 7:
            digits.append(128 | (number & 127))
        out += bytes(reversed(digits))
    return _der(0x06, bytes(out))


_EC_KEY = _oid("1.2.840.10045.2.1")
_P256 = _oid("1.2.840.10045.3.1.7")
_ECDSA_SHA256 = _sequence(_oid("1.2.840.10045.4.3.2"))


def _key_file(key: int) -> bytes:
    return _sequence(
        _integer(1), _der(0x04, key.to_bytes(32, "big")), _der(0xA0, _P256), _der(0xA1, _bits(_public(key)))
    )


# ------------------------------------------------------------------ certificates
def _certificate(subject: str, key: int, issuer: str, issuer_key: int, *, hosts: tuple[str, ...]) -> bytes:
    """A signed certificate: of a server if it has `hosts`, else of an authority."""
    public = _public(key)
    now = datetime.now(UTC)
    body = _sequence(
        _der(0xA0, _integer(2)),  # version 3
        _integer(secrets.randbits(127) | 1),
        _ECDSA_SHA256,
        _name(issuer),
        _sequence(_time(now - timedelta(days=1)), _time(now + timedelta(days=DAYS))),
        _name(subject),
        _sequence(_sequence(_EC_KEY, _P256), _bits(public)),
        _der(0xA3, _sequence(*_extensions(public, _public(issuer_key), hosts))),
    )
    return _sequence(body, _ECDSA_SHA256, _bits(_signed(body, issuer_key)))


def _name(common_name: str) -> bytes:
    return _sequence(_der(0x31, _sequence(_oid("2.5.4.3"), _der(0x0C, common_name.encode()))))


def _time(moment: datetime) -> bytes:
    return _der(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def _extensions(public: bytes, issuer_public: bytes, hosts: tuple[str, ...]) -> list[bytes]:
    own, above = (hashlib.sha256(key).digest()[:20] for key in (public, issuer_public))
    found = [
        _extension("2.5.29.14", _der(0x04, own)),
        _extension("2.5.29.35", _sequence(_der(0x80, above))),
        _extension("2.5.29.19", _sequence(*(() if hosts else (_der(0x01, b"\xff"),))), critical=True),
        # An authority signs certificates and lists of revoked ones; a server signs handshakes.
        _extension("2.5.29.15", _bits(b"\x80", 7) if hosts else _bits(b"\x06", 1), critical=True),
    ]
    if hosts:
        found.append(_extension("2.5.29.17", _sequence(*map(_alternative_name, hosts))))
        found.append(_extension("2.5.29.37", _sequence(_oid("1.3.6.1.5.5.7.3.1"))))
    return found


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(oid), *((_der(0x01, b"\xff"),) if critical else ()), _der(0x04, value))


def _alternative_name(host: str) -> bytes:
    try:
        return _der(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _der(0x82, host.encode("ascii"))
