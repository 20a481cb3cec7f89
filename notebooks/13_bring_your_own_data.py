# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13. Bring your own data: FaceForensics++, Celeb-DF, DFDC and the others
#
# From a folder of videos to a report that you can defend, in six steps, each of which stops when something is wrong.
#
# | time | fast 45 s (CPU, 2 cores) | level | intermediate | needs | 02, 07 |
# |---|---|---|---|---|---|
#
# **You will learn** to check a folder against what a release should hold, to turn names into people, pairs and roles, to audit the set before anything is trained on it,
# to extract the right face of several, to train and test by the official names, and to explain why a number changed.
#
# **Why it matters.** Most wrong results in this field are made before training: a download that ended early, a person on both sides of a split, a crop of the bystander instead of the forged face.
# None of these raises an error by itself.
# Here each step is a question with an answer that a program can check.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
root_dir: str = ""  # folder of your FaceForensics++; empty builds a small tree that looks like it
compression: str = "c23"  # which of its compressions
n_frames: int = 2  # frames of a video
n_epochs: int = 4  # passes over the fit crops
n_bootstrap: int = 300  # resamples of each interval

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces]"
    pass

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import gendkit
from gendkit import audit, benchmarks, compare, extract, faces, manifest, plots, repro, video
from gendkit.benchmarks import build, mimic, paths, people
from gendkit.benchmarks.verify import verify
from gendkit.commands import test as test_command
from gendkit.commands import train as train_command

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir) / "13"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## What you may use, and how to get it
#
# The kit knows fifteen sets: the training set FaceForensics++ and the fourteen benchmarks of the paper.
# For each it knows year, rights, access, size and the expected tree, each fact with its source, or says that it is unknown.
# The page on data access lists them all; `gendkit data show NAME` prints one.

# %%
for name in ("FF++", "CDFv2", "DFDC"):
    card = benchmarks.card(name)
    print(
        f"{card.key}, {card.year.text}: {sum(part.count or 0 for part in card.parts) or '?'} videos"
    )
    for fact in (*card.rights, card.access[0]):
        print(f"  {fact.cited}")

# %% [markdown]
# Two rules that no program can check for you.
# Ask before you download, and do not pass on what you were given, nor crops of it: the terms go with the pictures.
# And keep the people in mind who are shown: a set of faces is personal data, also on your own disk.
#
# ## Is it all there?
#
# The release of FaceForensics++ cannot be here, so a small tree with its folders and names is filled with clips of Nobody's Faces.
# With your own copy, set `root_dir`; nothing below changes but the time.

# %%
pairs = {"train": 4, "val": 2, "test": 3}
root = Path(root_dir) if root_dir else mimic.faceforensics(out / "FaceForensics++", pairs)
ff = benchmarks.card("FF++")
is_subset = not root_dir  # expect what its own lists name, not the official thousand


def check() -> dict:
    """Compare the folder with the expected tree."""
    return verify(ff, root, compression, masks=True, subset=is_subset)


state = check()
for part in state["parts"]:
    print(f"{part['folder']:58} {part['found']:>5} videos, {part['missing_count']} missing")
print("complete" if state["complete"] else "incomplete: " + "; ".join(state["todo"]))

# %% [markdown]
# Now what a broken download looks like: one fake is gone, another is empty.

# %%
if is_subset:
    videos_dir = root / f"manipulated_sequences/FaceSwap/{compression}/videos"
    first, second = sorted(videos_dir.iterdir())[:2]
    kept = {path: path.read_bytes() for path in (first, second)}
    first.unlink()
    second.write_bytes(b"")
    spoilt = check()
    found = next(p for p in spoilt["parts"] if "FaceSwap" in p["folder"])
    print(f"complete: {spoilt['complete']}, missing {found['missing']}, empty {found['empty']}")
    for path, content in kept.items():
        path.write_bytes(content)
    assert not spoilt["complete"] and check()["complete"]

# %% [markdown]
# ## People, pairs, roles
#
# A manifest says of every video who is seen, which real it was made from, and for which step it may be used.
# FaceForensics++ has official lists of pairs `[a, b]`: both fakes and both reals of a pair stand in one part, so nobody is seen twice.

# %%
table, notes = build.build(ff, root, compression=compression, partial=bool(root_dir))
path = build.write(table, root, root / "manifest.csv")
print(*notes, sep="\n")
table.groupby(["role", "method"]).size().unstack()

# %% [markdown]
# DeepFakeDetection (DFD) has no official parts.
# Its actors swap faces with many others, so any split loses the fakes that join two roles.
# `gendkit data manifest DFD ROOT --split people` deals the actors such that few are lost; compare with dealing by chance.

# %%
actors = [f"{k:02d}" for k in range(1, 13)]
swaps = [(a, b) for a in actors for b in actors if a != b and abs(int(a) - int(b)) <= 2]
shares = {"fit": 0.5, "select": 0.25, "report": 0.25}


def n_kept(roles: dict[str, str]) -> int:
    """Number of swaps whose two people have one role."""
    return sum(roles[a] == roles[b] for a, b in swaps)


dealt = people.deal(swaps, actors, shares, seed)
names = list(dealt.values())
by_chance = [n_kept(dict(zip(actors, rng.permutation(names), strict=True))) for _ in range(200)]
print(f"{len(swaps)} swaps: {n_kept(dealt)} kept by dealing, {np.mean(by_chance):.1f} by chance")
assert n_kept(dealt) > np.mean(by_chance)

# %% [markdown]
# Sets whose names tell no pairs need a file of the release: DFDC its label file, FakeAVCeleb its meta_data.csv, which names person, method and real of each video.
# Sort such videos into `real/` and one folder for each method, each fake named after its real, and use the builder `generic` (third exercise).
#
# ## Audit before you train
#
# An audit looks for what makes results untrue: people under two roles, equal files, uneven classes, reals that several columns share, and facts of the file that tell the class without a look at the face.
# `gendkit audit MANIFEST` does all of it and ends with status 1 when something is wrong, which stops a pipeline.

# %%
table = audit.measured(manifest.read(path), root)  # content hashes, numbers of frames
print(manifest.audit(table, root)[["check", "severity", "what"]].to_string(index=False))
print(audit.disjointness(table).to_string(index=False))
audit.balance(table).round(2)

# %%
print(audit.shared_reals(table).to_string(index=False))
probe = audit.probe(table, root, "metadata", seed)
shown = probe.estimate
print(
    f"file facts alone: AUROC {shown.value:.3f} [{shown.low:.3f}, {shown.high:.3f}]: {probe.verdict}"
)

# %% [markdown]
# All manipulations of this set lean on the same reals.
# A mean over its columns is therefore not a mean over independent tests; intervals in this kit draw each person once for all columns.
# And the guard must bite, so we plant a leak: one fit person is moved to the report.

# %%
person = table.loc[table.role == "fit", "source_id"].iloc[0]
moved = (table.source_id == person) & (table.label == 1)
leaky = table.assign(role=table.role.mask(moved, "report"))
found = manifest.audit(leaky, root)
print(found[found.severity == "error"][["check", "what"]].to_string(index=False))
assert (found.severity == "error").any() and not (manifest.audit(table).severity == "error").any()

# %% [markdown]
# ## The right face
#
# Many videos show more than one person, and only one of them is forged.
# "The largest face" is a guess: here a passer-by stands closer to the camera. Where the release has masks, the face that the mask meets most is the forged one.

# %%
fake = table[(table.method == "DF") & (table.role == "report")].iloc[0]
other = table[(table.label == 0) & (table.source_id != fake.source_id)].iloc[0]
forged, passer_by = (video.read_frames(root / one.path, [0])[0] for one in (fake, other))
mask = video.read_frames(root / fake.mask_path, [0])[0][..., 0] > 127
height, width = forged.shape[:2]
near = Image.fromarray(passer_by).resize((width * 5 // 4, height * 5 // 4))  # closer to the camera
wide = np.concatenate([forged, np.asarray(near)[:height, width // 8 :][:, :width]], axis=1)
mask = np.concatenate([mask, np.zeros((height, width), bool)], axis=1)
found = faces.FaceEngine(device="cpu")([wide])[0]
for policy in ("largest", "mask"):
    box = faces.choose(found, policy, mask=mask).box
    side = "forged face" if box[0] + box[2] < 2 * width else "passer-by"
    print(f"{policy:8} takes the {side}, box {np.round(box).astype(int).tolist()}")

# %%
done = extract.run(path, out / "crops", n_frames=n_frames, policy="mask", workers=1)
print(done.report.status.value_counts().to_string())
asked, cut = done.report.n_asked.sum(), done.report.n_faces.sum()
masked = done.report.loc[done.report.method != "real", "n_masked"].sum()
print(f"{cut} of {asked} frames gave a crop; a mask chose the face in {masked} frames of fakes")
shown = done.crops[(done.crops.role == "report") & (done.crops.frame == 0)]
shown = shown[shown.source_id.isin(shown.source_id.unique()[:3])].sort_values(
    ["source_id", "method"]
)
plots.contact_sheet(
    [Image.open(done.folder / name) for name in shown.path],
    [f"{row.method} {row.video_id}" for row in shown.itertuples()],
    n_columns=5,
    title="Look before you train: three people, four fakes and the real of each",
    profile=profile,
)

# %% [markdown]
# The same crops can be laid out as the official code wants them, with its path lists.

# %%
lists = paths.write_lists(done.folder / "manifest.csv", out / "GenD")
wanted = benchmarks.GROUPS["FF"]
print(f"{len(lists)} lists; the official test group FF is there: {set(wanted) <= set(lists.file)}")
assert set(wanted) <= set(lists.file)

# %% [markdown]
# ## Train, report, explain
#
# One named experiment, one manifest, one folder.
# The epoch and the threshold are chosen on *select*; *report* is scored once.

# %%
crops_csv = str(done.folder / "manifest.csv")
words = ["example", "--data", crops_csv, "--out", str(out / "run"), "--set", f"epochs={n_epochs}"]
status = train_command.main([*words, "--seed", str(seed)])
assert status == 0

# %% [markdown]
# With so few people the intervals are as wide as they look: this run shows that the way is open, not that a detector is good.
#
# A month later somebody reports another number.
# Here it was another margin, and the largest face instead of the mask.
# `gendkit explain-diff` first ranks what differs between two sets of crops, then measures what is left between two scores files.

# %%
held = manifest.read(path)
held = held[held.role == "report"]
again = extract.run(held, out / "crops-1.6", root=root, n_frames=n_frames, scale=1.6)
both = compare.compare(done.folder, again.folder, n_bootstrap, seed)
print(compare.table(both, "crops", "crops-1.6"))

# %%
words = ["--from", str(out / "run"), "--data", str(again.folder / "manifest.csv")]
words += ["--out", str(out / "other"), "--n-bootstrap", str(n_bootstrap)]
assert test_command.main(words) == 0
both = compare.compare(out / "run/scores.csv", out / "other/scores.csv", n_bootstrap, seed)
print(compare.table(both, "first", "second"))

# %% [markdown]
# ## What to remember
#
# * Verify a folder before you read it: a missing and an empty file were named here, and neither would have raised an error later.
# * Roles belong to people, not to videos. Where fakes join many people, deal the people so that few fakes are lost, and count the lost ones.
# * Audit first, train second. A leak that is planted must be found, or the guard is decoration.
# * With several faces in the picture, let the mask choose, and record how often it did.
# * When a number changes, compare the records before you compare the models.
#
# ## Limits and misuse
#
# The tree of this chapter has the names of FaceForensics++ and none of its difficulty: short clips of rendered people, one face in each.
# Its detector knows nothing about real forgeries.
# In the mimicked tree the second name of a fake is its neighbour, not its true donor.
# Builders exist for five sets; for the others the kit says which file of the release is needed, and does not guess.
# A verified tree proves that names and numbers fit, not that the videos are the released ones: hashes of the releases are not known to us.
#
# ## Exercises
#
# 1. **Predict** (3 min). One *original* is deleted. How many fakes lose their real? What does the builder do: leave them out, or stop?
# 2. **Change** (10 min). Make a tree like Celeb-DF v2 (`mimic.celeb`) and test the run of this chapter on it. Which roles does its manifest have?
# 3. **Build** (15 min). Sort some clips as a set of your own, `real/x.mp4` and `swap/x_y.mp4`, and let `build.build_generic` find the pairs and deal the roles.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# Every method lost one pair: the fakes of that sequence. The builder stops rather than training on what is left.
copy = shutil.copytree(root, out / "copy") if is_subset else root
message = ""
if is_subset:
    sorted((copy / f"original_sequences/youtube/{compression}/videos").iterdir())[0].unlink()
    try:
        build.build(ff, copy, compression=compression)
    except ValueError as error:
        message = str(error)
print(message)
assert "listed but not there" in message or not is_subset

# %% tags=["solution", "hide-cell"]
celeb = mimic.celeb(out / "Celeb-DF-v2", n_people=8, n_youtube=2)
rows, notes = build.build(benchmarks.card("CDFv2"), celeb)
listed = build.write(rows, celeb, celeb / "manifest.csv")
print(rows.groupby(["role", "method"]).size().to_string())
tested = extract.run(listed, out / "crops-celeb", n_frames=1)
words = ["--from", str(out / "run"), "--data", str(tested.folder / "manifest.csv")]
assert test_command.main([*words, "--n-bootstrap", "100"]) == 0
assert set(rows.role) == {"report"}

# %% tags=["solution", "hide-cell"]
mine = out / "mine"
swapped = table[table.method == "FS"]
for fake in swapped.itertuples():
    real = table[(table.label == 0) & (table.source_id == fake.source_id)].iloc[0]
    for source, name in (
        (real.path, f"real/{fake.source_id}"),
        (fake.path, f"swap/{fake.video_id}"),
    ):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / source, mine / f"{name}.mp4")
own, notes = build.build_generic(mine, "mine", split="people", seed=seed)
print(json.dumps(own.groupby(["role", "method"]).size().unstack().to_dict(), indent=1))
assert not (manifest.audit(own).severity == "error").any()
assert len(manifest.pairs(own)) == len(swapped)

# %% [markdown]
# ## Further reading
#
# * Rössler and others, *FaceForensics++: Learning to Detect Manipulated Facial Images* (arXiv 1901.08971) [@rossler2019faceforensics]: the set, its compressions and its masks.
# * Li and others, *Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics* (arXiv 1909.12962) [@li2020celebdf]: the set that most papers test on.
# * Dong and others, *Implicit Identity Leakage: The Stumbling Block to Improving Deepfake Detection Generalization* (arXiv 2210.14457) [@dong2023identity]: what a person on both sides of a split does to a result.
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the fourteen benchmarks and their test groups.
#
# ## Next
#
# Chapter 14 shows how to load the released models and how to publish one of your own.
