"""Remembers which bodies came with a signature that does not cover the body.

Anyone who sees one such request can send other bodies with its signature until its time is too old. The provider itself
signs all callbacks of one second alike, so one signature with several bodies proves nothing, and one with very many
does. Each process has its own memory.
"""

import logging
from collections.abc import Mapping
from struct import Struct

from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import AnySource, Request, Signatures

log = logging.getLogger("hookline.ingress")

MAX_BODIES = 100_000
_DIGEST_BYTES = 8  # of Python's own hash, whose key nobody outside knows: a third of the time of a SHA-256
_digest_of = Struct("<q").pack


class SignatureMemory:
    """The bodies of each signature of one source, up to `MAX_BODIES` in all. The oldest signatures are forgotten first.

    `excess` counts requests with one body more than is usual, or than `source.max_bodies_per_signature` allows.
    """

    def __init__(self, source: AnySource, signatures: Signatures) -> None:
        self._bodies: dict[str, bytes] = {}  # all digests of a signature in one piece: sets need twice the memory
        self._count = 0
        self.excess = 0
        self.use(source, signatures)

    def use(self, source: AnySource, signatures: Signatures) -> None:
        """Check the next requests as these settings of the source say; what was seen stays known."""
        self._source = source
        self._signature_of = signatures.of
        self._limit = source.max_bodies_per_signature or signatures.usual_bodies

    def check(self, request: Request) -> None:
        """Note a verified request. Raises BadSignature if its signature has come with too many other bodies.

        Only counts them, and logs the first of each signature, unless the source has a limit.
        """
        signature = self._signature_of(request)
        bodies = self._bodies.get(signature, b"")
        digest = _digest_of(hash(request.body))
        if bodies.find(digest) >= 0:  # `in` first makes an error: the digest is no number
            return
        if len(bodies) < self._limit * _DIGEST_BYTES:
            self._bodies[signature] = bodies + digest
            self._count += 1
            if self._count > MAX_BODIES:
                self._forget_oldest()
            return
        self.excess += 1
        if self.excess == 1 or self.excess % self._limit == 0:
            log.warning(
                "%s: one signature came with more than %d different bodies: somebody may be forging with it "
                "(%d such requests since the start)",
                self._source.name,
                self._limit,
                self.excess,
            )
        if self._source.max_bodies_per_signature:
            raise BadSignature(
                "the signature is wrong", for_operator=f"the signature has come with {self._limit} other bodies already"
            )

    def _forget_oldest(self) -> None:
        while self._count > MAX_BODIES:
            self._count -= len(self._bodies.pop(next(iter(self._bodies)))) // _DIGEST_BYTES


def signature_memories(
    sources: Mapping[str, AnySource], before: Mapping[str, SignatureMemory]
) -> dict[str, SignatureMemory]:
    """A memory for each source whose provider signs without the body, by the source's name. Those before are kept."""
    memories = {}
    for source in sources.values():
        signatures = source.provider.signatures
        if source.keys and signatures is not None:
            memory = memories[source.name] = before.get(source.name) or SignatureMemory(source, signatures)
            memory.use(source, signatures)
    return memories
