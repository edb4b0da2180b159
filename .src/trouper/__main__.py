"""`python -m trouper`, and the console script `trouper`."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line with the process's arguments, and exit with its code."""
    try:
        from trouper.adapters.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while still importing
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
