"""Refused requests for the tests of the audit."""

import asyncio
from pathlib import Path

import msgspec

from hookline.audit.writer import SqliteRefusalWriter
from hookline.ingress.settings import AuditSettings
from hookline.schemas.refusals import RefusedRequest

REFUSED = RefusedRequest(
    at_s=1_700_000_000.0,
    source="krtc-main",
    reason="bad_signature",
    detail="the signature fits no secret of this source",
    status=401,
    peer="203.0.113.9",
    forwarded="",
    method="POST",
    path="/hooks/krtc-main",
    query="",
    headers=(("Host", "ingress.example"), ("KRTC-Signature", "*** (64 characters)")),
    body_bytes=2,
    body_sha256="00" * 32,
)


def refused(**changed: object) -> RefusedRequest:
    return msgspec.structs.replace(REFUSED, **changed)


def record(config: Path, *requests: RefusedRequest) -> None:
    """Write them into the audit beside a settings file, each as one of ten that were refused."""

    async def write() -> None:
        writer = SqliteRefusalWriter(config.with_name("hookline-refused.db"), AuditSettings())
        for each in requests:
            writer.put(each)
            writer.count({(each.source, each.reason): 10}, each.at_s)
        await writer.close()

    asyncio.run(write())
