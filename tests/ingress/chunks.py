"""The good callback with a chunked body."""

from tests.ingress.callbacks import BODY, LENGTH, changed


def in_chunks(*chunks: bytes, te: bytes = b"Transfer-Encoding: chunked") -> bytes:
    """The good callback with these bytes as its chunked body, line ends included."""
    return changed(LENGTH, te).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
WHOLE = chunk(BODY)
