"""How a store on a server names a subject: what a sender chose may be any text of any length."""

import hashlib


def subject_key(subject: str) -> str:
    return hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
