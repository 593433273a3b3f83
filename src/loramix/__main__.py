"""`python -m loramix`."""

from loramix.cli import main

if __name__ == "__main__":
    main()
