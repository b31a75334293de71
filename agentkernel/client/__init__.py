"""The client library: everything a program needs to use a kernel, and nothing of the kernel itself.

    with Client() as client:
        stream = client.exec("Tell me a story", max_tokens=100)
        for text in stream:
            print(text, end="")
        print(stream.result().reason)

`AsyncClient` is the same with `await`. What this package imports: the standard library, msgspec and
`agentkernel.protocol.framing`.
"""

from agentkernel.client.aio import AsyncClient, AsyncStream
from agentkernel.client.blocking import Client, Stream
from agentkernel.client.errors import (
    ClientError,
    ConnectionLostError,
    InternalError,
    ReplyTimeoutError,
    RequestError,
    ResourceError,
    UnreachableError,
)

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "ClientError",
    "ConnectionLostError",
    "InternalError",
    "ReplyTimeoutError",
    "RequestError",
    "ResourceError",
    "Stream",
    "UnreachableError",
]
