"""The command `hookline`, also `python -m hookline`. Before a command runs, a signal shows no traceback."""

import signal
import sys

from hookline.runtime.early_signals import SERVING, handle_early_signals


def main() -> None:
    """Load the commands, which takes a moment, and run the one that is asked for."""
    serves = not SERVING.isdisjoint(sys.argv[1:2])
    if serves:
        handle_early_signals()
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from hookline.cli.main import main as run  # noqa: PLC0415  see above

        if not serves:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except (ImportError, AttributeError):
        from hookline.shadowing import shadowing_file  # noqa: PLC0415  few need it

        if (sentence := shadowing_file()) is None:
            raise
        sys.stderr.write(f"hookline: {sentence}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
