# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Nobody's Faces: a benchmark of people who do not exist
#
# Build a person, film it, forge it in eleven ways, and find out whether anything but the face gives the forgery away.
#
# | time | fast 80 s (CPU, 2 cores) | level | beginner | needs | nothing |
# |---|---|---|---|---|---|
#
# **You will learn** how a deepfake benchmark is made, from a seed to a coded video; what each family of manipulations does to a picture;
# and how to test a benchmark before you test a detector on it.
#
# **Why it matters.** A detector can only be as good as the data that judges it.
# If all fakes were coded once more than the reals, a detector of coding would win, and nobody would notice.
# Real benchmarks cannot be shipped with a book, and nobody knows everything about them.
# This one can be shipped, and everything about it is known: every landmark, every mask, every pair, every lamp.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
person: int = 111  # number of the person who is built in front of you
n_frames: int = 3  # frames of each clip that the texture baseline reads

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces,nobody]"
    pass

import numpy as np
import pandas as pd

import gendkit
from gendkit import audit, baselines, faces, forge, manifest, metrics, plots, repro, video, warp
from gendkit.nobody import film, heads, plan, scene, shortcut
from gendkit.nobody.actor import Actor

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## The people
#
# The benchmark is a folder of short videos and a table.
# Each row of the table, the **manifest**, is one video; `source_id` says who is in it, `method` what was done to it.

# %%
root = data / "nobody"
videos = manifest.read(root / "manifest.csv")
people = pd.read_csv(root / "identities.csv")
counts = videos.pivot_table(index="method", columns="role", values="video_id", aggfunc="count")
counts[["fit", "select", "report"]].fillna(0).astype(int)

# %% [markdown]
# Nobody was photographed, scanned or asked.
# A head is a mesh whose shape follows a few hundred numbers; skin, hair, eyes and clothes are painted by procedure.
# Attributes are therefore not guessed by an annotator, they are the numbers the person was made from.

# %%
reals = videos[videos.method == "real"].iloc[:: len(people) // 12].head(12)
first = [video.read_frames(root / path, [8])[0] for path in reals.path]
known = people.set_index("identity_id").loc[reals.source_id]
notes = [f"{one.Index}: {one.age_band}, {one.hair}, {one.glasses}" for one in known.itertuples()]
plots.contact_sheet(
    first, notes, n_columns=4, title="Twelve people who do not exist", profile=profile, max_side=200
)

# %% [markdown]
# ## From a seed to a file
#
# Everything about a person follows from one number, the seed.
# Let us follow one person through the whole chain: a head at rest; the same head talking, turned and lit; what the camera makes of it; what the codec leaves.

# %%
who = next(p for g in plan.groups(plan.Settings()) for p in g.people if p.name == f"n{person:03d}")
actor = Actor(heads.make_identity(who.seed))
clip = film.real_clip(who, n_frames=16)
studio = scene.light(np.random.default_rng(seed))
wall = np.full((256, 256, 3), 0.35, np.float32)
rest, _ = actor.frame({}, (0.0, 0.0), (0.0, 0.0, 0.0), studio, clip.view, wall)
clean, points = film.shoot(actor, clip)
footage = film.real_footage(who, n_frames=16)
video.write_video(out / "person.mp4", footage.frames, fps=film.FPS, crf=23)
coded = video.read_frames(out / "person.mp4")

# %%
k = 8
chain = {
    "at rest": rest,
    "in a scene": clean[k],
    "filmed": footage.frames[k],
    "coded, CRF 23": coded[k],
}
plots.contact_sheet(
    list(chain.values()),
    list(chain),
    n_columns=4,
    title="One frame on its way from geometry to a file",
    profile=profile,
    max_side=256,
)

# %% [markdown]
# The camera adds what a sensor adds: blur, noise through a colour filter array, sharpening.
# Without it every clip would be too clean, and a forgery would be found by the noise that it lacks.
# The geometry knows where each landmark is, also where hair or glasses hide it.

# %%
plots.face_overlay(
    footage.frames[k],
    landmarks=points[k],
    title="True landmarks come from the mesh, not from a network",
    profile=profile,
)

# %% [markdown]
# ## Forgeries, step by step
#
# Forgers work on footage, so ours do, too: the clip is filmed, then forged, then coded; the real clip is coded in the very same way.
# The oldest recipe is the landmark swap. It has four steps, and each leaves a trace that the next one tries to hide.

# %%
group = next(g for g in plan.groups(plan.Settings()) if who in g.people)
giver = film.donor_footage(who, group.partner(who, "FS"), clip)
target, mine = footage.frames[k].astype(np.float32), warp.with_forehead(points[k : k + 1])[0]
near = warp.shape_distance(giver.points[:, 17:], points[k : k + 1, 17:])[:, 0].argmin()
theirs = warp.with_forehead(giver.points[near : near + 1])[0]
everywhere = (0, 0, 256, 256)
where = warp.affine_map(mine, theirs, warp.triangulate(mine), everywhere)
warped = warp.resample(giver.frames[near], where)
width = warp.face_width(points[k])
mask = warp.smoothstep((warp.hull_depth(mine, everywhere) / width - 0.04) / 0.05)
coloured = warp.match_colour([warped], [target], [mask], 0.9)[0]
swapped = target + mask[..., None] * (coloured - target)

# %%
steps = {
    "target": target,
    "donor": giver.frames[near],
    "1 warped": warped * (warp.hull_depth(mine, everywhere) > 0)[..., None],
    "2 recoloured": coloured * (mask > 0)[..., None],
    "3 soft mask": np.repeat(255 * mask[..., None], 3, axis=2),
    "4 blended": swapped,
}
plots.contact_sheet(
    [np.clip(image, 0, 255).astype(np.uint8) for image in steps.values()],
    list(steps),
    n_columns=3,
    title="A swap in four steps",
    profile=profile,
    max_side=256,
)

# %% [markdown]
# `forge.swap_clip` does this for a clip, with tracked landmarks that jitter as trackers do, detail matched to the target, and settings drawn once per clip.
# The other ten manipulations replace one or more of the steps.
# Four are **seen** (a detector may train on them), seven are **unseen**: they wait for the report.

# %%
methods = pd.DataFrame([vars(fact) for fact in forge.METHODS.values()], index=list(forge.METHODS))
methods[["title", "family", "seen", "source"]]

# %% [markdown]
# Here is each of them on one frame of one person: the fake, its mask (white where pixels were changed), and the difference to the real, four times enlarged.

# %%
mine = videos[(videos.source_id == f"n{person:03d}") & (videos.method != "real")]
real = video.read_frames(root / f"real/n{person:03d}.mp4", [k])[0].astype(int)
pictures, captions = [], []
for row in mine.itertuples():
    fake = video.read_frames(root / row.path, [k])[0]
    shown = video.read_frames(root / row.mask_path, [k])[0]
    change = np.clip(128 + 4 * (fake.astype(int) - real), 0, 255).astype(np.uint8)
    pictures += [fake, shown, change]
    captions += [row.method, "mask", "difference x 4"]
plots.contact_sheet(
    pictures, captions, n_columns=6, title="Eleven manipulations of one frame", profile=profile
)

# %% [markdown]
# A detector of single frames sees no more than this.
# In time, tracked landmarks jitter and textures may swim; here are six moments of a swap.

# %%
swap_row = mine[mine.method == "FS"].iloc[0]
moments = list(range(0, 16, 3))
strip = [
    video.read_frames(root / path, moments) for path in (f"real/n{person:03d}.mp4", swap_row.path)
]
plots.contact_sheet(
    [*strip[0], *strip[1]],
    ["real"] * 6 + ["FS"] * 6,
    n_columns=6,
    title="Real above, swapped below",
    profile=profile,
)

# %% [markdown]
# ## Pairs, roles and groups
#
# Each fake has the real it was made from: same person, same room, same camera, same codec, same movement of the head.
# Whatever a pair does not share is the forgery. That is what makes paired training possible, and paired statistics.

# %%
pairs = manifest.pairs(videos)
print(f"{len(pairs)} pairs from {len(videos)} videos of {videos.source_id.nunique()} people")
findings = manifest.audit(videos, root=root)
print(f"{len(findings)} findings of the audit of the table")

# %% [markdown]
# People lend faces and movements only inside groups of about six, and a group has one role.
# So no face that a detector was trained on comes back in the report, not even as a donor.

# %%
sizes = videos.assign(linked=manifest.components(videos)).groupby(["role", "linked"])
sizes.source_id.nunique().groupby("role").agg(["count", "min", "max"])

# %% [markdown]
# ## Nothing but the face may tell
#
# Now the questions that every benchmark should answer before anyone trains on it.
# Can the *file* alone tell fakes from reals: its size, its packets, its tags?
# Can the *background* alone, all pixels outside every mask? Can the colours and the brightness of the *first frame*?
# A simple classifier tries each, on people it was not trained on. A clean set gives an AUROC whose interval holds 0.5.
# We ask on the people that detectors are trained on.

# %%
fit = videos[videos.role == "fit"]
found = audit.as_table(audit.probes(fit, root, seed=seed))
found[["kind", "auroc", "low", "high", "verdict", "n_videos"]].round(3)

# %% [markdown]
# The file says nothing at all: packets of a real and its fakes are filled to equal sizes, because on the first version of this benchmark the sizes alone told fakes at an AUROC of 0.58 [0.54, 0.62] (data card).
# The background is equal before coding; what coding spreads from the face is too little to find here.
#
# A test that always passes proves nothing, so we plant shortcuts and ask again.
# `shortcut.plant` writes the set anew with one fact that separates the classes: fakes are softened a little, or coded by other settings, or tinted outside the face.

# %%
few = fit[fit.method.isin(["real", "FS"]) & fit.source_id.isin(fit.source_id.unique()[:30])]
rows = []
for kind, probe in [("codec", "metadata"), ("background", "background")]:
    planted = shortcut.plant(few, root, out / f"planted-{kind}", kind, seed=seed)
    before = audit.probe(few, root, probe, seed).estimate
    after = audit.probe(planted, out / f"planted-{kind}", probe, seed).estimate
    rows.append({"planted": kind, "probe": probe, "before": str(before), "after": str(after)})
pd.DataFrame(rows)

# %% [markdown]
# ## How hard is it?
#
# The other way round a benchmark can be worthless is by being easy.
# Our yardstick is a **texture baseline**: how much fine detail a crop has in each cell of an 8 x 8 grid, in three bands, and a logistic regression on these 192 numbers.
# It knows nothing of faces. We ask on the report people, of whom all eleven manipulations exist. If it finds every fake, the forger resampled the face and forgot to match the sharpness.


# %%
def energies(row):
    frames = video.sample(row.n_frames, n=n_frames)
    images = video.read_frames(root / row.path, frames)
    cut = [
        faces.align_crop(i, faces.five_points(truth[row.source_id][f]), size=128)
        for i, f in zip(images, frames, strict=True)
    ]
    return np.mean([baselines.texture_energies(crop) for crop in cut], axis=0)


# %%
truth = np.load(root / "landmarks.npz", allow_pickle=False)
some = videos[videos.role == "report"]
texture = np.stack([energies(row) for row in some.itertuples()])
rows = []
for method in [m for m in forge.METHODS if m in set(some.method)]:
    keep = some.method.isin(["real", method]).to_numpy()
    part = some[keep].assign(p_fake=baselines.cross_scores(texture[keep], some[keep]))
    estimate = metrics.bootstrap(part, n=500, seed=seed)
    rows.append({"method": method, "auroc": estimate.value, "low": estimate.low})
    rows[-1] |= {"high": estimate.high, "n_real": (part.label == 0).sum()}
    rows[-1] |= {"n_fake": (part.label == 1).sum()}
difficulty = pd.DataFrame(rows)

# %%
print(f"from {difficulty.auroc.min():.2f} to {difficulty.auroc.max():.2f}")
plots.forest(
    difficulty,
    title="Texture alone finds something everywhere, and everything nowhere",
    profile=profile,
    caption="Texture baseline, trained and tested on the same manipulation, other people",
)

# %% [markdown]
# The benchmark was made to lie in this band: a forger here matches detail and noise to the target, and the strength varies from clip to clip.
# A detector worth its name must beat these numbers, and must do so on manipulations that it was *not* trained on.
#
# ## What to remember
#
# * A fake is a real plus a forgery; a benchmark is good when nothing else differs.
# * Test the data before the detector: file, background and first frame must say nothing, and the test must be able to fail.
# * Pairs hold fast everything but the forgery. People, donors included, belong to one role only.
# * A baseline without any idea of faces tells how much of a result is texture.
#
# ## Limits and misuse
#
# These are rendered heads. Hair, skin and light are good enough for a face detector and for every algorithm of this book, not for a judgement about people.
# Age, gender and ancestry are sliders of a shape model: use them to test code for fairness, never to claim that a detector is fair.
# The forgeries follow published algorithms in small; a detector that finds them has not been shown to find anything made with today's tools.
# `gendkit.forge` is for pictures of nobody, or of people who agreed.
#
# ## Exercises
#
# 1. **Predict** (3 min). In which of the eleven manipulations do real and fake differ most in area? Order them in your mind, then look at the masks.
# 2. **Change** (5 min). Blend the swap from above with a hard mask instead of a soft one. Where is the strongest edge now?
# 3. **Build** (10 min). Write the shortest classifier that finds the planted codec shortcut from the file size of a pair alone, and give its accuracy.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
forgeries = pd.read_csv(root / "forgeries.csv")
area = forgeries.groupby("method").area.median().sort_values()
print((100 * area).round(1).to_string())
assert area["NT"] < area["FS"]

# %% tags=["solution", "hide-cell"]
hard = target + (mask > 0.5)[..., None] * (coloured - target)
jump = [np.abs(np.diff(image.mean(2), axis=0)).max() for image in (target, swapped, hard)]
print("largest step between rows: target {:.0f}, soft {:.0f}, hard {:.0f}".format(*jump))
assert np.abs(hard - swapped).max() > 0

# %% tags=["solution", "hide-cell"]
made = manifest.read(out / "planted-codec" / "manifest.csv")
made["size"] = [(out / "planted-codec" / path).stat().st_size for path in made.path]
size = made.pivot(index="source_id", columns="method", values="size")
right = (size.FS < size.real).mean()
print(f"the smaller file of a pair is the fake in {right:.0%} of the pairs")
assert right > 0.9

# %% [markdown]
# ## Further reading
#
# * Rössler and others, *FaceForensics++* (arXiv 1901.08971) [@rossler2019faceforensics]: DF, F2F, FS and NT, and the idea of pairs.
# * Thies and others, *Face2Face* (arXiv 2007.14808) [@thies2016face2face] and *Deferred Neural Rendering* (arXiv 1904.12356) [@thies2019neuraltextures]: expression transfer, and the neural textures behind NT.
# * Shiohara and Yamasaki, *Detecting Deepfakes with Self-Blended Images* (arXiv 2204.08376) [@shiohara2022sbi]: a fake without a second person.
# * Pérez, Gangnet and Blake, *Poisson Image Editing* (doi 10.1145/882262.882269) [@perez2003poisson]: blending in the gradient domain.
# * Gebru and others, *Datasheets for Datasets* (arXiv 1803.09010) [@gebru2021datasheets]: the form of this benchmark's data card.
#
# ## Next
#
# Chapter 2 finds the faces in these videos and cuts them out.
