"""``gendkit app``: the page that scores images and videos, on this computer only."""

import argparse
import logging
import sys
from collections.abc import Sequence

_EXAMPLES = """examples:
  gendkit app                                      the embedded detector, at http://127.0.0.1:7860
  gendkit app --model _build/out/runs/example      a run of gendkit train
  gendkit app --model yermandy/GenD_CLIP_L_14      a released model, if it is here or can be had
  gendkit app --port 8000 --max-mb 500 --max-seconds 1800

Uploads are deleted after scoring, the page asks no other address, and models are read from
safetensors only. Other computers cannot reach the app; from afar use
`ssh -L 7860:127.0.0.1:7860 HOST` and open http://127.0.0.1:7860 there.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit app",
        description="A page in the browser: give images and videos, see scores and what they rest on.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="released model, or folder of a run, adapter or model")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument(
        "--i-know", action="store_true", help="allow a --host that other computers can reach"
    )
    parser.add_argument(
        "--max-mb", type=float, default=200.0, help="largest file, in MB (default 200)"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=600.0, help="longest video, in seconds (default 600)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app until Ctrl-C.

    Args:
        argv: Words after `gendkit app`; None takes them from the command line.

    Returns:
        0 after Ctrl-C, 1 if it could not start, 2 for wrong use (argparse exits with it).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    from gendkit.app import serve
    from gendkit.app.limits import Limits

    if args.port is not None and not 1 <= args.port <= 65535:
        parser.error(f"--port is {args.port}; expected 1 to 65535")
    try:
        limits = Limits(max_mb=args.max_mb, max_seconds=args.max_seconds)
        serve.check_host(args.host, args.i_know)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.WARNING, format="gendkit app: %(message)s")
    try:
        serve.run(
            host=args.host,
            port=args.port,
            model=args.model,
            limits=limits,
            i_know=args.i_know,
            device=args.device,
        )
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit app: {error}", file=sys.stderr)
        return 1
    return 0
