# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 0. Quickstart: one image, one video, one score
#
# Score a face in a minute, and know what the number says and what it does not.
#
# | time | fast 25 s (CPU, 2 cores) | level | beginner | needs | nothing |
# |---|---|---|---|---|---|
#
# **You will learn** to find a face in an image and score it, to score a video frame by frame, and to read the score with its threshold.
#
# **Why it matters.** "Is this video fake?" is a question about one file.
# A detector answers another one: "does this face look more like the fakes or more like the reals that I was trained on?"
# The two answers agree only as far as the training data reaches.
# Whoever uses a score has to know which question it answers, so we start with the answer and its limits together.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
n_frames: int = 16  # frames of each video that are scored

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
from gendkit import faces, manifest, plots, repro, score, video

repro.seed_all(seed)
data, out = repro.data_dir(data_dir), repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, device {repro.device()}, profile {profile}")

# %% [markdown]
# ## Two models and a benchmark, no download
#
# The repository carries what this book needs: a small benchmark of rendered people who do not exist (**Nobody's Faces**),
# a face engine, and a small detector.
# The detector is an encoder of which only the LayerNorms and a two-way head were tuned, saved as an adapter of a few kilobytes.

# %%
videos = manifest.read(data / "nobody" / "manifest.csv")
detector = score.load()
engine = faces.FaceEngine()
print(f"{len(videos)} videos of {videos.source_id.nunique()} people nobody knows")
print(score.explain(detector.threshold))

# %% [markdown]
# `score.load` takes the id of a released model, too, or the folder of an adapter or of a run of your own.
#
# ## One image
#
# Scoring has three steps: find the face, align and crop it, score the crop; `score.score_files` does them for any list of images and videos.
# We save a frame of a real clip and the same frame of one of its forgeries, both of a person whom the detector has never seen, and score the two files.

# %%
report = videos[videos.role == "report"]
person = report.source_id.iloc[0]
mine = report[(report.source_id == person) & report.method.isin(["real", "DF", "F2F", "FS", "NT"])]
clips = {row.method: data / "nobody" / row.path for row in mine.itertuples()}
stills = [out / f"{method}.png" for method in ("real", "FS")]
for still in stills:
    Image.fromarray(video.read_frames(clips[still.stem], [0])[0]).save(still)

# %%
crops = {}
images = score.score_files(
    stills, detector, engine, seen=lambda result, found: crops.update({result.path: found[0]})
)
captions = [
    f"{still.stem}: P(fake) = {i.p_fake:.2f}" for still, i in zip(stills, images, strict=True)
]
plots.contact_sheet(
    list(crops.values()),
    captions,
    n_columns=2,
    title="The same frame, before and after a face swap",
    profile=profile,
)

# %% [markdown]
# FS is a face swap: another person's face was warped onto this head.
# One frame is little evidence, and the score of a single frame is noisy.
#
# ## One video
#
# A video is scored frame by frame, and the mean over its frames is its score.

# %%
scored = score.score_files(list(clips.values()), detector, engine, n_frames=n_frames)
results = dict(zip(clips, scored, strict=True))
timeline = pd.DataFrame(
    {"method": method, "frame": face.frame, "p_fake": face.p_fake}
    for method, result in results.items()
    for face in result.faces
)
summary = timeline.groupby("method").p_fake.agg(["min", "max", "size"])
summary = summary.rename(columns={"size": "frames"})
summary["score"] = {method: result.p_fake for method, result in results.items()}
summary["call"] = {method: result.call for method, result in results.items()}
summary.round(3)

# %%
threshold = detector.threshold
plots.score_lines(
    timeline,
    threshold=threshold["value"],
    title=f"Frame by frame: {person} and four forgeries",
    profile=profile,
)

# %% [markdown]
# The spread within a clip is the reason why one frame is not enough.
# A forgery whose score stays below the threshold is a miss, and this small detector has misses; chapter 7 counts them on many people.
#
# ## What the number means
#
# A score is not a probability that this file is fake.
# It would be one only if the world held as many fakes as the training data, made by the same methods and filmed by the same camera.
# What a threshold does is a trade: here it was set on the *select* people so that as many reals are called fake as fakes are called real.

# %%
false_alarms, n_real = threshold["false_alarms"], threshold["n_real"]
hits, n_fake = threshold["hits"], threshold["n_fake"]
print(f"there it called {false_alarms} of {n_real} reals fake, and {hits} of {n_fake} fakes")
print(score.MEANING)

# %% [markdown]
# Few videos say little about an error rate: no false alarm among a few reals is not a false-alarm rate of zero.
# Laplace's rule of succession, $(k + 1) / (n + 2)$, is a cautious guess.
# With it, Bayes' rule gives the share of right alarms for any prevalence: what is a call worth where fakes are rare?

# %%
fpr, tpr = (false_alarms + 1) / (n_real + 2), (hits + 1) / (n_fake + 2)
prevalence = np.array([0.5, 0.1, 0.01, 0.001])
alarms = prevalence * tpr + (1 - prevalence) * fpr
print(f"cautious rates: false alarms {fpr:.0%}, hits {tpr:.0%}")
pd.DataFrame({"share of fakes": prevalence, "right alarms": prevalence * tpr / alarms}).round(3)

# %% [markdown]
# ## What to remember
#
# * Face, crop, score: three steps, one call, `score.score_files`; the crop is part of the model.
# * A video's score is the mean over its frames; say how many frames.
# * A score needs its threshold, the set it came from and the error rates it was set for.
# * The rarer fakes are, the less an alarm means.
#
# ## Limits and misuse
#
# The embedded detector has seen rendered heads and four manipulations, nothing else.
# On a photo of a person its score means nothing.
# No detector's score is proof: do not accuse anybody with one.
#
# ## Exercises
#
# 1. **Predict** (1 min). The detector calls 5 % of reals fake and finds 80 % of fakes. Of 1,000 videos 10 are fake. How many alarms are false?
# 2. **Change** (3 min). Use the median over frames instead of the mean. Does any call of the table change?
# 3. **Build** (5 min). Count on this person how many frames a video score needs before its call stops changing.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
false_alarms, right_alarms = 0.05 * 990, 0.80 * 10
answer = false_alarms / (false_alarms + right_alarms)
assert 0.85 < answer < 0.87
print(f"{false_alarms:.1f} false alarms for {right_alarms:.0f} right ones: {answer:.0%} are false")

# %% tags=["solution", "hide-cell"]
median = timeline.groupby("method").p_fake.median()
answer = ((median >= threshold["value"]) != (summary["call"] == "fake")).sum()
assert 0 <= answer <= len(summary)
print(f"{answer} of {len(summary)} calls change")

# %% tags=["solution", "hide-cell"]
running = timeline.groupby("method").p_fake.expanding().mean().reset_index()
calls = running.assign(fake=running.p_fake >= threshold["value"])
final = calls.groupby("method").fake.transform("last")
place = calls.groupby("method").cumcount() + 1
needed = place.where(calls.fake != final, 0).groupby(calls.method).max() + 1
assert (needed >= 1).all()
print(needed.rename("frames until the call stays").to_string())

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the method behind the detector.
# * Rössler and others, *FaceForensics++* (arXiv 1901.08971) [@rossler2019faceforensics]: real and manipulated videos in pairs.
# * Chandra and others, *Deepfake-Eval-2024* (arXiv 2503.02857) [@chandra2025deepfakeeval]: how far scores fall outside academic sets.
#
# ## Next
#
# Chapter 1 shows where these people and their forgeries come from; chapter 2 opens the first two steps, detection and crop.
