"""Settings that are read anew hold for every request that is not verified yet, also for one whose body arrives."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import GOOD
from tests.ingress.http_client import let_ingress_run
from tests.ingress.running_ingress import running_ingress, with_settings
from tests.ingress.sources import KRTC, OLD_SECRET
from tests.vector_cases import with_secrets

RENEWED = with_secrets(KRTC, [OLD_SECRET])


@pytest.mark.parametrize("lane", [True, False], ids=["the fast lane", "the usual way"])
@pytest.mark.parametrize("arrived", [1, len(GOOD) - 1], ids=["a byte of the head", "all but a byte of the body"])
@pytest.mark.parametrize(
    ("sources", "status", "code"),
    [
        ({KRTC.name: RENEWED}, 401, "bad_signature"),
        ({}, 404, "unknown_source"),
        ({KRTC.name: replace(KRTC, allow_from=(ip_network("192.0.2.0/24"),))}, 401, "bad_signature"),
        ({KRTC.name: replace(KRTC, tolerance_s=301)}, 200, None),
    ],
    ids=["another secret", "no such source", "another address", "nothing of importance"],
)
async def test_a_request_that_arrives_meanwhile_is_judged_by_the_new_settings(
    sources: dict[str, AnySource], status: int, code: str | None, arrived: int, *, lane: bool
) -> None:
    async with running_ingress(settings=with_settings(fast_lane=lane)) as ingress, ingress.connect() as client:
        await client.send(GOOD[:arrived])
        await let_ingress_run()
        ingress.receiver.use(sources, ())
        await client.send(GOOD[arrived:])
        answer = await client.answer()
        assert answer is not None
        assert answer.status == status
        assert status == 200 or answer.code == code
        assert len(ingress.publisher.envelopes) == (status == 200)
