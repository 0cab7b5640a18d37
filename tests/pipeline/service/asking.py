"""How tests ask a service without a transport."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from pipeline.service.core import Service
from pipeline.service.errors import ServiceError
from pipeline.service.operations import find_operation
from pipeline.service.runtime.batching import Call


def begin(
    service: Service, op: str, /, *images: bytes, call: Call | None = None, **fields: Any
) -> Future:
    operation = find_operation(op)
    return service.submit(operation, operation.parse(fields), images, call or Call())


def ask(service: Service, op: str, /, *images: bytes, **fields: Any) -> Any:
    return begin(service, op, *images, **fields).result(20)


def refusal(service: Service, op: str, /, *images: bytes, **fields: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        ask(service, op, *images, **fields)
    return caught.value
