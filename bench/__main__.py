"""`python -m bench` is the command `bench`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the working directory first, but its folders may share a name with our packages.
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
        del sys.path[0]

    from bench.cli.main import main

    main()
