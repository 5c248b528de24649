"""The command line: `python -m aisaas`."""

import sys

from aisaas.platform_support import this_platform, why_unsupported

if __name__ == "__main__":
    problem = why_unsupported(this_platform())
    if problem:
        sys.exit(problem)
    from aisaas.cli import main

    sys.exit(main(sys.argv[1:]))
