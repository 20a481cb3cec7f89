# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. Faces: detect, mark, align, crop
#
# From a video file to the small square picture that a detector really sees.
#
# | time | fast 80 s, the extraction included (CPU, 2 cores) | level | beginner | needs | 00 |
# |---|---|---|---|---|---|
#
# **You will learn** to decode exact frames, to find a face and its 68 landmarks with face-alignment, to measure how wrong the landmarks are,
# to align and crop by five points, to measure what the margin does to a detector, and to extract a whole benchmark without losing track of what failed.
#
# **Why it matters.** A deepfake detector never sees a video.
# It sees crops, and the crop decides as much as the network: another margin, another detector or a silently dropped frame moves the result by points.
# When two groups get different numbers from the same model, the first place to look is here.
# So this chapter measures each step against the truth, which the embedded benchmark has and real ones do not.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
n_frames: int = 3  # frames per video, evenly spaced
n_videos: int = 12  # real videos whose landmarks are checked against the truth
crop_scale: float = 1.3  # margin around the face; 1.3 is the paper's
crop_size: int = 256  # side of a crop in pixels
sweep_people: int = 16  # people of the crop-scale sweep
sweep_frames: int = 1  # frames of each of their clips

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces]"
    pass

import numpy as np
import pandas as pd
from PIL import Image

import gendkit
from gendkit import extract, faces, manifest, metrics, plots, repro, score, video

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
nobody = data / "nobody"
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## A video is a list of exact frames
#
# The first step is the dullest and goes wrong most often: asking a video for frame 7 and getting frame 6.
# Seeking jumps to the nearest key frame, and many readers stop counting there.
# `video.read_frames` decodes forward and counts, so frame $k$ is frame $k$.

# %%
videos = manifest.read(nobody / "manifest.csv")
real = videos[(videos.method == "real") & (videos.role == "report")].iloc[0]
print(video.probe(nobody / real.path))
frames = video.read_frames(nobody / real.path)
print(f"{frames.shape} {frames.dtype}")

# %% [markdown]
# How many frames are scored, and which, is part of the protocol.
# The paper takes 32 of a video; our clips are short, so a few evenly spaced ones do.
# `at_least` is the order of the official code: each prefix of it covers the clip as evenly as it can.

# %%
for rule in ("fixed_num_frames", "at_least"):
    print(f"{rule:17} {video.sample(len(frames), how=rule, n=n_frames)}")

# %% [markdown]
# ## Detect, then mark
#
# A detector says where a face is; a landmark network says where its parts are.
# The engine is face-alignment.
# The embedded pair, dlib's HOG detector and a light landmark network of this repository, needs no download;
# with the official weights on disk, `FaceEngine(landmarks="official")` runs the official network through the same call.

# %%
engine = faces.FaceEngine()
found = engine(frames[:1])[0]
face = faces.choose(found, policy="largest")
print(f"{len(found)} face(s), box {np.round(face.box).astype(int).tolist()}")
plots.face_overlay(
    frames[0],
    face.box,
    face.landmarks,
    face.points,
    title="One box, 68 landmarks, five points",
    profile=profile,
)

# %% [markdown]
# No face is an answer too: an empty list, never a guess.

# %%
print("grey image:", engine([np.full((256, 256, 3), 128, np.uint8)]))

# %% [markdown]
# ## How wrong are the landmarks?
#
# For people nobody knows the truth; annotators disagree by a few per cent of the distance between the eyes.
# Our heads are rendered, so the true landmarks are on disk.
# The usual measure is the **normalised mean error**: mean distance to the truth, divided by the distance of the outer eye corners.
# Only *report* clips are used: the landmark network has never seen these people.

# %%
truth = np.load(nobody / "landmarks.npz", allow_pickle=False)
reals = videos[(videos.method == "real") & (videos.role == "report")].head(n_videos)
rows = []
for row in reals.itertuples():
    picked = video.sample(row.n_frames, n=n_frames)
    for k, candidates in zip(
        picked, engine(video.read_frames(nobody / row.path, picked)), strict=True
    ):
        best = faces.choose(candidates)
        true = truth[row.video_id][k]
        inter_ocular = np.linalg.norm(true[36] - true[45])
        error = (
            np.nan
            if best is None
            else np.linalg.norm(best.landmarks - true, axis=1).mean() / inter_ocular
        )
        rows.append({"video_id": row.video_id, "frame": k, "found": best is not None, "nme": error})
errors = pd.DataFrame(rows)
print(f"face found in {errors.found.mean():.1%} of {len(errors)} frames of {len(reals)} people")
print(f"normalised mean error {errors.nme.mean():.2%}, worst frame {errors.nme.max():.2%}")

# %% [markdown]
# ## Align and crop
#
# Five points, two eyes, the nose tip and two mouth corners, are enough to turn, scale and shift a face to a standard place.
# Finding the similarity (rotation, scale, shift) that brings them closest to a template is a least-squares problem with a closed form.
# The margin is the protocol's: scale 1.3 keeps some of the surroundings, where blending seams are.

# %%
crop = faces.align_crop(frames[0], face.points, scale=crop_scale, size=crop_size)
scales = [1.0, crop_scale, 1.7, 2.2]
plots.contact_sheet(
    [faces.align_crop(frames[0], face.points, scale=scale, size=crop_size) for scale in scales],
    [f"scale {scale}" for scale in scales],
    n_columns=len(scales),
    title="The same face at four margins is four different inputs",
    profile=profile,
)

# %% [markdown]
# A detector trained at one margin and tested at another is tested on something else.
# That is why the crop scale is stored with every crop set and with every model.
#
# ### What the margin does to a detector
#
# The embedded detector was tuned on crops of one scale, which stands with its weights.
# Here it scores the same faces cut at five scales.
# Faces are found once and only cut anew, so nothing but the margin differs: same people, same frames, same landmarks.

# %%
detector = score.load("embedded", "cpu")
report = videos[(videos.role == "report") & videos.method.isin(["real", "DF", "FS"])]
chosen = report.source_id.drop_duplicates().head(sweep_people)
sweep = report[report.source_id.isin(chosen)]
margins = [1.0, 1.15, detector.crop_scale, 1.5, 1.7]
rows, cuts = extract.crops_at_scales(sweep, nobody, margins, sweep_frames, engine)
swept = {scale: rows.assign(p_fake=score.score_crops(detector, cuts[scale])) for scale in margins}
asked = sweep_frames * len(sweep)
print(
    f"the detector was tuned at scale {detector.crop_scale}; {len(rows)} of {asked} frames have a face"
)

# %% [markdown]
# Two questions, two intervals.
# How good is it at this scale: the AUROC with an interval from a bootstrap over people.
# Is it worse than at its own scale: the *paired* difference, in which the same people are drawn for both, so that what makes a person easy or hard cancels.


# %%
def line(scale: float) -> dict:
    """AUROC at one scale, and its difference from the detector's own scale."""
    own = metrics.bootstrap(swept[scale], seed=seed)
    gap = metrics.paired_difference(swept[scale], swept[detector.crop_scale], seed=seed)
    moved = np.abs(swept[scale].p_fake - swept[detector.crop_scale].p_fake).mean()
    return {"scale": scale, "value": own.value, "low": own.low, "high": own.high,
            "difference": gap.value, "from": gap.low, "to": gap.high, "moved": moved}  # fmt: skip


table = pd.DataFrame([line(scale) for scale in margins])
away = table[table.scale != detector.crop_scale]
n_sure = ((away["from"] > 0) | (away["to"] < 0)).sum()
print(
    f"{n_sure} of {len(away)} paired intervals exclude 0; scores move by {away.moved.mean():.3f} on average"
)
table.round(3)

# %%
plots.interval_dots(
    table.assign(scale=[f"scale {scale}" for scale in margins], kind="embedded detector"),
    row="scale",
    by="kind",
    x_title="AUROC of frames",
    title="One detector, the same faces, five margins",
    facts=[f"report people of nobody, real, DF and FS, n = {len(rows)} crops"],
    level=0.5,
    profile=profile,
)

# %% [markdown]
# Read the table before the figure: with this few people single intervals are wide and overlap, and only the paired column can tell two scales apart.
# Where even that interval holds 0, the sweep has not shown that the scale is harmless; it has shown that this many clips cannot tell.
# The scores themselves move in any case, and with them every call near a threshold.
#
# ## A whole benchmark, and what failed
#
# `extract.run` takes every video from file to crops.
# One video is one unit of work, written to a temporary place and moved when complete, so a run that was killed goes on where it stopped.

# %%
extraction = extract.run(
    nobody / "manifest.csv", n_frames=n_frames, scale=crop_scale, size=crop_size, workers=2
)
print(extraction.report.status.value_counts().to_string())
extraction.report[["path", "status", "n_asked", "n_faces", "message"]].head(3)

# %% [markdown]
# Now a folder as the world delivers it: a video that was cut off, a text file with a video's name, a clip without a face, an empty file.
# Nothing crashes, nothing is silent: each one becomes a row that says what came.

# %%
broken = out / "broken"
broken.mkdir(parents=True, exist_ok=True)
whole = (nobody / real.path).read_bytes()
(broken / "cut_off.mp4").write_bytes(whole[: len(whole) // 2])
(broken / "text.mp4").write_text("not a video")
(broken / "empty.mp4").write_bytes(b"")
video.write_video(broken / "no_face.mp4", np.full((8, 128, 128, 3), 90, np.uint8))
failed = extract.run(broken, out / "crops-broken", n_frames=n_frames)
for row in failed.report.itertuples():
    print(f"{row.path}: {row.status}. {row.message}")

# %% [markdown]
# ## Look at the crops
#
# Ten minutes with a contact sheet save days.
# Look for wrong faces, cut chins, and crops that are upside down.
# Top row real, below each its forgeries.

# %%
crops, crops_dir = extraction.crops, extraction.folder
first = crops[crops.frame == crops.frame.min()]
people = first[first.role == "report"].source_id.unique()[:6]
order = ["real", "DF", "F2F", "FS", "NT"]
shown = first[first.source_id.isin(people)].set_index(["method", "source_id"])
cells = [(method, person) for method in order for person in people]
plots.contact_sheet(
    [Image.open(crops_dir / shown.loc[cell].path) for cell in cells],
    [f"{method} {person}" for method, person in cells],
    n_columns=len(people),
    title="Pairs: each column is one person, each row one manipulation",
    profile=profile,
)

# %% [markdown]
# ## What to remember
#
# * Decode forward and count; do not seek and hope.
# * Detector, landmarks, five points, margin, size, frames: six choices make a crop, and all six belong in the record.
# * Test a detector at the margin it was tuned at; another margin moves its scores, and only a paired interval tells by how much its AUROC moved.
# * A frame without a face is a result. Count it, report it, never score it by default.
# * Look at the crops before you look at the scores.
#
# ## Limits and misuse
#
# The embedded landmark network was trained on rendered heads; on photos of people it is a rough guide, and the official weights are better.
# HOG detection wants roughly frontal faces of 80 pixels or more; it misses profiles and small faces.
# Do not build face databases of people who did not agree to it: this chapter's tools do not ask, you have to.
#
# ## Exercises
#
# 1. **Predict** (2 min). A face is tilted by 30 degrees. Is it still tilted in its crop?
# 2. **Change** (5 min). Shrink the frames to half their size. Does the detector still find the face? What does `upsample=1` do?
# 3. **Build** (10 min). Find the video with the largest landmark error and show its worst frame.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# No: the similarity contains the rotation. The crop of a turned image is the crop of the image, turned points given.
turned = np.rot90(frames[0]).copy()
points = np.stack([face.points[:, 1], frames.shape[2] - 1 - face.points[:, 0]], axis=1)
again = faces.align_crop(turned, points, scale=crop_scale, size=crop_size)
difference = np.abs(again.astype(float) - crop).mean()
assert difference < 2
print(f"mean difference of the two crops: {difference:.2f} grey levels")

# %% tags=["solution", "hide-cell"]
half = frames[:1, ::2, ::2].copy()
small, larger = len(engine(half)[0]), len(faces.FaceEngine(upsample=1)(half)[0])
print(f"128 pixels: {small} face(s); enlarged before detection: {larger} face(s)")
assert larger >= small

# %% tags=["solution", "hide-cell"]
worst = errors.loc[errors.nme.idxmax()]
image = video.read_frames(
    nobody / reals.set_index("video_id").path[worst.video_id], [int(worst.frame)]
)[0]
assert worst.nme >= errors.nme.mean()
plots.face_overlay(
    image,
    landmarks=faces.choose(engine([image])[0]).landmarks,
    title=f"Worst frame: error {worst.nme:.1%}",
    profile=profile,
)

# %% [markdown]
# ## Further reading
#
# * Bulat, Tzimiropoulos, *How far are we from solving the 2D & 3D Face Alignment problem?* (arXiv 1703.07332) [@bulat2017fan]: FAN and the face-alignment package.
# * Dalal, Triggs, *Histograms of Oriented Gradients for Human Detection* (CVPR 2005) [@dalal2005hog]: the features of dlib's detector.
# * Umeyama, *Least-squares estimation of transformation parameters between two point patterns* (TPAMI 1991) [@umeyama1991similarity]: the closed form behind alignment.
# * Yermakov, Cech, Matas, Fritz (arXiv 2508.06248) [@yermakov2025gend]: the paper; its crops use five points and scale 1.3.
#
# ## Next
#
# Chapter 3 shows an encoder these crops, and asks what it knows about them before anything is trained.
