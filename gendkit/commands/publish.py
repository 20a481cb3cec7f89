"""`gendkit publish`: a run or a model as a folder for a model hub, and, if asked for, its upload."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_EXAMPLES = """examples:
  gendkit publish embedded --out release --dry-run
  gendkit publish _build/out/runs/example --out release --dry-run --license cc0-1.0
  gendkit publish runs/mine --out release --adapter --license cc-by-nc-4.0 --notes about.md
  HF_TOKEN=... gendkit publish runs/mine --out release --license mit --repo-id me/my-detector

The folder holds the weights (safetensors), config.json, preprocessor_config.json, threshold.json where
there is one, and README.md, the model card: data, recipe, metrics with intervals, limits, licence,
hashes, all from the records of the run. It is loaded back and must give the scores of the source. Read
the card before you share it; what no record holds it cannot say.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gendkit publish",
        description="Write a folder that is ready for a model hub, with its model card; upload it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="folder of a run, of a detector or of an adapter; or embedded"
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--dry-run", action="store_true", help="write the folder, upload nothing")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--full",
        dest="kind",
        action="store_const",
        const="full",
        default="full",
        help="the whole detector, which loads by itself (default)",
    )
    kind.add_argument(
        "--adapter",
        dest="kind",
        action="store_const",
        const="adapter",
        help="only what was tuned; needs the base encoder to load",
    )
    parser.add_argument("--repo-id", metavar="USER/NAME", help="model on the hub")
    parser.add_argument(
        "--license",
        dest="licence",
        metavar="ID",
        help="licence of the weights, by its name on the hub, as mit; known only for the kit's own",
    )
    parser.add_argument("--notes", metavar="FILE", help="Markdown to add to the card")
    parser.add_argument(
        "--base", metavar="ID", help="untuned encoder, to make an adapter of a model"
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is not empty")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    source, out = Path(args.source), Path(args.out)
    if not args.dry_run and not args.repo_id:
        parser.error("an upload needs --repo-id USER/NAME; --dry-run writes the folder only")
    if source.exists():
        here, there = source.resolve(), out.resolve()
        if here == there or here in there.parents or there in here.parents:
            parser.error(f"--out {out} and SOURCE {source} lie in each other; choose another --out")
    if out.is_file():
        parser.error(f"--out {out} is a file; give the name of a folder")
    if out.is_dir() and any(out.iterdir()) and not args.overwrite:
        parser.error(f"--out {out} is not empty; choose another, or pass --overwrite")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after `gendkit publish`; None takes them from the command line.

    Returns:
        0 done, 1 it could not be written or uploaded (reason on stderr), 2 wrong use.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    try:
        facts = _run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"gendkit publish: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(facts, indent=2, sort_keys=True))
        return 0
    print(f"{args.source} -> {facts['folder']} ({facts['kind']}, licence {facts['licence']})")
    for name, file in facts["files"].items():
        print(f"  {name}  {file['bytes']:,} bytes  sha256 {file['sha256'][:12]}")
    print(f"loaded back: P(fake) differs by at most {facts['difference']:.1e}")
    if facts["url"]:
        print(f"uploaded to {facts['url']}")
    else:
        print(f"dry run: nothing was uploaded; read {Path(args.out) / 'README.md'}")
    return 0


def _run(args: argparse.Namespace) -> dict[str, Any]:
    from gendkit import publish

    facts = publish.write(
        args.source,
        args.out,
        args.kind,
        licence=args.licence,
        repo_id=args.repo_id,
        base=args.base,
        notes=args.notes,
    )
    url = None if args.dry_run else publish.upload(args.out, args.repo_id, args.private)
    return facts | {"url": url}


if __name__ == "__main__":
    sys.exit(main())
