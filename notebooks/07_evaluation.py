# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Evaluation that holds
#
# Frame and video level, intervals, roles, leaks: how to get a number that another person gets too.
#
# | time | fast 55 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 00, 04 |
# |---|---|---|---|---|---|
#
# **You will learn** to train a detector on one role of a benchmark and report it on another, to read an AUROC with its interval,
# to tell frame level from video level, and to find the three mistakes that make a detector look better than it is.
#
# **Why it matters.** Most disagreements about deepfake detectors are not about detectors.
# They are about how many frames were scored, how frame scores became a video score, which set chose the checkpoint, and how few videos stand behind the third decimal.
# Each of these choices can move an AUROC by more than one method differs from the next.
# This chapter makes every choice visible, measures what it costs, and shows the guard that stops you from making it by accident.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
backbone: str = "embedded"  # a name from gendkit.backbones
n_frames: int = 3  # frames per video, evenly spaced
n_epochs: int = 2  # passes over the training pairs
learning_rate: float = 0.01  # peak rate of AdamW; 0.0003 for the paper's encoders
n_bootstrap: int = 1000  # resamples behind every interval

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

import gendkit
from gendkit import adapters, evaluate, extract, manifest, metrics, model, plots, repro, train

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## The protocol comes first
#
# A score means nothing without its protocol.
# Ours is written down before a model exists: which videos, how many frames, which crop, who may see what.
#
# A benchmark has three **roles**, and a set has exactly one of them.
# *fit* trains the weights, *select* chooses among checkpoints and thresholds, *report* is touched once, at the end.
# An identity belongs to one role only, with all its forgeries and with everybody whose face was put onto it.

# %%
videos = manifest.read(data / "nobody" / "manifest.csv")
counts = videos.groupby(["method", "role"]).size().unstack(fill_value=0)
counts.loc["identities"] = videos.groupby("role").source_id.nunique()
counts[["fit", "select", "report"]]

# %% [markdown]
# Trust, then verify: the audit looks for leaks between roles, missing files, unpaired videos and mixed frame counts.

# %%
findings = manifest.audit(videos, root=data / "nobody")
print(f"{len(findings)} findings")
for finding in findings.itertuples():
    print(f"{finding.severity}: {finding.what}")

# %% [markdown]
# Next come the crops.
# Extraction finds the face in each sampled frame, aligns it by five points and writes one small image.
# It is resumable: what another chapter has extracted with the same settings is not done again.

# %%
extraction = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
crops, crops_dir = extraction.crops, extraction.folder
print(extraction.report.status.value_counts().to_string())
print(f"{len(crops)} crops of {len(extraction.report)} videos")

# %% [markdown]
# ## Train on *fit*, choose on *select*
#
# The detector is GenD in small.
# The embedded encoder keeps its weights; only its LayerNorms and a two-way head are trained, on features that lie on the unit sphere,
# with cross-entropy, alignment and uniformity, and with every fake beside the real it was made from.
# The head starts from the linear probe: the best that can be said with the encoder left alone.

# %%
fit = crops[crops.role == "fit"]
seen = set(fit.method) - {"real"}
scale = 10.0 if backbone == "embedded" else 1.0  # small features want a larger head
detector = model.build(backbone, head="LinearNorm", feature_scale=scale)
adapters.init_head(detector, train.cache_features(detector, fit, crops_dir), fit.label)
detector = adapters.tune(detector)
trained, total = adapters.count_trainable(detector)
print(f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})")

# %% [markdown]
# `train` reads the rows of *fit* and *select* and nothing else.
# A finished run with the same settings and the same crops is loaded, and says so.

# %%
config = train.TrainConfig(
    epochs=n_epochs,
    learning_rate=learning_rate,
    min_learning_rate=learning_rate / 10,
    augment=backbone != "embedded",
    seed=seed,
)
result = train.train(detector, crops, crops_dir, config, out=out / "runs")
print(f"{result.seconds:.0f} s of training; best epoch: {result.best['epoch']:.0f}")
plots.training_curves(
    result.history, title="The loss falls; the select AUROC chooses the epoch", profile=profile
)

# %% [markdown]
# ## Report once, with intervals
#
# Now, and only now, the *report* crops are scored.
# A score is P(fake); a video's score is the mean over its frames.

# %%
report_crops = crops[crops.role == "report"]
scores = evaluate.score(result.model, report_crops, crops_dir)
evaluate.write_scores(scores, out / "scores-07.csv", profile=profile, seed=seed, n_frames=n_frames)
table = evaluate.report(scores, n_bootstrap=n_bootstrap, seed=seed, expected=videos)
table.round(3)

# %% [markdown]
# Every AUROC comes with its 95 % interval.
# The interval answers: had we filmed other people under the same protocol, where would the number have landed?

# %%
for row in table.itertuples():
    verdict = "above chance" if row.low > 0.5 else "not distinguishable from chance"
    print(f"{row.method:18} {row.auroc:.3f} [{row.low:.3f}, {row.high:.3f}]  {verdict}")
plots.forest(table, title="How far the intervals are from 0.5 is the result", profile=profile)

# %% [markdown]
# Four of these manipulations were in the training data, of other people; seven were not.
# Their means are the two numbers that papers compare.

# %%
alone = table[table.method.isin(set(report_crops.method))]
for name, group in alone.groupby(alone.method.isin(seen)):
    print(
        f"{'seen' if name else 'unseen':6} {len(group)} manipulations, mean AUROC {group.auroc.mean():.3f}"
    )

# %% [markdown]
# These are numbers of a small world and a minute of training.
# They show that the pipeline works and that the effect is real in it; they say nothing about real deepfakes.
#
# ## Frames are not videos
#
# A video with three scored frames gives three numbers, but they are not three independent witnesses:
# the same head, the same light, the same forgery.
# Averaging removes the noise that differs between them, so the video-level AUROC is often the higher one.
# A paper's table has to say which it is.

# %%
levels = pd.concat(
    evaluate.report(scores, level=level, how=how, n_bootstrap=n_bootstrap, seed=seed).assign(
        how=how
    )
    for level, how in [("frame", "mean"), ("video", "mean"), ("video", "median"), ("video", "max")]
)
levels[levels.method == "pooled"][["level", "how", "auroc", "low", "high"]].round(3)

# %% [markdown]
# Compare the rows: where averaging gains little, the frames of a clip are right or wrong together.
#
# The worse mistake is in the interval.
# A bootstrap that resamples frames as if they were independent believes in three times as many witnesses as there are.
# Resampling whole videos mends that.
# Resampling sources, a real with all its fakes, adds a second truth: what makes a person hard to judge is common to the pair.

# %%
rows = []
for what, groups in [("frames", "row"), ("videos", "video"), ("sources", "source_id")]:
    found = metrics.bootstrap(scores, groups=groups, n=n_bootstrap, seed=seed)
    rows.append(
        {"resampled": what, "low": found.low, "high": found.high, "width": found.high - found.low}
    )
pd.DataFrame(rows).round(3)

# %% [markdown]
# From frames to videos the interval widens, because frames repeat each other.
# From videos to sources it may shrink again, because the pairs cancel what their person has in common: that is one more reason for paired data.
# The last row is the honest one for this design; it is the default everywhere in this book.

# %% [markdown]
# ## Three mistakes, and the guards
#
# **One name, two videos.** A fake made from clip `007` is called `007` under every manipulation.
# Code that groups frames by the folder name alone merges reals and fakes into one "video".
# In this kit a video is (dataset, method, compression, video_id).

# %%
merged = scores.groupby("video_id").agg(p_fake=("p_fake", "mean"), labels=("label", "nunique"))
print(
    f"by name alone: {len(merged)} 'videos', {(merged.labels > 1).mean():.0%} of them with both labels"
)
print(f"by full key:   {len(metrics.video_scores(scores))} videos")

# %% [markdown]
# **Choosing on the test set.** Reporting a set that chose the checkpoint is optimistic.
# `evaluate.report` refuses it.

# %%
both = pd.concat([scores, evaluate.score(result.model, crops[crops.role == "select"], crops_dir)])
try:
    evaluate.report(both, roles=("select",))
except ValueError as error:
    print(f"refused: {error}")

# %% [markdown]
# **A threshold from the test set.** AUROC needs no threshold, accuracy does.
# Many tables take the one that is best on the test set itself, which nobody has in advance.
# The fair one is fixed on *select* and carried over.

# %%
select_videos = metrics.video_scores(both[both.role == "select"])
report_videos = metrics.video_scores(scores)
_, threshold = metrics.eer(select_videos.label, select_videos.p_fake)
fair = metrics.balanced_accuracy(report_videos.label, report_videos.p_fake, threshold)
oracle = metrics.oracle_accuracies(report_videos.label, report_videos.p_fake)
print(f"threshold fixed on select ({threshold:.3f}): balanced accuracy {fair:.3f}")
best = oracle["oracle_balanced_accuracy"]
print(f"threshold of the test set ({oracle['oracle_threshold']:.3f}, oracle): {best:.3f}")
plots.score_histogram(
    report_videos,
    threshold=threshold,
    title="One threshold, fixed before the report",
    profile=profile,
)

# %% [markdown]
# ## How many videos does a claim need?
#
# The interval of an AUROC shrinks with the square root of the number of videos.
# For a true AUROC $A$ and $n$ reals and $n$ fakes, a simulation with normal scores shows the width to expect.
# The separation $d$ that gives $A$ follows from $A = \Phi(d / \sqrt{2})$.

# %%
from scipy.stats import norm

rows = []
for n in (12, 50, 150, 500):
    labels = np.repeat([0, 1], n)
    shift = np.sqrt(2) * norm.ppf(0.95) * labels
    draws = [metrics.auroc(labels, norm.cdf(rng.normal(size=2 * n) + shift)) for _ in range(300)]
    low, high = np.quantile(draws, [0.025, 0.975])
    rows.append({"reals = fakes": n, "low": low, "high": high, "width": high - low})
pd.DataFrame(rows).round(3)

# %% [markdown]
# With a few dozen videos a difference in the second decimal is noise.
# Two detectors should then be compared on the same videos, with the interval of the difference (`metrics.paired_difference`).
#
# ## What to remember
#
# * Write the protocol down before the first score: frames, crop, level, roles.
# * Fit, select and report are three sets of people. The report set is used once.
# * An AUROC without an interval is a rumour, and the interval comes from resampling sources, not frames.
# * A threshold is part of the detector. It is fixed before the test.
#
# ## Limits and misuse
#
# The embedded benchmark is small and rendered; its fakes are small versions of published manipulations.
# A high number here says that the pipeline works, not that a detector is ready for use.
# Never quote a number of this chapter as a result about deepfakes, and never judge a person's video by it.
#
# ## Exercises
#
# 1. **Predict** (2 min). Frames per video go from 3 to 1. Does the honest interval get much wider? Decide before you look at the solution.
# 2. **Change** (5 min). Aggregate with the maximum instead of the mean, and find out on which manipulation it helps.
# 3. **Build** (10 min). Compute the AUROC of the pooled report videos from its definition, as a share of (real, fake) pairs, in three lines.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
first = scores[scores.frame == scores.groupby(["method", "video_id"]).frame.transform("min")]
one = metrics.bootstrap(metrics.video_scores(first), n=n_bootstrap, seed=seed)
many = metrics.bootstrap(metrics.video_scores(scores), n=n_bootstrap, seed=seed)
print(f"1 frame {one}, {n_frames} frames {many}: people, not frames, make the interval")
assert len(first) == len(metrics.video_scores(scores))

# %% tags=["solution", "hide-cell"]
by_max = evaluate.report(scores, how="max", n_bootstrap=n_bootstrap, seed=seed).set_index("method")
gain = by_max.auroc - table.set_index("method").auroc
print(gain.round(3).to_string())
assert set(gain.index) == set(table.method)

# %% tags=["solution", "hide-cell"]
reals = report_videos[report_videos.label == 0].p_fake.to_numpy()
fakes = report_videos[report_videos.label == 1].p_fake.to_numpy()
wins = (fakes[:, None] > reals).mean() + 0.5 * (fakes[:, None] == reals).mean()
assert abs(wins - metrics.auroc(report_videos.label, report_videos.p_fake)) < 1e-12
print(f"a random fake scores above a random real in {wins:.1%} of the pairs")

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the method, and video-level AUROC on 14 benchmarks.
# * Dong and others, *Implicit Identity Leakage* (arXiv 2210.14457) [@dong2023identity]: why people must not be shared between roles.
# * Grommelt and others, *Fake or JPEG?* (arXiv 2403.17608) [@grommelt2024fakejpeg]: a detector that read the file format instead of the image.
# * Rössler and others, *FaceForensics++* (arXiv 1901.08971) [@rossler2019faceforensics]: the benchmark whose manipulations ours are named after.
#
# ## Next
#
# Chapter 8 asks the same detector about forgeries and cameras that it never saw.
