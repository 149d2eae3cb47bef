"""The command `hookline`, also `python -m hookline`. Before a command runs, Ctrl-C shows no traceback."""

import signal


def main() -> None:
    """Load the commands, which takes a moment, and run the one that is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hookline.cli.main import main as run  # noqa: PLC0415  see above

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
