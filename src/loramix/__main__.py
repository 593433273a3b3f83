"""The `loramix` command, and `python -m loramix`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported is told as later on."""
    try:
        from loramix.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
