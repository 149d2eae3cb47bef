"""The process of the fuzzer: `python -m tests.fuzz.libfuzzer TARGET FOLDER [OPTION…]`, with libFuzzer's options."""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["hookline"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    logging.disable()
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:], "-max_len=4096", "-timeout=20"], target)
    atheris.Fuzz()
