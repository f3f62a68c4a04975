"""Images that are none, URLs that lead out of the media folder or nowhere, and items that bear another's digest."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zlib

from PIL import Image

from tests.integration.model_fuzz.containers import good_volume
from tests.integration.model_fuzz.grounds import Grounds, Made, ask, data_url, part, png, sent


def image(grounds: Grounds, chance: random.Random) -> Made:
    how = chance.choice(["cut", "bit", "bomb", "mode", "sizes", "format", "noise", "text"])
    data = png(chance.choice([1, 2, 40]), chance.choice([1, 3, 50]))
    refused = False
    if how == "cut":
        data, refused = data[: chance.randrange(30)], True
    elif how == "bit":
        mutable = bytearray(data)
        mutable[chance.randrange(8, len(mutable))] ^= 1 << chance.randrange(8)
        data = bytes(mutable)
    elif how == "bomb":
        data, refused = _bomb(chance.choice([(30000, 30000), (65535, 65535), (2**31 - 1, 1)])), True
    elif how == "mode":
        data = png(5, 5, chance.choice(["1", "L", "P", "LA", "RGBA", "I;16"]))
    elif how == "sizes":
        data = png(*chance.choice([(1, 4000), (4000, 1), (1, 1)]))
    elif how == "format":
        file = io.BytesIO()
        Image.new("RGB", (4, 4)).save(file, chance.choice(["GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM"]))
        data, refused = file.getvalue(), True
    elif how == "noise":
        data, refused = chance.choice([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b""]) + chance.randbytes(60), True
    else:
        data = _with_text(data, b"zTXt", b"k\0\0" + zlib.compress(bytes(8 * 1024 * 1024)))
    return how, ask(grounds.model, sent(grounds, chance, "image_url", data)), refused


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(size: tuple[int, int]) -> bytes:
    """A PNG of few bytes that says it has very many pixels."""
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + body + _chunk(b"IEND", b"")


def _with_text(data: bytes, kind: bytes, text: bytes) -> bytes:
    return data[:33] + _chunk(kind, text) + data[33:]


def url(grounds: Grounds, chance: random.Random) -> Made:
    """Everything that leads out of the media folder, to something that is no file, or to another protocol."""
    root, snares = grounds.media.as_uri(), f"{grounds.media.as_uri()}/snares"
    name = chance.choice(["canary", "canary.png", "canary.txt"])
    out, beside = grounds.outside / name, grounds.outside.name
    dots = chance.choice(["..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..%00", "..;", "．．"])
    slash = chance.choice(["/", "%2f", "%2F", "\\", "%5c", "//", "/./"])
    links = [
        "out",
        "out.png",
        f"up/{name}",
        f"up/../{beside}/{name}",
        "loop",
        "nowhere",
        "self/environ",
        "self/root/etc/passwd",
    ]
    url = chance.choice(
        [
            out.as_uri(),
            f"{root}{slash}{dots}{slash}{beside}{slash}{name}",
            f"{snares}/{dots}/{dots}/{beside}/{name}",
            f"{snares}/{chance.choice(links)}",
            f"{snares}/{chance.choice(['pipe', 'socket', 'sparse', 'empty', 'gone', '', '.', '..'])}",
            f"file://localhost{out}",
            f"file://127.0.0.1{out}",
            f"file:{out}",
            f"file:/{out}",
            f"FILE://{out}",
            f"file://{root[7:]}@{out}",
            f"{snares}/sound{chance.choice(['?', '#', '%00', '/', '/..', '%20', '?x=/../', chr(10)])}{chance.choice(['x', out])}",
            f"{chance.choice(['http', 'https', 'ftp', 'gopher', 's3', 'jar', 'dict', 'ldap', 'smb'])}://127.0.0.1:9/{name}",
            f"http://{chance.choice(['169.254.169.254', '[::1]', 'localhost', '0x7f.1', '2130706433'])}/latest/meta-data",
            f"{chance.choice([' ', chr(9), chr(0), 'x-', '//'])}{out.as_uri()}",
            f"file:///{chance.choice(['dev/zero', 'dev/stdin', 'proc/self/environ', 'etc/passwd', 'proc/self/fd/0', 'sys'])}",
            f"{snares}/" + "a/" * chance.choice([1, 300, 5000]),
            f"{snares}/" + chance.choice(["é", "\u202e", "%ff%fe", "%", "%zz", "a" * 300, "\U0001f9e0" * 90]),
            str(out),
            chance.choice(["", "file", "file:", "file://", "file:///", "data:", "data:,", "about:blank", ":", "data"]),
        ]
    )
    return url[:60], ask(grounds.model, part(chance.choice(["video_url", "image_url"]), url)), True


def data(grounds: Grounds, chance: random.Random) -> Made:
    """Data URLs that are no base64, or say that they are something else than they are."""
    sound = base64.b64encode(good_volume(chance)).decode()
    head = chance.choice(
        ["data:;base64,", "data:application/octet-stream;base64,", "data:video/jpeg;base64,", "DATA:;base64,"]
    )
    url = chance.choice(
        [
            head + sound[: chance.randrange(len(sound) - 5)],
            head + sound + chance.choice(["=", "====", " ", "\n", "é", "\0", ",", "AAAA"]),
            head + sound.replace("A", chance.choice(["-", "_", "!", " ", "%41"])),
            "data:text/plain," + sound,
            "data:;base32," + sound,
            "data:;base64;charset=utf-8," + sound,
            "data:;base64" + sound,
            head + "," + sound,
            head,
            "data:video/jpeg;base64," + ",".join([base64.b64encode(b"\xff\xd8\xff" + bytes(9)).decode()] * 50),
        ]
    )
    return url[:40], ask(grounds.model, part(chance.choice(["video_url", "image_url"]), url)), True


def identity(grounds: Grounds, chance: random.Random) -> Made:
    """An item that bears another's digest, or something that is none."""
    kind, make = chance.choice([("video_url", good_volume), ("image_url", lambda chance: png(7, chance.randint(1, 9)))])
    data = make(chance)
    right = hashlib.sha256(data).hexdigest()
    uuids = [
        hashlib.sha256(data + b"x").hexdigest(),
        right.upper(),
        right[:-1],
        right + "0",
        f" {right}",
        f"{right}\n",
        "",
        7,
        [right],
    ]
    uuids += [
        hashlib.md5(data, usedforsecurity=False).hexdigest(),
        {"a": right},
        True,
        "../" + right,
        "0" * 64,
        right.replace("a", "а"),
    ]
    uuid = chance.choice([each for each in uuids if each != right])
    if chance.random() < 0.3:  # a uuid in the place of the data
        bare = chance.choice([{}, {kind: None}, {kind: {"url": None}}, {kind: {}}, {kind: ""}, {kind: []}])
        return "without data", ask(grounds.model, {"type": kind, "uuid": right} | bare), True
    return repr(uuid)[:30], ask(grounds.model, part(kind, data_url(data), uuid)), True
