"""Check a built set against its tables, its plan and itself: ``gendkit nobody verify``. Source: own."""

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from gendkit import manifest, repro
from gendkit.video import read_frames

from . import clips, plan, schema
from .plan import Settings

BUDGET = 45_000_000  # bytes of all sets of the default size together, head pack included
NEAR = 10  # of 256 bits: first frames nearer than this show one scene
LEAST_PSNR = 24.0  # dB between a frame before and after coding, at CRF 32 and the strongest noise


@dataclass
class Findings:
    """What a check found.

    Attributes:
        problems: one sentence a fault, by check; an empty list is a check that passed.
        facts: what a reader wants to know, name -> text.
        counts: clips by set, method and role.
    """

    problems: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not any(self.problems.values())

    def add(self, check: str, problems: Iterable[str]) -> None:
        """Note the faults of a check, perhaps none."""
        self.problems.setdefault(check, []).extend(problems)

    def text(self) -> str:
        """The summary, for people."""
        lines = [self.counts.to_string()] if len(self.counts) else []
        lines += [f"{name}: {text}" for name, text in self.facts.items()]
        for check, problems in self.problems.items():
            lines.append(f"{'FAULT' if problems else 'ok':5}  {check}")
            lines += [f"       {p}" for p in problems[:5]]
            lines += [f"       and {len(problems) - 5} more"] if len(problems) > 5 else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Loaded:
    """One set, read: folder, settings and tables (cells are text, but for the manifest)."""

    folder: Path
    settings: Settings
    table: pd.DataFrame
    people: pd.DataFrame
    forgeries: pd.DataFrame


def verify(root: str | Path, rebuild: int = 0, workers: int = 0) -> Findings:
    """Check every set in a folder.

    Args:
        root: folder that holds ``nobody``, ``nobody-x`` or both, or the folder of one set.
        rebuild: people of each set whose real clip is filmed again from its seed and compared.
        workers: processes; 0 means one for each core.

    Returns:
        The findings.

    Raises:
        ValueError: there is no set, or a number is negative.
    """
    if rebuild < 0 or workers < 0:
        raise ValueError(f"--rebuild {rebuild}, --workers {workers}: expected 0 or more")
    folders = find_sets(root)
    found, sets = Findings(), []
    for folder in folders:
        one = _read(folder, found)
        if one is not None:
            sets.append(one)
    for one in sets:
        found.add("files and hashes", _files(one))
        found.add("plan: who, what, how often", _planned(one))
        found.add("roles share nobody", _roles(one))
        found.add("landmarks", _landmarks(one))
        if not one.settings.spec.report_only:
            found.add("training lists", _lists(one))
    _clips(sets, found, workers)
    _people_apart(sets, found)
    if rebuild:
        for one in sets:
            _rebuild(one, rebuild, found)
    _size(folders, sets, found)
    _summary(sets, found)
    return found


def find_sets(root: str | Path) -> list[Path]:
    """Find the folders of sets: those named in ``plan.SETS`` with a manifest, or the folder itself.

    Args:
        root: where to look.

    Returns:
        The folders, in the order of ``plan.SETS``.

    Raises:
        ValueError: none is there.
    """
    root = Path(root)
    if (root / "build.json").is_file():
        return [root]
    found = [root / name for name in plan.SETS if (root / name / "build.json").is_file()]
    if not found:
        raise ValueError(
            f"no finished set in {root}: expected {' or '.join(plan.SETS)} with a build.json; run gendkit nobody build"
        )
    return found


def load_settings(folder: Path) -> Settings:
    """Read with which settings a set was built.

    Args:
        folder: of the set.

    Returns:
        The settings.

    Raises:
        ValueError: `build.json` is of another version of the generator.
    """
    facts = repro.read_json(folder / "build.json").get("settings", {})
    if set(facts) != {f.name for f in fields(Settings)}:
        raise ValueError(
            f"{folder / 'build.json'} was written by another version of the generator; build the set again"
        )
    return Settings(**{**facts, "methods": tuple(facts["methods"])})


def _read(folder: Path, found: Findings) -> Loaded | None:
    missing = [name for name in (*schema.TABLES, "landmarks.npz") if not (folder / name).is_file()]
    found.add("tables are there", [f"{folder / name} is missing" for name in missing])
    if missing:
        return None
    texts = {}
    for name, columns in schema.TABLES.items():
        texts[name] = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        faults = schema.problems(texts[name], columns, f"{folder.name}/{name}")
        found.add("schema", faults)
        if any("no column" in fault for fault in faults):
            return None
    try:
        table = manifest.read(folder / "manifest.csv")
    except manifest.ManifestError as error:
        found.add("schema", [f"{folder.name}/manifest.csv: {error}"])
        return None
    settings = load_settings(folder)
    return Loaded(folder, settings, table, texts["identities.csv"], texts["forgeries.csv"])


def _files(one: Loaded) -> list[str]:
    faults, known = [], set()
    for path, hashed in (("path", "sha256"), ("mask_path", "mask_sha256")):
        for name, wanted in zip(one.table[path], one.table[hashed], strict=True):
            known.add(name)
            if name and not (one.folder / name).is_file():
                faults.append(f"{one.folder.name}/{name} is missing")
            elif name and repro.sha256(one.folder / name) != wanted:
                faults.append(
                    f"{one.folder.name}/{name} is not the file that was made (sha256 differs)"
                )
    extra = [
        p.relative_to(one.folder).as_posix()
        for p in sorted(one.folder.rglob("*.mp4"))
        if p.relative_to(one.folder).as_posix() not in known
    ]
    return faults + [f"{one.folder.name}/{name} is in no table" for name in extra]


def _planned(one: Loaded) -> list[str]:
    """Compare the tables with the plan that the settings give."""
    faults, wanted = [], set()
    role_of = {}
    for group in plan.groups(one.settings):
        for person in group.people:
            role_of[person.name] = (person.role, str(group.number), str(person.seed))
            wanted |= {
                (m, person.name) for m in (plan.REAL, *plan.methods_of(one.settings, person.role))
            }
    there = list(zip(one.table["method"], one.table["source_id"], strict=True))
    faults += [f"{m} of {who} is missing" for m, who in sorted(wanted - set(there))]
    faults += [f"{m} of {who} is not in the plan" for m, who in sorted(set(there) - wanted)]
    if len(there) != len(set(there)):
        faults.append(f"{len(there) - len(set(there))} clips stand twice")
    for row in one.people.itertuples():
        given = (row.role, row.group, row.seed)
        if role_of.get(row.identity_id) != given:
            faults.append(
                f"identities.csv gives {row.identity_id} role, group, seed {given}, "
                f"the plan {role_of.get(row.identity_id)}"
            )
    fakes = one.table[one.table["label"] == 1]
    keys = set(zip(fakes["method"], fakes["video_id"], strict=True))
    if keys != set(zip(one.forgeries["method"], one.forgeries["video_id"], strict=True)):
        faults.append("forgeries.csv and manifest.csv name different fakes")
    for row in one.table.itertuples():
        video = row.source_id + (f"_{row.donor_id}" if row.donor_id else "")
        if row.path != f"{row.method}/{row.video_id}.mp4" or row.video_id != video:
            faults.append(f"{row.path} does not fit its method {row.method}, source and donor")
    return [f"{one.folder.name}: {fault}" for fault in faults]


def _roles(one: Loaded) -> list[str]:
    """Nobody stands under two roles, as target, donor or driver; nor do two roles share a group."""
    faults = []
    people = one.people.set_index("identity_id")
    for row in one.table.itertuples():
        for who in filter(None, (row.source_id, row.donor_id)):
            if who not in people.index:
                faults.append(f"{row.path}: {who} is not in identities.csv")
            elif people.at[who, "role"] != row.role:
                faults.append(
                    f"{row.path}: role {row.role}, but {who} is for {people.at[who, 'role']}"
                )
            elif people.at[who, "group"] != people.at[row.source_id, "group"]:
                faults.append(f"{row.path}: {who} is of another group")
        if row.donor_id == row.source_id:
            faults.append(f"{row.path}: target and donor are one person")
    return [f"{one.folder.name}: {fault}" for fault in faults]


def _landmarks(one: Loaded) -> list[str]:
    faults = []
    reals = set(one.table.loc[one.table["label"] == 0, "video_id"])
    with np.load(one.folder / "landmarks.npz", allow_pickle=False) as points:
        if set(points.files) != reals:
            faults.append("landmarks.npz does not name the real clips")
        for name in points.files:
            p = points[name]
            if p.shape != (one.settings.n_frames, 68, 2) or not np.isfinite(p).all():
                faults.append(f"landmarks of {name} are {p.shape}, or not finite")
            elif p.min() < -8 or p.max() > clips.SIZE + 8:
                faults.append(
                    f"landmarks of {name} leave the frame: {p.min():.0f} to {p.max():.0f}"
                )
    return [f"{one.folder.name}: {fault}" for fault in faults]


def _lists(one: Loaded) -> list[str]:
    """The two lists hold rows of the manifest, are of equal size, and keep what their names say."""
    known = set(one.table["path"])
    faults, read = [], {}
    for name in ("paired", "unpaired"):
        file = one.folder / f"{name}.csv"
        if not file.is_file():
            faults.append(f"{file.name} is missing")
            continue
        read[name] = manifest.read(file)
        if not set(read[name]["path"]) <= known or set(read[name]["role"]) != {"fit"}:
            faults.append(f"{file.name} names clips that are not for fitting")
    if len(read) == 2:
        people = [
            {*part["source_id"], *part["donor_id"]} - {""}
            for _, part in read["unpaired"].groupby("label")
        ]
        if set.intersection(*people):
            faults.append("unpaired.csv has people on both sides")
        fakes = read["paired"]["label"] == 1
        if set(manifest.pairs(read["paired"])["fake"]) != set(read["paired"].index[fakes]):
            faults.append("paired.csv has a fake without its real")
        if len(read["paired"]) != len(read["unpaired"]):
            faults.append("paired.csv and unpaired.csv differ in length")
    return [f"{one.folder.name}: {fault}" for fault in faults]


def _clips(sets: list[Loaded], found: Findings, workers: int) -> None:
    """Decode everything, one person at a time, on all cores."""
    jobs = []
    for one in sets:
        facts = one.forgeries.set_index(["method", "video_id"])["area"].to_dict()
        for _, rows in one.table.groupby("source_id", sort=True):
            areas = {path: facts.get((m, v)) for path, m, v in
                     zip(rows["path"], rows["method"], rows["video_id"], strict=True)}  # fmt: skip
            jobs.append((one.folder, rows, areas, one.settings.n_frames))
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        seen = [clips.examine(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            seen = (
                list(pool.map(clips.examine, *zip(*jobs, strict=True), chunksize=4)) if jobs else []
            )
    found.add(
        "clips decode: frames, size, rate, format", [f for s in seen for f in s.format_faults]
    )
    found.add("masks agree with what was forged", [f for s in seen for f in s.mask_faults])
    shots = [(s.name, s.fingerprint) for s in seen if s.fingerprint is not None]
    found.add("no two people in one scene", clips.near_duplicates(shots, NEAR))
    for name in ("inside", "outside"):
        values = [v for s in seen for v in getattr(s, name)]
        if values:
            found.facts[f"fake against real, {name} of the mask"] = (
                f"mean difference {np.mean(values):.2f} grey levels (5 to 95 %: "
                f"{np.percentile(values, 5):.2f} to {np.percentile(values, 95):.2f})"
            )


def _people_apart(sets: list[Loaded], found: Findings) -> None:
    if not sets:
        return
    seeds = pd.concat([one.people["seed"] for one in sets])
    faults = [f"seed {s} makes two people" for s in seeds[seeds.duplicated()]]
    frames = pd.concat([t["frames_sha256"] for one in sets for t in (one.people, one.forgeries)])
    faults += [f"two clips have equal frames ({h[:12]})" for h in frames[frames.duplicated()]]
    found.add("sets and clips share nothing", faults)


def _rebuild(one: Loaded, n: int, found: Findings) -> None:
    from . import benchmark, film, truth

    people = {p.name: p for group in plan.groups(one.settings) for p in group.people}
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(sorted(people), min(n, len(people)), replace=False))
    same_code = repro.read_json(one.folder / "build.json") == benchmark.stamp(one.settings)
    hashes = one.people.set_index("identity_id")["frames_sha256"]
    faults, identical, psnr = [], 0, []
    for name in chosen:
        with benchmark.one_thread():
            made = film.real_footage(people[name], one.settings.n_frames, one.settings.spec.domain)
        coded = read_frames(one.folder / plan.REAL / f"{name}.mp4")
        error = np.mean((made.frames.astype(np.float64) - coded) ** 2)
        psnr.append(10 * np.log10(255**2 / max(error, 1e-9)))
        identical += truth.frames_hash(made.frames) == hashes[name]
        if psnr[-1] < LEAST_PSNR:
            faults.append(
                f"{one.folder.name}: {name} made again is another clip (PSNR {psnr[-1]:.1f} dB)"
            )
    if same_code and identical < len(chosen):
        faults.append(
            f"{one.folder.name}: same code and versions, but {len(chosen) - identical} clips differ"
        )
    found.add("clips made again from their seeds", faults)
    found.facts[f"{one.folder.name}, made again"] = (
        f"{identical} of {len(chosen)} bit-identical before coding ({'same' if same_code else 'other'} code "
        f"and versions); against the coded clip PSNR {min(psnr):.1f} to {max(psnr):.1f} dB"
    )


def _size(folders: list[Path], sets: list[Loaded], found: Findings) -> None:
    size = sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file())
    found.facts["size"] = f"{size / 1e6:.1f} MB"
    usual = all(one.settings.n_identities <= one.settings.spec.n_identities for one in sets)
    over = usual and size > BUDGET
    found.add(
        "size", [f"{size / 1e6:.1f} MB, expected at most {BUDGET / 1e6:.0f} MB"] if over else []
    )


def _summary(sets: list[Loaded], found: Findings) -> None:
    for one in sets:
        name, people = one.folder.name, one.people
        found.facts[f"{name}, people"] = ", ".join(
            f"{n} {role}" for role, n in people["role"].value_counts().items()
        )
        for title in ("gender", "hair", "glasses", "hat", "beard"):
            counts = people[title].value_counts()
            found.facts[f"{name}, {title}"] = ", ".join(f"{n} {v}" for v, n in counts.items())
        ita = people["ita_deg"].astype(float)
        found.facts[f"{name}, skin tone"] = (
            f"ITA {ita.min():.0f} to {ita.max():.0f} degrees, median {ita.median():.0f}"
        )
        again = one.forgeries["attempt"].astype(int)
        found.facts[f"{name}, forgeries tried again"] = f"{(again > 0).sum()} of {len(again)}"
    if sets:
        table = pd.concat([one.table for one in sets])
        counts = table.groupby(["dataset", "method", "role"]).size().unstack(fill_value=0)
        found.counts = counts.reindex(columns=[r for r in schema.ROLES if r in counts])
