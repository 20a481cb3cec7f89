"""`gendkit export`: a detector as one ONNX file, compared with the detector on real crops."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  gendkit export embedded --out detector.onnx
  gendkit export _build/out/runs/example --out example.onnx
  gendkit export yermandy/GenD_CLIP_L_14 --out gend-l14.onnx --crops faces/*.png

The file takes pixel_values (batch, 3, side, side), float32, any batch, and gives p_fake (batch). How
pixels are made from an aligned crop (side, mean, std, resizing, margin), the threshold and the names of
the classes stand in its metadata, under "gendkit". Needs the extra onnx: pip install "gendkit[onnx]".
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit export",
        description="Write encoder, head and softmax of a detector as ONNX, and check the file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="a released model's id, a folder (run, detector, adapter), or "
                        "embedded")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, help="file to write, NAME.onnx")
    parser.add_argument(
        "--crops",
        nargs="+",
        metavar="FILE",
        help="aligned face crops to compare on (default: 16 of Nobody's Faces)",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference of P(fake) (1e-4)"
    )
    parser.add_argument("--opset", type=int, default=18, help="version of the operators (18)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after `gendkit export`; None takes them from the command line.

    Returns:
        0 written and the same scores, 1 not (reason on stderr), 2 wrong use.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.out.is_dir() or args.out.suffix != ".onnx":
        parser.error(f"--out {args.out}: give the name of a file that ends in .onnx")
    if args.out.exists() and not args.overwrite:
        parser.error(f"--out {args.out} is there; choose another name, or pass --overwrite")
    try:
        facts = _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit export: {error}", file=sys.stderr)
        return 1
    good = facts["difference"] <= args.tolerance
    if args.json:
        print(json.dumps(facts, indent=2, sort_keys=True))
    else:
        print(f"{args.model} -> {args.out}  {facts['bytes']:,} bytes  sha256 {facts['sha256']}")
        print(
            f"P(fake) of {facts['n']} crops ({facts['low']:.3f} to {facts['high']:.3f}) differs by at "
            f"most {facts['difference']:.1e} from the detector's"
        )
    if not good:
        print(
            f"gendkit export: that is more than {args.tolerance:g}; do not use {args.out}. Try "
            "another --opset",
            file=sys.stderr,
        )
    return 0 if good else 1


def _run(args: argparse.Namespace) -> dict[str, Any]:
    from gendkit import onnx_export, repro, score

    detector = score.load(args.model, device="cpu")
    crops = _read(args.crops) if args.crops else onnx_export.nobody_crops(scale=detector.crop_scale)
    stored = onnx_export.export(detector, args.out, args.opset)
    found = onnx_export.parity(args.out, detector, crops)
    size = args.out.stat().st_size
    measured = {name: found[name] for name in ("n", "difference", "low", "high")}
    file = {"out": str(args.out), "bytes": size, "sha256": repro.sha256(args.out)}
    return {**file, **measured, "stored": stored}


def _read(paths: Sequence[str]) -> list[Any]:
    import numpy as np
    from PIL import Image

    crops = []
    for path in paths:
        with Image.open(path) as image:
            crops.append(np.asarray(image.convert("RGB")))
    return crops


if __name__ == "__main__":
    sys.exit(main())
