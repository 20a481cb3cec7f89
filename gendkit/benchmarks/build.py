"""Write the kit's manifest of videos from the tree of a dataset: people, pairs, roles, masks."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest
from gendkit.benchmarks import listed, people, scan
from gendkit.benchmarks.listed import DataError
from gendkit.benchmarks.schema import Card, Part

SHARES = {"fit": 0.6, "select": 0.2, "report": 0.2}
SPLITS = {  # of each dataset that a manifest can be built of, the default first
    "FF++": ("official", "whole"),
    "FSh": ("official", "whole"),
    "DFD": ("people", "whole"),
    "CDFv2": ("official", "rest", "people", "whole"),
    "CDFv3": ("official", "rest", "people", "whole"),
    "generic": ("whole", "people"),
}
SOURCES = ("person", "recording")
# What is missing to fill source_id and role of the others.
NEEDS = {
    "UADFV": "its tree is read as a generic one: gendkit data manifest generic ROOT --dataset UADFD",
    "DFDC": "the label file of the release, to sort its videos; names tell no people",
    "FFIW": "the source and target videos of one split; target videos have the names of sources",
    "KoDF": "the selection of videos; fakes are named target_source_code_number",
    "FAVC": "meta_data.csv of the release, which names person, method and real of each video",
    "DFDM": "the Celeb-real videos of Celeb-DF v2 as real/; fakes are named target_source_scene_model",
    "PGF": "the metadata of the release, which names speakers",
    "IDF": "the split lists of the release; people are the idXX that names begin with",
    "DSv1.1": "annotations-split-def.csv of the release, which says the split of each person",
    "DSv2": "annotations-fake.csv and annotations-split-def.csv of the release",
}


@dataclass(frozen=True)
class Name:
    """What the name of a video tells.

    Args:
        person: Who is seen: the person or sequence a fake was made from.
        donor: Whose face or movement was put on; empty for reals and where nobody is named.
        recording: video_id of the real the fake was made from, or of the real itself.
    """

    person: str
    donor: str
    recording: str


def _faceforensics(stem: str, part: Part) -> Name:
    target, _, source = stem.partition("_")  # named <target sequence>_<source sequence>
    return Name(target, source, target)


def _deepfakedetection(stem: str, part: Part) -> Name:
    who, scene = stem.split("__")[:2]  # <actor>__<scene> or <target>_<source>__<scene>__<id>
    target, _, source = who.partition("_")
    return Name(target, source, f"{target}__{scene}")


def _celeb(stem: str, part: Part) -> Name:
    match = re.fullmatch(r"(id\d+)_(?:(id\d+)_)?(\d+)(?:_.+)?", stem)
    if match is None:  # YouTube-real: a number, the person is not named
        return Name(stem, "", f"{part.origin}/{stem}")
    return Name(match[1], match[2] or "", f"Celeb-real/{match[1]}_{match[3]}")


_PARSERS: dict[str, Callable[[str, Part], Name]] = {
    "FF++": _faceforensics,
    "FSh": _faceforensics,
    "DFD": _deepfakedetection,
    "CDFv2": _celeb,
    "CDFv3": _celeb,
}


def build(
    card: Card,
    root: str | Path,
    split: str | None = None,
    compression: str | None = None,
    source: str = "person",
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    partial: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Build the manifest of a dataset from its folder.

    Args:
        card: Of FaceForensics++, FaceShifter, DeepFakeDetection, Celeb-DF v2 or Celeb-DF++.
        root: Its folder.
        split: One of `SPLITS`; None takes the first. "official": the lists of the release; a video
            of none of their parts is left out. "rest": those not tested select, as the authors of
            GenD do; people may be shared. "people": nobody stands under two roles; fakes
            across roles are left out. "whole": everything is tested.
        compression: Only this one; None takes all that are there.
        source: What source_id names: "person" keeps people apart in every step, "recording" pairs
            a fake with the very video it was made from. The same for FaceForensics++.
        shares: Role -> share of the people, for "people"; None takes `SHARES`.
        seed: For "people".
        partial: Whether missing folders, and videos that the lists name, are left out.

    Returns:
        The manifest, paths relative to the root, ordered by method and video, and remarks.
        Beside the required columns: donor_id, pair_id (video_id of the real) and mask_path.

    Raises:
        FileNotFoundError: If the root is no folder.
        DataError: If there is no builder for the dataset, a list is missing or wrong, videos are
            missing or doubled, or too few people are left for the roles.

    Source: names: dataset/README.md of FaceForensics and of Celeb-DF; splits: their own lists.
    """
    if card.key not in _PARSERS:
        raise DataError(
            f"gendkit has no builder for {card.name}. Needed: {NEEDS[card.key]}. Sort the videos "
            "into real/ and one folder for each method, each fake named after its real "
            "(real/x.mp4, METHOD/x.mp4 or METHOD/x_y.mp4), and run: gendkit data manifest generic "
            f"ROOT --dataset {card.folder}"
        )
    root = _folder(root, card.name)
    split = _choice("split", split or SPLITS[card.key][0], SPLITS[card.key])
    source = _choice("source", source, SOURCES)
    if compression is not None and compression not in card.compressions:
        known = ", ".join(card.compressions) or "none: leave --compression out"
        raise DataError(f"got compression {compression!r}; {card.name} has {known}")
    table, notes = _read(card, root, compression, partial)
    if split == "whole":
        table["role"] = "report"
    elif card.key in ("FF++", "FSh"):
        notes += _official_pairs(card, root, table, partial)
    else:
        tested = listed.read_test_videos(card, root) if card.files else {}
        notes += _tested(table, tested, "select" if split == "rest" else "", partial)
        if split == "people":
            table, more = _by_people(table, shares or SHARES, seed)
            notes += more
    unused = int((table["role"] == "").sum())
    if unused:
        notes.append(f"{unused} videos without a role are left out (--split {split})")
    table = table[table["role"] != ""]
    if source == "recording":
        table = table.assign(source_id=table["pair_id"])
    return _finish(table, card.name), notes


def _choice(what: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise DataError(f"got {what} {value!r}, expected one of {', '.join(known)}")
    return value


def _folder(root: str | Path, name: str) -> Path:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root} is no folder; give the folder of {name}")
    return Path(root)


def _finish(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if table.empty:
        raise DataError(f"no video of {name} is left for the manifest; run gendkit data verify")
    order = ["method", "compression", "video_id"]
    table = table.drop(columns="name", errors="ignore").sort_values(order, kind="stable")
    return manifest.validate(table.reset_index(drop=True))


def _read(
    card: Card, root: Path, compression: str | None, partial: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Make a row of each video; roles stay empty."""
    rows, lacking, unmasked, odd = [], [], 0, []
    which = [compression] if compression else scan.compressions(card, root)
    for one in which or [card.compressions[0]]:
        for part in card.parts:
            found = scan.look(root, part, one)
            if not found.videos:
                lacking.append(found.folder)
            _refuse_doubled(found)
            odd += found.odd
            masks = scan.look(root, Part((part.masks,), "")).videos if part.masks else {}
            for stem, path in found.videos.items():
                name = _PARSERS[card.key](stem, part)
                unmasked += bool(part.masks) and stem not in masks
                rows.append(
                    {
                        "path": path,
                        "dataset": card.folder,
                        "method": part.method,
                        "compression": one,
                        "video_id": f"{part.origin}/{stem}" if part.origin else stem,
                        "source_id": name.person,
                        "label": int(not part.is_real),
                        "role": "",
                        "donor_id": name.donor,
                        "pair_id": name.recording,
                        "mask_path": masks.get(stem, ""),
                        "name": f"{part.folders[0]}/{stem}",
                    }
                )
    if lacking and (not partial or not rows):
        raise DataError(
            f"no videos in {', '.join(lacking[:3])}{' and others' * (len(lacking) > 3)} under "
            f"{root}; run gendkit data verify, or pass --partial to go on without"
        )
    notes = [f"{len(lacking)} folders have no videos, first {lacking[0]}"] if lacking else []
    if odd:
        notes.append(f"{len(odd)} files have names of no video of the set, first {odd[0]}")
    if unmasked:
        notes.append(f"{unmasked} fakes have no mask; the largest face will be taken there")
    return pd.DataFrame(rows), notes


def _refuse_doubled(found: scan.Found) -> None:
    for stem, paths in found.doubled.items():
        raise DataError(
            f"{' and '.join(map(repr, paths))} are both video {stem!r}; keep one of them"
        )


def _official_pairs(card: Card, root: Path, table: pd.DataFrame, partial: bool) -> list[str]:
    """Set the roles of a FaceForensics++ tree from its three lists of pairs."""
    splits = listed.read_splits(card, root)
    role_of = {
        name: listed.ROLES[split]
        for split, pairs in splits.items()
        for a, b in pairs
        for name in (a, b, f"{a}_{b}", f"{b}_{a}")
    }
    unknown = sorted(set(table["video_id"]) - set(role_of))
    if unknown and not partial:
        raise DataError(
            f"{len(unknown)} videos stand in no split, first {unknown[0]!r}; copy the official "
            "lists, remove these videos, or pass --partial to leave them out"
        )
    table["role"] = table["video_id"].map(role_of).fillna("")
    notes = []
    for (method, compression), part in table.groupby(["method", "compression"], sort=True):
        wanted = {name for name in role_of if ("_" in name) == (method != "real")}
        lost = sorted(wanted - set(part["video_id"]))
        notes += _lost(lost, f"{method} {compression}", partial)
    notes += [
        f"{split}.json holds {len(pairs)} pairs, the official one {listed.PAIRS[split]}"
        for split, pairs in splits.items()
        if len(pairs) != listed.PAIRS[split]
    ]
    return notes


def _lost(names: list[str], where: str, partial: bool) -> list[str]:
    if not names:
        return []
    if not partial:
        raise DataError(
            f"{len(names)} videos of {where} are listed but not there, first {names[0]!r}; run "
            "gendkit data verify, or pass --partial to go on without"
        )
    return [f"{len(names)} listed videos of {where} are missing, first {names[0]}"]


def _tested(table: pd.DataFrame, tested: Mapping[str, str], rest: str, partial: bool) -> list[str]:
    """Set the role report where a list of test videos names a video, another elsewhere."""
    table["role"] = np.where(table["name"].isin(tested), "report", rest)
    return _lost(sorted(set(tested) - set(table["name"])), "the test list", partial)


def _by_people(
    table: pd.DataFrame, shares: Mapping[str, float], seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Deal people to roles; whoever is in an official test keeps the role report.

    Returns:
        The table with roles, "" where a fake joins two people of different roles; remarks.
    """
    shares = _shares(shares)
    fixed: set[str] = set()
    if (table["role"] == "report").any():
        tested = table[table["role"] == "report"]
        fixed = {*tested["source_id"], *tested["donor_id"]} - {""}
        shares = {role: share for role, share in shares.items() if role != "report"}
    free = table[~table["source_id"].isin(fixed) & ~table["donor_id"].isin(fixed)]
    if free.empty:
        raise DataError(
            f"all {len(fixed)} people are in the official test, nobody is left for "
            f"{' and '.join(shares)}; use --split official, or --split rest, which may share people"
        )
    pairs = free.loc[free["donor_id"] != "", ["source_id", "donor_id"]]
    roles = people.deal(
        pairs.itertuples(index=False, name=None),
        {*free["source_id"], *free["donor_id"]} - {""},
        shares,
        seed,
    )
    shown = table["source_id"].map(roles).fillna("")
    donor = table["donor_id"].map(roles).fillna("").where(table["donor_id"] != "", shown)
    table = table.assign(
        role=np.where(table["role"] == "report", "report", shown.where(shown == donor, ""))
    )
    for role in shares:
        if table.loc[table["role"] == role, "label"].nunique() < 2:
            raise DataError(
                f"no role {role!r} with both reals and fakes is possible: {len(fixed)} of the "
                f"{len(fixed) + len(roles)} people are in the official test; use --split official "
                "or whole, other --shares, or --split rest, which may share people"
            )
    counts = pd.Series(roles).value_counts()
    sizes = ", ".join(f"{counts.get(role, 0)} {role}" for role in shares)
    notes = [f"people by role: {sizes}" + (f", {len(fixed)} in the official test" if fixed else "")]
    crossing = int(((shown != donor) & (table["label"] == 1) & (table["role"] == "")).sum())
    if crossing:
        notes.append(f"{crossing} fakes join people of different roles")
    return table, notes


def _shares(shares: Mapping[str, float]) -> dict[str, float]:
    if not shares or set(shares) - set(SHARES) or min(shares.values()) <= 0:
        raise DataError(f"got shares {dict(shares)}; expected positive ones of {', '.join(SHARES)}")
    return {role: shares[role] for role in SHARES if role in shares}


def build_generic(
    root: str | Path,
    dataset: str | None = None,
    split: str = "whole",
    compression: str = "",
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """Build the manifest of a folder with real/ and one folder for each method.

    A fake belongs to the real whose name it has, alone or before "_": real/x.mp4 and METHOD/x.mp4,
    METHOD/x_fake.mp4 or METHOD/x_y.mp4. Where y is the name of a real too, it is the donor.

    Args:
        root: The folder.
        dataset: Name of the set; None takes the folder's.
        split: "whole": everything is tested. "people": linked videos are dealt to the roles.
        compression: Of all videos, as a word for the column.
        shares: Role -> share of the videos, for "people".
        seed: For "people".

    Returns:
        As `build`.

    Raises:
        FileNotFoundError: If the root is no folder.
        DataError: If there is no real/ or no other folder with videos, names are doubled, or too
            few videos are independent of each other.
    """
    root = _folder(root, "the videos")
    _choice("split", split, SPLITS["generic"])
    shares = _shares(shares or SHARES)
    name = dataset or root.resolve().name
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {one: scan.look(root, Part((one,), one, deep=True)) for one in folders}
    found = {one: content for one, content in found.items() if content.videos}
    if "real" not in found or len(found) < 2:
        raise DataError(
            f"{root} has videos in {', '.join(found) or 'no folder'}; expected real/ with the real "
            "videos and one folder for each method"
        )
    reals = set(found["real"].videos)
    rows, alone = [], 0
    for method, content in found.items():
        _refuse_doubled(content)
        for stem, path in content.videos.items():
            person, donor = (stem, "") if method == "real" else _parents(stem, reals)
            alone += not person
            rows.append(
                {
                    "path": path,
                    "dataset": name,
                    "method": method,
                    "compression": compression,
                    "video_id": stem,
                    "source_id": person or stem,
                    "label": int(method != "real"),
                    "role": "report",
                    "donor_id": donor,
                    "pair_id": person,
                    "mask_path": "",
                }
            )
    notes = [f"{alone} fakes have the name of no real; each is a source of its own"] * bool(alone)
    table = _finish(pd.DataFrame(rows), name)
    if split == "people":
        table = manifest.split(
            table, {k: v / sum(shares.values()) for k, v in shares.items()}, seed
        )
    return table, notes


def _parents(stem: str, reals: Iterable[str]) -> tuple[str, str]:
    """Name the real behind a fake and the donor, where its name tells; else empty."""
    reals = set(reals)
    if stem in reals:
        return stem, ""
    cuts = [k for k, letter in enumerate(stem) if letter == "_"]
    for cut in reversed(cuts):
        if stem[:cut] in reals:
            donor = stem[cut + 1 :]
            return stem[:cut], donor if donor in reals else ""
    return "", ""


def write(table: pd.DataFrame, root: str | Path, out: str | Path) -> Path:
    """Write a manifest whose paths are relative to its own folder.

    Args:
        table: From `build`, paths relative to the root.
        root: Folder of the dataset; it may be a link.
        out: The CSV file, in that folder or in one above it.

    Returns:
        The file.

    Raises:
        DataError: If the folder of the dataset is not inside the folder of the file.
    """
    out, root = Path(os.path.abspath(out)), Path(os.path.abspath(root))
    if root != out.parent and out.parent not in root.parents:
        raise DataError(
            f"paths of a manifest are relative to its folder, and {root} is not inside "
            f"{out.parent}; write to {root / 'manifest.csv'}, or make a link: ln -s {root} "
            f"{out.parent / root.name}, and give that link as ROOT"
        )
    below = root.relative_to(out.parent).as_posix()
    before = "" if below == "." else f"{below}/"
    moved = table.assign(
        path=before + table["path"],
        mask_path=[before + path if path else "" for path in table["mask_path"]],
    )
    manifest.write(moved, out)
    return out
