"""`python -m tfrs_twotower`, where the console script is not on the path."""

import sys

from tfrs_twotower.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
