"""The command line: `python -m aisaas`."""

import sys

from aisaas.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
