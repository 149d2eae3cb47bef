"""The command `hookline`, also `python -m hookline`. Before a command runs, Ctrl-C shows no traceback."""

import signal
import sys


def main() -> None:
    """Load the commands, which takes a moment, and run the one that is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from hookline.cli.main import main as run  # noqa: PLC0415  see above

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
