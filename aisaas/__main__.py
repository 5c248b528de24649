"""The command line: `python -m aisaas`, or `aisaas` where the project is installed."""

import sys

from aisaas.platform_support import this_platform, why_unsupported


def main() -> int:
    """Run the command that the process was started with, and return its exit code."""
    problem = why_unsupported(this_platform())
    if problem:
        sys.exit(problem)
    from aisaas import cli  # noqa: PLC0415  # parses on no Python that is refused above

    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
