"""Which images the service takes, and what it says of others."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.service.errors import ServiceError
from pipeline.service.images import decode_base64
from pipeline.service.runtime.batching import Call
from pipeline.service.runtime.limits import Limits
from tests.pipeline.service.asking import ask, begin, refusal
from tests.pipeline.service.fakes import BASE64, FakeDetector, draw, encode, make_service, photo


def bomb(side: int = 30_000) -> bytes:
    """A PNG whose header promises far more pixels than it has."""
    data = bytearray(encode(np.zeros((8, 8, 3), np.uint8)))
    import struct
    import zlib

    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def half(data: bytes) -> bytes:
    return data[: len(data) // 3]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_image_without_its_last_bytes_is_used(tmp_path, kind):
    service = make_service(tmp_path)
    data = photo(1, kind=kind)
    whole = ask(service, "detect", data).images[0].faces
    assert whole
    assert ask(service, "detect", data[:-2]).images[0].faces == whole
    service.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_image"),
        (b"hello", "bad_image"),
        (b"/etc/passwd", "bad_image"),
        (encode(draw(1), "BMP"), "bad_image"),
        (encode(draw(1), "TIFF"), "bad_image"),
        (encode(draw(1), "GIF"), "bad_image"),
        (half(photo(1, kind="JPEG")), "bad_image"),
        (half(photo(1)), "bad_image"),
        (half(photo(1, kind="WEBP")), "bad_image"),
        (photo(1, kind="JPEG")[:20], "bad_image"),
        (b"\xff\xd8\xff" + bytes(1000), "bad_image"),
        (bomb(), "too_large"),
        (bomb(6_000), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_that_are_refused(tmp_path, data, code):
    service = make_service(tmp_path)
    error = refusal(service, "detect", data)
    assert (error.code, error.details["image"]) == (code, 0)
    service.close()


def test_too_many_bytes(tmp_path):
    service = make_service(tmp_path, limits=Limits(max_bytes=5000))
    error = refusal(service, "detect", photo(1), bytes(5001))
    assert error.code == "too_large"
    assert error.details == {"bytes": 5001, "limit": 5000, "image": 1}
    service.close()


def test_the_place_of_a_bad_image_is_named(service):
    error = refusal(service, "detect", photo(1), b"no image")
    assert error.details["image"] == 1


def test_a_jpeg_with_very_many_scans_is_refused(service):
    progressive = encode(draw(1), "JPEG", progressive=True)
    assert ask(service, "detect", progressive).images[0].faces
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    error = refusal(service, "detect", progressive[:-2] + scan * 40 + b"\xff\xd9")
    assert error.code == "too_large"


def test_what_stands_beside_the_picture_in_a_jpeg_is_no_scan(service):
    """Telephones put a film behind a photo: any bytes are in it."""
    data = photo(1, kind="JPEG")
    film = bytes(1000) + b"\xff\xda" * 100
    note = b"\xff\xe1" + (len(film) + 2).to_bytes(2) + film
    whole = ask(service, "detect", data).images[0].faces
    assert ask(service, "detect", data + film).images[0].faces == whole
    assert ask(service, "detect", data[:2] + note + data[2:]).images[0].faces == whole


@pytest.mark.parametrize(
    "odd",
    [
        b"\xff\xe1\x00\x00",
        b"\xff\xe1\x00\x02",
        b"\xff\xff",
        b"\xff\x00\xff\xd0",
        b"\xff\x02\xff\xff",
        b"\xff\xdb\x00\x43\x03\xff\xd9" + b"\x01" * 62,  # an end, and a comment, in a table
        b"\xff\xdb\x00\x43\x03\xff\xfe\xff\xff" + b"\x01" * 60,
        b"\xff\xc4\x00\x15\x13\xff\xd9" + bytes(16),
    ],
)
def test_scans_do_not_hide_behind_odd_markers(service, odd):
    progressive = encode(draw(1), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    data = progressive[:-2] + (odd + scan) * 40 + b"\xff\xd9"
    assert refusal(service, "detect", data).code == "too_large"


def test_too_many_images(service):
    error = refusal(service, "detect", *[photo(1)] * 17)
    assert (error.code, error.details) == ("too_large", {"images": 17, "limit": 16})
    assert refusal(service, "detect").code == "invalid_request"
    assert refusal(service, "people", photo(1)).code == "invalid_request"


def test_the_memory_of_decoded_images_is_limited():
    detector = FakeDetector()
    service = make_service(detector=detector, limits=Limits(max_memory=700_000))
    detector.gate.clear()
    first = begin(service, "detect", photo(1), photo(1), call=Call("a"))  # 2 x 230 kB
    until = time.monotonic() + 60
    while service.vision._memory.held < 400_000:
        assert time.monotonic() < until
    with pytest.raises(ServiceError, match="bytes of images"):
        begin(service, "detect", photo(1), photo(1), call=Call("b")).result(5)
    detector.gate.set()
    assert len(first.result(5).images) == 2
    assert service.vision._memory.held == 0
    service.close()


@pytest.mark.parametrize("length", range(5))
@pytest.mark.parametrize("form", BASE64)
def test_base64_is_read_however_it_is_written(form, length):
    data = bytes(range(256)) * 2 + b"\xfb\xff" * length + b"x" * length
    assert decode_base64(BASE64[form](data), "no", 0) == data


@pytest.mark.parametrize(
    "text", ["a", "ab!d", "ab=d", "abcdé", "photo.jpg", "data:image/png,abcd", "data:abcd", "aaaaa"]
)
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ServiceError, match="not base64") as caught:
        decode_base64(text, "images: not base64", 2)
    assert (caught.value.code, caught.value.details) == ("invalid_request", {"image": 2})
