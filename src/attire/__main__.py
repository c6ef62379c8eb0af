"""`python -m attire`, for launchers that start modules (torchrun)."""

from attire.cli import main

if __name__ == "__main__":
    main()
