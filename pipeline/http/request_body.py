"""Reading what a caller sends: within limits of size and time, and never onto the disk."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pipeline.service.errors import ServiceError
from pipeline.service.images import decode_base64
from pipeline.service.runtime.limits import Shares

ENVELOPE_BYTES = 65_536  # boundaries, headers of parts, other fields


class _InMemory(MultiPartParser):
    # Starlette's own value has pictures written into the folder of temporary files.
    spool_max_size = sys.maxsize

    @property
    def files(self) -> int:
        return self._current_files


@asynccontextmanager
async def whole_body(
    request: Request, most: int, seconds: float, budget: Shares, caller: str
) -> AsyncIterator[bytes]:
    """The body; its memory is accounted for until the block ends.

    Raises ServiceError ``too_large``, ``request_timeout``, ``overloaded``.
    """
    held = 0
    body = io.BytesIO()
    try:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    budget.take(caller, len(chunk))
                    held += len(chunk)
                    if held > most:
                        raise _too_large(most)
                    body.write(chunk)
        except TimeoutError as error:
            raise ServiceError(
                "request_timeout", f"the body did not arrive within {seconds:g} s"
            ) from error
        yield body.getvalue()
    finally:
        budget.give_back(caller, held)


async def parse_form(
    request: Request, body: bytes, most: int
) -> tuple[dict[str, Any], list[bytes]]:
    """A multipart form -> its text fields, and the images of its fields called ``image``: files, or
    texts in base64."""
    if _media_type(request) != "multipart/form-data":
        raise ServiceError(
            "unsupported_media_type", "images are sent as multipart/form-data, in fields `image`"
        )

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _InMemory(
        request.headers, stream(), max_files=most, max_fields=50, max_part_size=len(body)
    )  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if parser.files > most:
            raise ServiceError("too_large", f"more than {most} images", {"limit": most}) from error
        raise ServiceError("invalid_request", f"the form: {error.message}") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise ServiceError("invalid_request", "the form is damaged") from error
    fields: dict[str, Any] = {}
    images: list[bytes] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise ServiceError("invalid_request", "files belong into fields called `image`")
            images.append(await value.read())
        elif name == "image":
            hint = "image: send it as a file, with a filename, or in base64"
            images.append(decode_base64(value, hint, len(images)))
        else:
            _once(fields, name, value)
    await form.close()
    return fields, images


def parse_json(request: Request, body: bytes) -> Any:
    """A JSON body; an empty one is an empty object."""
    if not body:
        return {}
    if _media_type(request) != "application/json":
        raise ServiceError("unsupported_media_type", "the body is sent as application/json")
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ServiceError("invalid_request", "the body is no JSON in UTF-8") from error


def parse_query(request: Request) -> dict[str, Any]:
    """The fields in the address."""
    fields: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        _once(fields, name, value)
    return fields


def _once(fields: dict[str, Any], name: str, value: str) -> None:
    if name in fields:
        raise ServiceError("invalid_request", "a field is there twice")
    fields[name] = value


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large(most: int) -> ServiceError:
    return ServiceError("too_large", f"the body is larger than {most} bytes", {"limit": most})


def _refuse(text: str) -> None:
    raise ValueError(text)
