# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 90. The paper's tables: published, ours, and what is missing
#
# Every published figure with its source, beside what this kit measured, or what it would take.
#
# | time | fast 20 s (CPU, 2 cores) | level | advanced | needs | 07 |
# |---|---|---|---|---|---|
#
# **You will learn** to read a published number with its provenance, to check by code what can be checked without data,
# to fill a table from your own scores files, and to say "not run" where nothing was run.
#
# **Why it matters.** A reproduction is not one number that looks alike.
# It is a table in which each cell says what was published and by whom, what was measured here, on which data, with which interval, and what is missing.
# Numbers get copied from paper to paper without the protocol that made them; two generations of this very paper's numbers circulate side by side.
# This chapter holds no number of ours that no code made.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
scores: str = ""  # folder of your scores files or runs; empty means none
model_name: str = ""  # what was scored, where the records beside the files do not say
n_bootstrap: int = 1000  # resamples behind every interval

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e ".."
    pass

from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import gendkit
from gendkit import benchmarks, evaluate, losses, paper, plots, report, repro, results

pd.set_option("display.max_colwidth", None)  # notes are read to their end
rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## What was published, and who says so
#
# The figures live in `data/paper` as small tables: value, unit, source, and a **tag**.
# V is verified in the official code or on a page of its authors, S is second-hand, I is inferred.
# An empty value was not found, and stays empty.

# %%
published = paper.read()
overview = (
    published.assign(found=published.value != "")
    .groupby("table")
    .agg(figures=("found", "size"), found=("found", "sum"))
)
tags = published[published.tag != ""].groupby(["table", "tag"]).size().unstack(fill_value=0)
tags = tags.reindex(overview.index, fill_value=0)
paper.tables()[["title", "filled_by"]].join(overview).join(tags)

# %%
aurocs = published[published.unit.str.startswith("AUROC") & (published.value != "")]
first_hand = aurocs[
    (aurocs.tag == "V") & aurocs.table.isin(["averages", "cells", "pairs", "ablation1", "version1"])
]
print(f"{len(published)} figures, {(published.value == '').sum()} of them not found")
print(
    f"{len(aurocs)} are AUROCs; of those in the paper's own tables {len(first_hand)} are verified against the paper"
)

# %% [markdown]
# So every AUROC of the paper below is second-hand: somebody else wrote it down.
# That is no reason to doubt the paper; it is a reason to write "S" beside the number.
#
# The cells of the main table, as far as they are public:

# %%
cells = paper.table("cells")
shown = cells.assign(text=(cells.value + " " + cells.tag).str.strip())
grid = shown.groupby(["row", "column"], sort=False).text.agg(" / ".join).unstack()
grid[["GenD CLIP", "GenD PE", "GenD DINOv3", "Effort", "ForAda"]].reindex(
    dict.fromkeys(cells.row)
).replace("", "–").fillna("–")

# %% [markdown]
# Two values in one cell are two sources that disagree.
# The notes belong to the numbers; here are those that change how a number may be used.

# %%
noted = cells[(cells.value != "") & (cells.note != "")]
noted[["row", "column", "value", "note"]].reset_index(drop=True)

# %% [markdown]
# ## Do new benchmarks get harder?
#
# The abstract of the paper says that the difficulty of benchmarks "has not strictly increased over time".
# The years come from the authors' own pages, the AUROCs are those above, GenD's only.

# %%
years = {one.key: one.year for one in benchmarks.BENCHMARKS}
known = cells[cells.column.str.startswith("GenD") & cells.row.isin(years) & cells.number.notna()]
trend = pd.DataFrame(
    {
        "year": known.row.map(years),
        "benchmark": known.row,
        "model": known.column,
        "auroc": known.number,
    }
)
plots.published_years(
    trend,
    title="Published AUROC by the year of the benchmark: no clear trend",
    caption="second-hand figures; not all benchmarks are known",
)

# %%
per_set = trend.groupby("benchmark").agg(year=("year", "first"), auroc=("auroc", "mean"))
rank, _ = spearmanr(per_set.year, per_set.auroc)
dealt = np.array([spearmanr(rng.permutation(per_set.year), per_set.auroc)[0] for _ in range(500)])
p = (1 + (abs(dealt) >= abs(rank)).sum()) / (1 + len(dealt))
print(
    f"{len(per_set)} of {len(years)} benchmarks have a figure; rank correlation with the year {rank:+.2f}, p {p:.2f}"
)
print(f"without any figure: {', '.join(sorted(set(years) - set(per_set.index)))}")

# %% [markdown]
# With so few benchmarks neither a trend nor its absence can be shown: that is all that these figures allow us to say about the claim.
# The missing ones are mostly the newest.
#
# ## What can be checked without data
#
# Counts, settings, sizes and closed forms need no benchmark.
# `report.fill` derives them from the objects that the kit runs with, and never from the table they are compared with:
# networks on the meta device, the lists of groups, the registered experiments, the schedule.

# %%
runs = [report.load(path, model_name) for path in report.find([scores])] if scores else []
filled = report.fill(runs, n_bootstrap=n_bootstrap, seed=seed)
by_kit = filled[(filled.n_runs == 0) & filled.ours.notna()]
pd.crosstab(by_kit.table, by_kit.verdict)

# %%
parameters = by_kit[by_kit.table.isin(["parameters", "checkpoints"])]
plots.comparison(
    report.readable(parameters),
    columns=["row", "column", "published", "ours", "rests on"],
    title="Trained parameters and checkpoints: counted again",
    profile=profile,
    caption="no weights were loaded",
)

# %% [markdown]
# The size of the released CLIP checkpoint is worked out from the names and shapes of its tensors and the format of the file, to the byte.
#
# The loss terms have values that can be worked out by hand.
# Two classes at opposite poles: pairs within a class are equal, so the alignment is 0.
# Of $n$ points, half at each pole, a share $s = \frac{n/2}{n-1}$ of all pairs is at squared distance 4, so the uniformity is $\log(1 - s + s\,e^{-8})$, which tends to $-0.693$.

# %%
n = 64
poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64).repeat_interleave(
    n // 2, dim=0
)
y = torch.arange(2).repeat_interleave(n // 2)
share = (n / 2) / (n - 1)
by_hand = {"alignment": 0.0, "uniformity": float(np.log(1 - share + share * np.exp(-8)))}
by_kit_loss = {
    "alignment": float(losses.AlignmentLoss()(poles, y)),
    "uniformity": float(losses.UniformityLoss()(poles, y)),
}
pd.DataFrame({"by hand": by_hand, "kit": by_kit_loss}).assign(
    difference=lambda t: (t["by hand"] - t["kit"]).abs()
)

# %% [markdown]
# The official code itself was run once on seeded random inputs; its answers are stored with the tests of this repository.
# The kit has to give the same.

# %%
fixtures = data.parent / "tests" / "data"
if fixtures.is_dir():
    print(report.parity(fixtures).to_string())
else:
    print("not run: needs tests/data of a checkout")

# %% [markdown]
# ## What needs data: the tables, filled or not
#
# No benchmark is shipped with this book, so without your scores every cell below says "not run" and what it needs.
# Give a folder of scores files (parameter `scores`, or `gendkit report FOLDER`), and the cells that your files answer to are filled:
# benchmarks are found by their names, models by the records that `gendkit train` and `gendkit test` leave.
# A cell is tinted by the interval of ours: it reaches the published figure, lies above, or lies below.

# %%
wanted = filled[filled.table.isin(["averages", "ladder", "pairs", "cells"])]
wanted = wanted[(wanted.published != "") | (wanted.n_runs > 0)]
plots.comparison(
    report.readable(wanted),
    title="The paper's AUROCs beside ours",
    profile=profile,
    caption=f"{len(runs)} scores files given",
)

# %%
print(
    filled[filled.table.isin(["averages", "ladder", "pairs", "cells"])]
    .verdict.value_counts()
    .to_string()
)
for name, needs in paper.tables().query("filled_by == 'scores'").needs.items():
    print(f"{name}: {needs}")

# %% [markdown]
# What does that cost?
# Not in hours, which nobody measured here, but in images, which the recipe fixes.

# %%
recipe = paper.table("recipe").query("column == 'version 3'").set_index("row").number
images = recipe["batch size"] * recipe["steps an epoch"] * recipe["epochs"]
print(
    f"one training run: {images / 1e6:.2f} million crops forward and backward through the encoder"
)
ladder = 3 * 4 * recipe["seeds"]
print(f"the ladder: {ladder:.0f} runs, three quarters of them train more than the head")

# %% [markdown]
# Does filling work? Made-up scores under the name of a real benchmark prove it, and never leave this cell.

# %%
people, fake = np.repeat([f"id{k}" for k in range(60)], 2), np.tile([0, 1], 60)
logit = rng.normal(size=120) + 3 * fake - 1.5
made_up = pd.DataFrame({"video_id": people, "source_id": people, "label": fake})
made_up["method"] = np.where(fake, "Celeb-synthesis", "real")
made_up["p_fake"] = 1 / (1 + np.exp(-logit))
made_up = made_up.assign(dataset="CDFv2", compression="", role="report", frame=0)
evaluate.write_scores(made_up, out / "made-up.csv")
trial = report.fill([report.load(out / "made-up.csv", "GenD PE")], n_bootstrap=200, seed=seed)
made_row = trial.query("table == 'cells' and row == 'CDFv2' and column == 'GenD PE'")
report.readable(made_row)

# %% [markdown]
# ## The ladder, on other data
#
# The same four rungs were trained on Nobody's Faces with the embedded encoder, and their scores are stored.
# **Other data, not comparable**: rendered people, small forgeries, an encoder a hundred times smaller.
# The rows show whether the *order* of the rungs is seen in the miniature, no more.

# %%
rungs = [f"nobody-{rung}" for rung in ("baseline", "LN", "LN+L2", "LN+L2+UnAl")]
stored = set(results.runs().group)
here = [rung for rung in rungs if rung in stored]
for rung in sorted(set(rungs) - stored):
    print(f"{rung}: not run, needs: gendkit experiments run {rung}")
ladder = results.table(here, n_bootstrap=n_bootstrap, seed=seed)
videos = results.scores(here[0])
of = {name: videos[videos.dataset == name] for name in set(ladder.dataset)}
ladder["n_real"] = [int((of[name].label == 0).sum()) for name in ladder.dataset]
ladder["n_fake"] = [int((of[name].label == 1).sum()) for name in ladder.dataset]
plots.forest(
    ladder.assign(method=ladder.run.str.removeprefix("nobody-"), model=ladder.group).drop(
        columns="dataset"
    ),
    title="The ladder on Nobody's Faces: other data, not comparable",
    profile=profile,
    caption="stored runs, seeds averaged; mean over manipulations",
)

# %%
for lower, upper in pairwise(here):
    for row in results.difference(upper, lower, n_bootstrap=n_bootstrap, seed=seed).itertuples():
        shown = "a gain" if row.low > 0 else "a loss" if row.high < 0 else "not shown"
        step = f"{lower.removeprefix('nobody-')} to {upper.removeprefix('nobody-')}"
        print(
            f"{step:22} {row.group:9} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}] {shown}"
        )

# %% [markdown]
# A step whose interval holds 0 is not shown here, whatever its sign.
# In the figures of version 1 (`paper.table("ablation1")`) LayerNorm tuning is by far the largest step and every later one is small but upward.
# A loss in the lines above contradicts that order for this miniature, and is left standing:
# its encoder, its batches and its training set are so much smaller that neither agreement nor contradiction says anything about the paper's runs.

# %% [markdown]
# ## What to remember
#
# * A published number is a value, a source and a tag. All AUROCs of the paper here are second-hand, and say so.
# * What needs no data can be checked to the last digit: parameters, checkpoint size, experiments, groups, losses.
# * "Not run" with its reason is a result. A cell is never filled from other data.
# * Compare by interval: ours agrees if its interval reaches what the published figure rounds from.
# * The figures at hand neither show nor exclude that newer benchmarks are harder.
#
# ## Limits and misuse
#
# Second-hand figures may be misquoted; before you cite one, read the paper.
# Versions 1 and 3 of the paper used other crops, sets and losses; never mix their averages.
# A cell that agrees is no proof of equal protocol: look at frames, crops and compression (`gendkit explain-diff`).
# Nothing on Nobody's Faces may stand in a table beside real benchmarks.
#
# ## Exercises
#
# 1. **Predict** (3 min). Ours is 94.1 with an interval from 92.8 to 95.2; published is 95 without decimals. Which verdict?
# 2. **Change** (5 min). Which published figures of GenD on one benchmark differ by more than 3 points between encoders? Find them in `data/paper`.
# 3. **Build** (10 min). Compute the number of LayerNorm parameters of CLIP ViT-L/14 from its width and depth, and compare with the table.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# "95" stands for everything from 94.5 to 95.5, and the interval reaches into it
answer = "agrees" if 92.8 <= 95.5 and 95.2 >= 94.5 else "not"
assert answer == "agrees" and answer in report.VERDICTS
print(answer, "-", report.VERDICTS[answer])

# %% tags=["solution", "hide-cell"]
ours = known.groupby("row").number.agg(["min", "max", "count"])
far = ours[(ours["max"] - ours["min"] > 3) & (ours["count"] > 1)]
print(far)
assert set(far.index) <= set(years) and "DFDC" in far.index

# %% tags=["solution", "hide-cell"]
width, depth = 1024, 24
by_hand = (2 * depth + 2) * 2 * width
row = filled[
    (filled.table == "parameters")
    & (filled.row == "CLIP ViT-L/14")
    & (filled.column == "LayerNorm")
].iloc[0]
assert by_hand == row.ours == int(row.published)
print(f"{by_hand:,}: two LayerNorms a block, one before, one after, gain and bias each")

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the paper.
# * Yermakov, Cech, Matas, *Unlocking the Hidden Potential of CLIP in Generalizable Deepfake Detection* (arXiv 2503.19683) [@yermakov2025clip]: the predecessor.
# * Yan and others, *Orthogonal Subspace Decomposition for Generalizable AI-Generated Image Detection* (arXiv 2411.15633) [@yan2025effort]: Effort, one of the two methods it is compared with.
# * Cui and others, *Forensics Adapter: Unleashing CLIP for Generalizable Face Forgery Detection* (arXiv 2411.19715) [@cui2025forensicsadapter]: ForAda, the other one.
#
# ## Next
#
# The pages at the end of the book: how to cite, data access, and why your number may differ.
