"""Serves a trained network over HTTP: POST /predict, POST /generate, GET /health, a page at /docs.

    rnnjax serve --workdir runs/mine --port 8000
    curl http://127.0.0.1:8000/predict --json '{"texts": ["Oil prices fall"]}'

The folder is that of a run, or one that `rnnjax export` has written. Texts of concurrent requests
are read in batches. Where too many wait, a request is refused with 503; one that is too large is
refused with 413, one that arrives too slowly with 408. There is no access control: other machines
are for a proxy in front of it.
"""

import argparse
import importlib.util

from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, add_run_flags, at_least
from rnnjax.errors import InputError


def add_flags(parser: Parser) -> None:
    """Adds --workdir, --trust, --host and --port."""
    add_run_flags(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="The address to listen on. Default: 127.0.0.1."
    )
    parser.add_argument(
        "--port", type=at_least(0), default=8000, help="0 for any that is free. Default: 8000."
    )


def main(args: argparse.Namespace) -> None:
    """Serves the network until it is interrupted."""
    for library in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(library) is None:
            raise InputError(
                f"networks are served with {library}, which is not installed: pip install "
                f"'rnnjax[serve]', or pip install {library}"
            )
    import uvicorn

    from rnnjax.serving.app import make_app
    from rnnjax.serving.network import load_network

    network = load_network(args.workdir, args.trust)
    uvicorn.run(make_app(network), host=args.host, port=args.port, ws="none", log_level="info")


if __name__ == "__main__":
    launch("serve")
