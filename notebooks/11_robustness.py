# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11. Robustness: JPEG, blur, resize, noise
#
# What is left of a detector when the picture has been sent, shrunk, softened or filmed in the dark.
#
# | time | fast 85 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 07 |
# |---|---|---|---|---|---|
#
# **You will learn** to measure a robustness curve with intervals, to say what it costs relative to chance, to find out in which band of detail a forgery lives and so to predict the curve,
# and to tell a fair robustness comparison from an unfair one.
#
# **Why it matters.** Nobody meets a forgery as its maker saved it.
# Every upload re-codes, every messenger shrinks, every screenshot does both, and a detector that reads fine texture may be blind to the only copy there is.
# Robustness tables are also the easiest ones to get wrong: levels without a picture size, training on the very corruption that is tested, and test code that does nothing at all have all been published.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
backbone: str = "embedded"  # encoder of the probe, a name from gendkit.backbones
adapter: str = ""  # folder of a tuned detector; empty means the embedded one
n_frames: int = 3  # frames per video that the crops were cut from; one of them is scored
n_augmented: int = 1  # augmented copies of each fit crop
unseen: bool = False  # score the unseen manipulations, too
n_bootstrap: int = 500  # resamples behind every interval

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
from sklearn.preprocessing import normalize

import gendkit
from gendkit import (
    adapters,
    baselines,
    experiments,
    extract,
    manifest,
    metrics,
    model,
    paper,
    plots,
    repro,
    robustness,
    transforms,
)
from gendkit.nobody import cut

pd.set_option("display.max_colwidth", None)  # notes are read to their end
rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## Four ways to lose a detail
#
# The paper's grid has four corruptions (levels read in the official code).
# **JPEG** cuts the picture into blocks of 8 x 8 pixels and rounds their frequencies, the high ones more coarsely; a lower quality rounds more.
# **Blur** averages with a Gaussian window of standard deviation $\sigma$ pixels.
# **Resize** samples the crop anew with fewer pixels.
# **Noise** adds independent normal numbers of standard deviation $\sigma$, as a share of the full scale.
# Here is one crop at every level; resize with two of Pillow's six filters, bilinear (as in the rest of this chapter) and nearest.

# %%
crops = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
middle = crops.crops[crops.crops.groupby(manifest.KEY).cumcount() == n_frames // 2]
fit, report = (middle[middle.role == role].reset_index(drop=True) for role in ("fit", "report"))
seen = sorted(set(fit.method) - {"real"})
report = report if unseen else report[report.method.isin(["real", *seen])].reset_index(drop=True)
fit_images, images = robustness.decode(fit, crops.folder), robustness.decode(report, crops.folder)
levels = robustness.grid()
print(f"{len(images)} crops of {report.source_id.nunique()} people, {images[0].shape} each")

# %%
shown = robustness.grid(interpolation=None)
shown = shown[shown["filter"].isin(["", "bilinear", "nearest"])].sort_values(
    ["corruption", "filter", "level"], kind="stable"
)
pictures = [
    transforms.corrupt(images[0], row.corruption, row.level, rng) for row in shown.itertuples()
]
plots.contact_sheet(
    pictures,
    [
        f"{row['corruption'] if row['filter'] != 'nearest' else 'nearest'} {row['value']:g}"
        for row in shown.to_dict("records")
    ],
    n_columns=6,
    title="One crop at every level of the grid",
    profile=profile,
)

# %% [markdown]
# **A level is a number of pixels, so ask: pixels of what?**
# The corruption is applied to the crop as it was cut, before the encoder's own resize.
# A blur of one pixel on a large crop is a fraction of a pixel to an encoder that shrinks it; the official crops have the native size of each face, so one level is many strengths there.

# %%
encoder = model.build(backbone, head="LinearNorm")
side, sees = images[0].shape[0], encoder.encoder.spec.image_size
print(
    f"crops have {side} pixels a side, the encoder sees {sees}: a blur of 1 pixel is {sees / side:.2f} of its pixels"
)
kept = {f"resize {size}": min(size, sees) / sees for size in (224, 112, 64)}
print(
    "detail left for the encoder, per side:", {name: f"{share:.0%}" for name, share in kept.items()}
)

# %% [markdown]
# ## Curves, with intervals
#
# Three detectors look at the same crops: the embedded **detector** (LayerNorms tuned, no augmentation), the linear **probe** on its encoder as pre-trained, and the **texture** baseline of chapter 1, which has no network.
# Probe and texture are fitted here on the fit people, once on the crops as they are and once on crops with the paper's training augmentation; the second kind waits for a later section.
# A real and its fakes are augmented alike: chapter 9 says why.

# %%
augment = transforms.Augment()
training = {"": (fit_images, fit.label.to_numpy())}
people = pd.factorize(fit.source_id)[0]
copies = [
    augment(image, np.random.default_rng([seed, copy, person]))
    for copy in range(n_augmented)
    for image, person in zip(fit_images, people, strict=True)
]
training[", augmented"] = (copies, np.tile(fit.label, n_augmented))


def embeddings(images):
    return {"probe": normalize(robustness.encode(encoder, images)["features"])}


def textures(images):
    small = [transforms.resize(image, baselines.SIDE) for image in images]
    return {"texture": np.stack([baselines.texture_energies(image) for image in small])}


# %%
heads = {}
for mark, (some, labels) in training.items():
    for name, x in {**embeddings(some), **textures(some)}.items():
        heads[name + mark] = baselines.fit(x, labels)
detector = adapters.load_adapter(adapter or data / "weights" / "detector")


def by_detector(images):
    return {"detector": robustness.encode(detector, images)["p_fake"]}


def by_heads(images):
    x = {**embeddings(images), **textures(images)}
    return {name: baselines.score(head, x[name.split(",")[0]]) for name, head in heads.items()}


# %% [markdown]
# `robustness.sweep` corrupts every crop at every level and lets all of them score it.
# The test crops are those of the report people; by default only the manipulations that training knew, so that the curves show the corruption and nothing else.

# %%
scores = robustness.sweep(
    images, report, [by_detector, by_heads], robustness.conditions(levels), seed
)
found = robustness.curves(scores, n_bootstrap, seed)
placed = robustness.on_grid(levels, found)
clean = found[found.condition == robustness.CLEAN].set_index("model")
print(clean[["auroc", "low", "high"]].round(3))

# %%
plain = placed[placed.model.isin(["detector", "probe", "texture"])]
axes = {name: title for name, (_, title) in robustness.AXES.items()}
n_people = report.source_id.nunique()
facts = [f"{n_people} report people, {len(report)} videos, 1 frame each"]
plots.curves_by_level(
    plain, axes, title="What each corruption leaves", facts=facts, profile=profile
)

# %% [markdown]
# Two readings of the same curves.
# The **relative drop** is the share of the clean AUROC above chance that is gone: 0 means nothing lost, 1 means a coin, more than 1 worse than a coin. It makes detectors of different strength comparable, and it is noisy where the clean AUROC is near 0.5.

# %%
drops = plain.pivot_table(index=["corruption", "level", "value"], columns="model", values="lost")
drops.round(2)

# %% [markdown]
# The **difference to clean** is paired: the same people, the same fakes, so most of what makes people easy or hard cancels.
# Its interval says at which level a loss is more than chance, though the intervals in the figure overlap.

# %%
for name, own in plain[~plain.harmless].groupby("model", sort=False):
    hurt = own[own.change_high < 0].groupby("corruption", sort=False).first()
    said = [f"{row.Index} {row.value:g} ({row.change:+.3f})" for row in hurt.itertuples()]
    never = [corruption for corruption in axes if corruption not in hurt.index]
    print(f"{name:9} mildest level with a clear loss: {', '.join(said) or 'none'}", end="")
    print(f"; none found: {', '.join(never)}" if never else "")

# %% [markdown]
# ## Which band carries the forgery
#
# Can the curves be foreseen? A blur multiplies the amplitude at the frequency $f$ (cycles per pixel) by the Fourier transform of its window, $e^{-2(\pi\sigma f)^2}$.
# The energy is its square, so half of it is gone where
#
# $$ e^{-4(\pi\sigma f)^2} = \tfrac12 \quad\Longleftrightarrow\quad f = \frac{\sqrt{\ln 2}}{2\pi\sigma} \approx \frac{0.13}{\sigma} . $$
#
# The finest wave that the encoder can see after its own resize has half a cycle per pixel *of its picture*.

# %%
finest = 0.5 * sees / side
blurs = pd.DataFrame({"sigma": [0.5, 1.0, 1.5, 2.0, 3.0]})
blurs["half power, cycles per pixel"] = [robustness.half_power(s) for s in blurs.sigma]
blurs["as a share of the finest wave seen"] = blurs["half power, cycles per pixel"] / finest
blurs.round(3)

# %% [markdown]
# Next, where does the forgery live?
# Pairs answer that exactly: cut by the true landmarks, a fake minus its real *is* the forgery.
# `robustness.bands` splits a picture into differences of blurs that add up to it again; the table compares the energy of the forgery in each band with that of noise.

# %%
root, sigmas = data / "nobody", (1.0, 2.0, 4.0)
names = ["finer than 1 px", "1 to 2 px", "2 to 4 px", "coarser than 4 px"]
videos = manifest.read(root / "manifest.csv")
wanted = videos[(videos.role == "report") & videos.method.isin(["real", *seen])]
rows, cutouts = cut.true_crops(wanted, root, root / "landmarks.npz")
pairs = [(cutouts[r], cutouts[f]) for r, f in manifest.pairs(rows)[["real", "fake"]].to_numpy()]
fakes = rows.loc[manifest.pairs(rows).fake]
some = [robustness.band_energies(fake.astype(float) - real, sigmas) for real, fake in pairs[::4]]
energy = pd.DataFrame({"band": names[:-1], "energy of the forgery": np.mean(some, axis=0)})
for sigma in (0.01, 0.05, 0.2):
    grain = robustness.band_energies(255 * sigma * rng.standard_normal((side, side, 3)), sigmas)
    energy[f"forgery over noise {sigma:g}"] = energy["energy of the forgery"] / grain
energy.round(2)

# %% [markdown]
# Noise has most of its energy in the finest band, because there are most fine waves; a forgery has its energy rather in the coarser ones, as pictures have. So the finest band drowns first.
#
# Energy is not evidence, though: a band may be strong and look the same in reals.
# The test is causal. Take a real, add *one band* of what its fake changed, and ask the detector to tell the result from untouched reals. Then add all bands *but* one.

# %%
every = set(range(len(names)))
trials = {f"only {name}": [k] for k, name in enumerate(names)}
trials |= {f"all but {name}": sorted(every - {k}) for k, name in enumerate(names)}
trials |= {"all bands: the fake": sorted(every)}
mixed = [robustness.transplant(real, fake, trials.values(), sigmas) for real, fake in pairs]
untouched = rows[rows.label == 0]
reals = robustness.encode(detector, [cutouts[k] for k in untouched.index])["p_fake"]
table = []
for name, made in zip(trials, zip(*mixed, strict=True), strict=True):
    changed = fakes.assign(p_fake=robustness.encode(detector, list(made))["p_fake"])
    both = pd.concat([untouched.assign(p_fake=reals), changed])
    one = metrics.bootstrap(both, n=n_bootstrap, seed=seed)
    table.append({"method": name, "auroc": one.value, "low": one.low, "high": one.high})
carried = pd.DataFrame(table).assign(n_real=len(untouched), n_fake=len(fakes))

# %%
alone = carried[carried.method.str.startswith("only")]
best = alone.loc[alone.auroc.idxmax()]
print(
    f"most telling band alone: {best.method.removeprefix('only ')}, AUROC {best.auroc:.3f} [{best.low:.3f}, {best.high:.3f}]"
)
spare = carried[carried.method.str.startswith("all but")].auroc.min()
print(f"without one band, at least {spare:.3f}; with all, {carried.auroc.iloc[-1]:.3f}")
plots.forest(
    carried,
    title="One band of the forgery at a time",
    profile=profile,
    caption="Real crops that were given bands of their fakes, the embedded detector",
)

# %% [markdown]
# Read this figure beside the curves.
# A band that tells when it is alone need not be missed when it is left out: the evidence may be spread over neighbours.
# A corruption hurts as far as it empties the bands that tell: compare the blur whose half-power frequency passes the telling band with the level at which the detector's blur curve falls.
# Only pairs allow this experiment, and only true landmarks make it exact: with crops that are cut by found landmarks the difference would hold the detector's jitter, too.
#
# ## Training with augmentation, and a fair comparison
#
# The paper trains with JPEG of quality 40 to 100 on every crop and a blur of up to 2 pixels on one crop in ten, so its detector has *seen* most of these levels.
# A detector that was not trained with them is compared unfairly, and a table does not show it.
# Two ways out: the same augmentation for all, or shade what training covered. Here are both.

# %%
ranges = {"jpeg": augment.jpeg_quality, "blur": augment.blur_sigma}
both = placed[placed.model.isin(heads)].assign(order=lambda t: t.model.map(list(heads).index))
plots.curves_by_level(
    both,
    axes,
    ranges,
    title="With and without the paper's training augmentation",
    facts=facts,
    profile=profile,
    caption="Shading applies to the augmented ones",
)

# %%
for name in ("probe", "texture"):
    for corruption, (low, high) in {**ranges, "resize": (0, 0), "noise": (0, 0)}.items():
        inside = levels[(levels.corruption == corruption) & ~levels.harmless]
        covered = inside.value.between(low, high)
        for word, part in (
            ("in the training range", inside[covered]),
            ("outside", inside[~covered]),
        ):
            names_of = [robustness.name_of(row) for row in part.to_dict("records")]
            own = found[found.condition.isin(names_of)].groupby("model").auroc.mean()
            if names_of:
                gain = own[f"{name}, augmented"] - own[name]
                print(f"{name:8} {corruption:7} {word:22} {gain:+.3f} by augmentation")

# %% [markdown]
# Read the signs. Augmentation is expected to cost on clean crops and to pay inside its range; where the sign is negative even there, it has bought nothing: it removed what the features read, and a linear head on frozen features cannot learn new ones.
# Tuning met the same with this small encoder: with the paper's augmentation, LayerNorm tuning of 8 epochs reached 0.665 on seen and 0.645 on unseen manipulations, without it 0.776 and 0.726
# (video AUROC on the report people, one seed; source: `data/weights/LOG.md`, "The full benchmark"). It sees 128 pixels, and in the log's words it reads fine texture, which augmentation takes away.
# That is a fact about this encoder, not about augmentation: CLIP and its like, trained on pictures from the wild, lose less and gain more.
# The consequence is honest, too: the shipped detector has no training range to shade, and its curves above are those of an unprotected one.
#
# ## Chains of the real world
#
# A messenger shrinks and then codes; a screenshot is coded, enlarged and coded again. The order matters: JPEG after a resize rounds the frequencies of the small picture.

# %%
chains = {
    "messenger: 112 px, JPEG 60": lambda i, r: transforms.jpeg(transforms.resize(i, 112), 60),
    "JPEG 60, then 112 px": lambda i, r: transforms.resize(transforms.jpeg(i, 60), 112),
    "sent twice: JPEG 60, JPEG 60": lambda i, r: transforms.jpeg(transforms.jpeg(i, 60), 60),
    "screenshot: JPEG 60, 224 px, JPEG 80": lambda i, r: transforms.jpeg(
        transforms.resize(transforms.jpeg(i, 60), 224), 80
    ),
}
sent = robustness.curves(
    robustness.sweep(images, report, [by_detector], chains, seed), n_bootstrap, seed
)
parts = found[
    (found.model == "detector") & found.condition.isin(["jpeg 60", "resize 112 bilinear"])
]
table = pd.concat([sent, parts])
table[["condition", "auroc", "low", "high", "change", "change_low", "change_high"]].round(3)

# %%
change = table.set_index("condition").change
together, apart = (
    change["messenger: 112 px, JPEG 60"],
    change["jpeg 60"] + change["resize 112 bilinear"],
)
print(f"messenger {together:+.3f}; its two steps alone add up to {apart:+.3f}")

# %% [markdown]
# A grid of single corruptions does not add up to a chain. If you know the path that your pictures take, test that path.
#
# ## The official runs, and what they measure
#
# The official code registers the same grid as experiments. Two traps are worth knowing before you quote or rerun them (all read in the code, tag V).

# %%
name = "wacv-LN+L2+UnAl-seed0-blur-7-1.0"
print(experiments.get(name).note)
print("difference to the corrected run:", experiments.difference(name, f"{name}-fixed"))
official = [experiments.get(n) for n in experiments.names(family="robustness", source="official")]
blurred = [run for run in official if "-blur-" in run.name and "-blur-0-" not in run.name]
skipped = sum(run.corruption is None for run in blurred)
print(f"{skipped} of {len(blurred)} official runs that are named after a blur score clean crops")
print(experiments.get("wacv-LN+L2+UnAl-seed0-resize-224-0").note.split(". ")[-1])
print("Pillow's filters by number:", dict(enumerate(transforms.INTERPOLATIONS)))

# %% [markdown]
# A blur table made with that code is a column of clean numbers: flat, and very robust.
# The guard is cheap: at least one level of every corruption must change at least one score, and the strongest must hurt. `gendkit experiments diff RUN RUN-fixed` prints the difference, and `gendkit test` runs the kit's own grid.

# %%
reached = found[(found.model == "detector") & (found.condition != robustness.CLEAN)]
moved = scores[scores.model == "detector"].pivot_table(
    index=manifest.KEY, columns="condition", values="p_fake"
)
unmoved = [
    c for c in reached.condition if np.allclose(moved[c], moved[robustness.CLEAN], atol=1e-6)
]
print(f"levels that change no score: {unmoved or 'none'}")
paper.table("robustness")[["row", "column", "value", "unit", "tag", "note"]]

# %% [markdown]
# The paper's robustness *figures* are not public to this kit: where the value is empty, it was not found, and nothing is filled in.
#
# ## What to remember
#
# * A level means nothing without the size of the crop that it is applied to and the size that the encoder sees.
# * Report the difference to clean with an interval from the same people, and the drop relative to chance; two overlapping curves may still differ.
# * A corruption hurts as far as it empties the bands that carry the evidence. With pairs these bands can be measured, one at a time.
# * Say what training covered and shade it. A detector that was trained on the test's corruption is not more robust, it is better informed.
# * Check that a robustness test does something: the official blur runs do not.
#
# ## Limits and misuse
#
# One frame a video, rendered faces, manipulations that training knew, a small encoder: the shapes of these curves are this world's.
# The clips were coded once before any of this, so "clean" means H.264 at CRF 23.
# Nobody here attacked the detector: a corruption that is chosen to fool it costs far more than one that happens.
# Do not read a curve as permission ("JPEG 40 is safe"): it is an average over people, and thresholds shift along with it (chapter 12).
#
# ## Exercises
#
# 1. **Predict** (3 min). All else equal, crops have twice the pixels a side. Which blur on them does to the encoder what sigma 1 does now?
# 2. **Change** (5 min). Does the filter matter? Score the detector on crops of 64 pixels made by all six filters.
# 3. **Build** (10 min). A low-pass is a blur; build the *high-pass* test: keep only what a blur of 4 pixels removes, on grey, and score it. What does the detector see in it?

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# The half-power frequency per pixel halves when sigma doubles, and a pixel is half as large.
assert np.isclose(robustness.half_power(2.0) * 2 * side, robustness.half_power(1.0) * side)
print("sigma 2 on crops of twice the side: the same share of the finest wave")

# %% tags=["solution", "hide-cell"]
filters = robustness.grid(["resize"], None)
filters = robustness.conditions(filters[filters.value == 64])
made = robustness.curves(robustness.sweep(images, report, [by_detector], filters), n_bootstrap)
print(made[["condition", "auroc", "low", "high"]].round(3).to_string(index=False))
assert len(made) == 7

# %% tags=["solution", "hide-cell"]


def high_pass(image, rng):
    fine = robustness.bands(image, (4.0,))[0]
    return np.clip(np.round(128 + fine), 0, 255).astype(np.uint8)


left = robustness.curves(
    robustness.sweep(images, report, [by_detector], {"high-pass": high_pass}), n_bootstrap
)
print(left[["condition", "auroc", "low", "high"]].round(3).to_string(index=False))
assert abs(high_pass(np.full((16, 16, 3), 90, np.uint8), rng).mean() - 128) < 1

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the grid of this chapter.
# * Haliassos and others, *Lips Don't Lie* (arXiv 2012.07657) [@haliassos2021lips]: robustness curves as a main result, by a detector that reads mouth movement instead of texture.
# * Grommelt and others, *Fake or JPEG?* (arXiv 2403.17608) [@grommelt2024fakejpeg]: when JPEG is not the corruption but the label.
# * Hendrycks and Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations* (arXiv 1903.12261) [@hendrycks2019corruptions]: levels, and errors relative to a baseline.
# * Wang and others, *CNN-Generated Images Are Surprisingly Easy to Spot... for Now* (arXiv 1912.11035) [@wang2020cnn]: blur and JPEG as augmentation, and what they buy.
#
# ## Next
#
# Chapter 12 asks what a score is worth as a decision: thresholds, calibration, prevalence.
