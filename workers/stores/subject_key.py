"""The key of a subject in a store on a server. A sender chooses the subject: any text of any length."""

import hashlib


def subject_key(subject: str) -> str:
    return hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
