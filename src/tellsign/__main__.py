"""`python -m tellsign`: the command line, for launchers that start modules."""

from tellsign.cli import main

if __name__ == "__main__":
    main()
