"""`gendkit convert`: a detector from one layout to another."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  gendkit convert yermandy/GenD_CLIP_L_14 models/gend-l14 --to gendkit
  gendkit convert yermandy/GenD_CLIP_L_14 models/gend-l14-adapter --to adapter
  gendkit convert models/gend-l14-adapter models/release --to official
  gendkit convert best_mAP.ckpt models/mine --to gendkit --head LinearNorm
  gendkit convert models/tuned models/adapter --to adapter --base models/my-clip

layouts:
  official  config.json that names a backbone, and the tensor names of the released models
  gendkit   what from_pretrained and transformers' Auto classes load; holds its own architecture
  adapter   LayerNorms and head only (0.4 MB for CLIP L/14); needs the base encoder to load
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit convert",
        description="Convert a detector: released GenD models, folders of this kit, adapters and "
        "local Lightning checkpoints. No code of the source is run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="hub id (owner/name), folder, or a local .ckpt file")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--to", required=True, choices=("official", "adapter", "gendkit"),
                        help="layout to write, see below")  # fmt: skip
    parser.add_argument("--base", metavar="ID", help="untuned encoder: known name or folder")
    parser.add_argument("--backbone", metavar="ID", help="of a .ckpt that does not say it")
    parser.add_argument(
        "--head", choices=("LinearNorm", "linear"), help="of a .ckpt that does not say it"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of hub files")
    parser.add_argument("--offline", action="store_true", help="use cached hub files only")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is not empty")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    source, out = Path(args.source), Path(args.out)
    if source.exists():
        here, there = source.resolve(), out.resolve()
        if here == there or here in there.parents or there in here.parents:
            parser.error(f"OUT {out} and SOURCE {source} lie in each other; choose another OUT")
    if not source.is_file() and (args.backbone or args.head):
        parser.error("--backbone and --head are for a .ckpt file; a folder says them itself")
    if out.is_file():
        parser.error(f"OUT {out} is a file; give the name of a folder")
    if out.is_dir() and any(out.iterdir()) and not args.overwrite:
        parser.error(f"OUT {out} is not empty; choose another, or pass --overwrite")


def _convert(args: argparse.Namespace) -> dict[str, Any]:
    from gendkit import hub, repro

    options = {"cache_dir": args.cache_dir, "local_files_only": args.offline}
    if Path(args.source).is_file():
        told = {"backbone": args.backbone, "head": args.head, "base": args.base}
        model, kind = hub.from_checkpoint(args.source, **told), "checkpoint"
    else:
        local = Path(args.source).is_dir()
        kind = hub.kind_of(args.source) if local else "hub"
        base = {"base": args.base, "revision": args.revision}
        model = hub.from_pretrained(args.source, **base, **options)
    base = args.base or hub.base_beside(args.source, model)
    if args.to == "official":
        hub.to_official(model, args.out, base=base, **options)
    elif args.to == "adapter":
        hub.to_adapter(model, args.out, base=base, **options)
    else:
        hub.save(model, args.out)
    files = sorted(path for path in Path(args.out).iterdir() if path.is_file())
    return {
        "source": args.source,
        "source_layout": kind,
        "out": args.out,
        "layout": args.to,
        "backbone": model.config.backbone,
        "head": model.config.head,
        "parameters": sum(p.numel() for p in model.parameters()),
        "files": {p.name: {"bytes": p.stat().st_size, "sha256": repro.sha256(p)} for p in files},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after `gendkit convert`; None takes them from the command line.

    Returns:
        0 done, 1 the source could not be read or does not fit the wanted layout (reason on stderr).
    """
    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            facts = _convert(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit convert: {error}", file=sys.stderr)
        return 1
    facts["warnings"] = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    for text in facts["warnings"]:
        print(f"gendkit convert: warning: {text}", file=sys.stderr)
    if args.json:
        print(json.dumps(facts, indent=2, sort_keys=True))
        return 0
    print(f"{facts['source']} ({facts['source_layout']}) -> {facts['out']} ({facts['layout']})")
    print(f"backbone {facts['backbone']}, head {facts['head']}, {facts['parameters']:,} parameters")
    for name, file in facts["files"].items():
        print(f"  {name}  {file['bytes']:,} bytes  sha256 {file['sha256'][:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
