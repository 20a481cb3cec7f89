# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9. Pairs and shortcuts
#
# Train on a fake beside the real it was made from, or beside reals of other people: as many videos, another detector.
#
# | time | fast 60 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 01, 07 |
# |---|---|---|---|---|---|
#
# **You will learn** to say what a pair cancels and what it cannot, to compare paired and unpaired training at equal budget with an interval,
# to plant a shortcut and watch a detector take it, and to find it without looking at a face.
#
# **Why it matters.** A detector learns whatever separates the two classes of its training data.
# If reals come from one place and fakes from another, the place is the easiest thing to learn, and its own test set will applaud.
# The paper's most useful finding for whoever collects data is that fakes should be trained on beside their own reals.
# This chapter shows why, how much it is worth here, and what pairs do not protect from.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
backbone: str = "embedded"  # a name from gendkit.backbones
n_frames: int = 3  # frames per video that the crops were cut from
n_lists: int = 20  # training lists of each kind, as in the paper
n_people: int = 30  # fit people whose videos get a planted shortcut
n_report: int = 12  # report people whose videos get one
n_bootstrap: int = 1000  # resamples behind every interval

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces,nobody]"
    pass

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler, normalize

import gendkit
from gendkit import (
    audit,
    baselines,
    datasets,
    evaluate,
    extract,
    manifest,
    metrics,
    model,
    pairing,
    paper,
    plots,
    repro,
    resample,
    results,
    robustness,
)
from gendkit.nobody import cut, shortcut

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## A logit is forgery plus nuisance
#
# Let a video have one number that the forgery moves and $D$ numbers that have nothing to do with it: light, skin, camera, codec.
#
# $$ f = \delta\,y + \sigma\,e, \qquad v = \tau\,u, \qquad y \in \{0, 1\} . $$
#
# Here $e$ and the $D$ entries of $u$ are standard normal, and $u$ belongs to the clip: a fake has the $u$ of the real that it was made from.
# The simplest linear detector takes the difference of the class means as its weights, $w = \bar x_{\text{fake}} - \bar x_{\text{real}}$.
# It is also the direction of the first gradient step of a logistic regression that starts at zero. Its logit has two parts:
#
# $$ w^\top x = \underbrace{w_f\, f}_{\text{forgery}} + \underbrace{w_v^\top v}_{\text{nuisance}} . $$
#
# With $n$ reals and $n$ fakes of *different* people, $w_v = \tau(\bar u_{\text{fake}} - \bar u_{\text{real}})$ is not zero but has variance $2\tau^2/n$ in each of $D$ directions: chance has given the fakes other light than the reals.
# With *pairs* the two means are over the same $u$, so $w_v = 0$, for every $n$.
# On new people both classes have normal scores, with the gap $w_f\,\delta$ between them, so given the weights
#
# $$ \mathrm{AUROC} = \Phi\!\left(\frac{w_f\,\delta}{\sqrt{2\,(w_f^2\sigma^2 + \tau^2\lVert w_v\rVert^2)}}\right), \qquad \lVert w_v\rVert^2 \sim \frac{2\tau^2}{n}\,\chi^2_D \text{ unpaired}, \quad 0 \text{ paired.} $$
#
# The mean over $w_f$ and $\lVert w_v\rVert^2$ is an integral that `pairing.expected_auroc` computes; `pairing.simulate` draws people, trains and tests.
# A third case is a **collection** that gives all its fakes something that no real has, such as another codec: a shift of one nuisance number. The real of the pair does not share it, so it does not cancel.

# %%
world = pairing.World(forgery=1.0, noise=1.0, nuisance=1.0, dims=50)
kinds = {
    "paired": {"paired": True},
    "unpaired": {"paired": False},
    "paired, other codec for fakes: own test": {"paired": True, "shift": 2.0, "test_shift": 2.0},
    "the same detector: clean test": {"paired": True, "shift": 2.0},
}
solved = pd.DataFrame(
    {"n": n, "kind": kind, "expected": pairing.expected_auroc(n, world, **how)}
    for kind, how in kinds.items()
    for n in (4, 9, 18, 36, 72, 144, 576, 2304)
)
solved[["simulated", "error"]] = np.nan
for at in np.flatnonzero(solved.n.isin([9, 36])):
    n, kind = solved.n[at], solved.kind[at]
    drawn = pairing.simulate(n, world, rng=rng, n_repeats=60, n_test=200, **kinds[kind])
    solved.loc[at, ["simulated", "error"]] = drawn.mean(), drawn.std(ddof=1) / len(drawn) ** 0.5

# %%
off = ((solved.simulated - solved.expected).abs() / solved.error).max()
print(f"simulation and integral differ by at most {off:.1f} standard errors of the simulation")
plots.growth(
    solved,
    title="Chance shortcuts fade with more videos, planted ones do not",
    profile=profile,
    facts=[f"D = {world.dims}, delta = sigma = tau = 1, shift 2"],
)

# %% [markdown]
# Three things to read off.
# Pairs are worth most where data are few. Unpaired lists get there too, with many more people: what is wrong with them is chance.
# And a shortcut of the collection is not a matter of chance: the detector that took it looks best of all on its own test and stays below all paired ones on a clean test, however long the list.
#
# ## Two lists of equal size
#
# `data/nobody` brings the experiment as two training lists. In `paired.csv` every fake stands beside its own real; in `unpaired.csv` fakes and reals share no person, neither as source nor as donor.

# %%
lists = {kind: manifest.read(data / "nobody" / f"{kind}.csv") for kind in ("paired", "unpaired")}
sizes = pd.DataFrame({kind: table.method.value_counts() for kind, table in lists.items()}).T
sizes["people"] = [table.source_id.nunique() for table in lists.values()]
sizes["people in both classes"] = [
    len(set(t.source_id[t.label == 0]) & set(t.source_id[t.label == 1])) for t in lists.values()
]
assert (sizes.drop(columns=["people", "people in both classes"]).nunique() == 1).all()
sizes

# %% [markdown]
# Reals and fakes of each method are as many in both; the unpaired list even shows twice as many people. If anything, it has more to learn from.
#
# First the model's claim: unpaired lists give the class means a gap that is not forgery.
# The recipe draws as many pairs of lists as we like, so we draw some, encode the crops once with the frozen encoder, and measure how far $w$ lies from the gap over *all* fit people.
# The model predicts the difference of the squared distances: $\frac{2}{n}\,\mathrm{tr}\,C$, where $C$ is the covariance between a real and its fake, over people.

# %%
crops = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
middle = crops.crops[crops.crops.groupby(manifest.KEY).cumcount() == n_frames // 2]
fit, report = (middle[middle.role == role].reset_index(drop=True) for role in ("fit", "report"))
encoder = model.build(backbone, head="LinearNorm")
x_fit, x_report = (
    normalize(evaluate.cache_features(encoder, part, crops.folder)) for part in (fit, report)
)
keys, standard = manifest.video_key(fit), StandardScaler().fit_transform(x_fit)
draw = {"paired": shortcut.paired, "unpaired": shortcut.unpaired}
chosen = {
    kind: [keys.isin(manifest.video_key(make(fit, k))).to_numpy() for k in range(n_lists)]
    for kind, make in draw.items()
}

# %%
forgery = pairing.class_gap(standard, fit.label)
rows = []
for kind, masks in chosen.items():
    gaps = [pairing.class_gap(standard[mask], fit.label[mask]) for mask in masks]
    far = np.mean([np.sum((gap - forgery) ** 2) for gap in gaps])
    cosine = [gap @ forgery / np.linalg.norm(gap) / np.linalg.norm(forgery) for gap in gaps]
    rows.append({"list": kind, "squared distance": far, "cosine to the forgery": np.mean(cosine)})
pairs = manifest.pairs(fit)
a, b = (standard[pairs[name]] - standard[pairs[name]].mean(0) for name in ("real", "fake"))
trace = (a * b).sum() / (len(pairs) - 1)
n_reals = int((fit.label[chosen["paired"][0]] == 0).sum())
print(f"predicted difference {2 / n_reals * trace:.1f}, measured", end=" ")
print(f"{rows[1]['squared distance'] - rows[0]['squared distance']:.1f}")
print(f"squared length of the forgery's own gap: {forgery @ forgery:.1f}")
pd.DataFrame(rows).round(2)

# %% [markdown]
# Compare the distances with the length of the forgery's own gap: what an unpaired list adds by chance is larger than the signal, what a paired list adds is smaller.
# The measured difference may exceed the predicted one, because the recipe deals groups of similar people (one skin tone and sex) whole, and people of one group share nuisance.
#
# Does it matter for detection? One linear probe for each list, all tested on the same report people.

# %%
scored = {
    kind: resample.sample(
        report.assign(p_fake=baselines.score(baselines.fit(x_fit[m], fit.label[m]), x_report))
        for m in masks
    )
    for kind, masks in chosen.items()
}
seen = sorted(set(fit.method) - {"real"})
groups = {"seen": seen, "unseen": sorted(set(report.method) - {"real", *seen})}


def verdict(low, high):
    if low > 0:
        return "pairs are better"
    return "unpaired is better" if high < 0 else "not distinguishable on these people"


# %%
rows = []
for group, methods in groups.items():
    one, other = ((1, scored[kind], methods) for kind in ("paired", "unpaired"))
    terms = {"paired": [one], "unpaired": [other], "difference": [one, (-1, *other[1:])]}
    for kind, term in terms.items():
        ends = resample.estimate(term, seed, n_bootstrap)
        rows.append([group, kind, *ends])
    print(f"{group}: {ends[0]:+.3f} [{ends[1]:+.3f}, {ends[2]:+.3f}]: {verdict(*ends[1:])}")
pd.DataFrame(rows, columns=["manipulations", "training", "auroc", "low", "high"]).round(3)

# %%
once = np.ones((1, len(scored["paired"].people)), int)
areas = {kind: s.areas(seen, once).mean(axis=0)[:, 0] for kind, s in scored.items()}
wins = (areas["paired"] > areas["unpaired"]).mean()
print(f"seen manipulations: pairs win on {wins:.0%} of {n_lists} pairs of lists")
print("spread over lists: " + ", ".join(f"{k} {np.std(v):.3f}" for k, v in areas.items()))

# %% [markdown]
# Intervals are over report people, with the lists averaged; the last lines tell how the lists themselves differ.
# Same encoder, same number of videos, same test: only who stands beside whom has changed.
#
# ## What a batch holds
#
# Pairs in the list are good; pairs in the *batch* are better still, because each gradient step is a small training list of its own, where $n$ is half a batch.
# `datasets.PairedBatchSampler` puts every fake beside its real and as many reals as fakes into each batch; `datasets.RandomBatchSampler` shuffles, as the official training does.

# %%
samplers = {
    "paired": datasets.PairedBatchSampler(fit, 32, seed),
    "random": datasets.RandomBatchSampler(len(fit), 32, seed),
}
held = pd.DataFrame(
    {name: pairing.batch_facts(fit, sampler, standard).mean() for name, sampler in samplers.items()}
).T
held.round(2)

# %% [markdown]
# `gap` is the squared length of the difference of the class means inside a batch, the direction of that step.
# The random batch holds as few reals as the data do, fewer fakes meet their own real in it, and its gap is mostly people.
# The price of a paired batch: it has fewer people in it, and a real is seen once for each of its fakes.
#
# ## Planted shortcuts
#
# Now the third case of the model: something that the *collection* gives to one class.
# `shortcut.plant` writes videos anew with one fact that separates the classes, and nothing else.

# %%
root, method = data / "nobody", "FS"
videos = manifest.read(root / "manifest.csv")
of = {role: sorted(set(videos.source_id[videos.role == role])) for role in ("fit", "report")}
few = videos.source_id.isin([*of["fit"][:n_people], *of["report"][:n_report]])
few = videos[few & videos.method.isin(["real", method])]
with ThreadPoolExecutor(2) as pool:
    planting = {
        kind: pool.submit(shortcut.plant, few, root, out / f"planted-{kind}", kind, seed=seed)
        for kind in shortcut.KINDS
    }
planted = {kind: job.result() for kind, job in planting.items()}
for kind, text in shortcut.KINDS.items():
    print(f"{kind:10} {len(planted[kind]):4} videos. {text}")

# %% [markdown]
# Can you see them? The same frame of one fake, as it was and with each shortcut ("identity" changes no pixel, only who is there).

# %%
truth, frames = root / "landmarks.npz", [3, 7, 11]
fake = few[(few.label == 1) & (few.role == "fit")].head(1)
shown = {"as it was": cut.true_crops(fake, root, truth)[1][0]}
for kind in ("codec", "sharpness", "background"):
    shown[kind] = cut.true_crops(fake, out / f"planted-{kind}", truth)[1][0]
plots.contact_sheet(
    list(shown.values()),
    list(shown),
    n_columns=4,
    title="Four crops of one fake; three of them give it away",
    profile=profile,
    max_side=256,
)

# %% [markdown]
# The detector is a linear probe on the frozen encoder, trained on the fit people.
# It is judged twice: by its **own test**, other people with the same shortcut, as a test split of the same collection would be; and by the **clean test**, the report people of the benchmark as it is.
# For "identity" the own test is other frames of the *same* videos: the split by frames that is still found in the wild.
# Note that all lists but "identity" are paired.


# %%
def encoded(table, folder, numbers=frames):
    rows, images = cut.true_crops(table, folder, truth, numbers)
    return rows, normalize(robustness.encode(encoder, images)["features"])


def tested(probe, rows, x):
    scores = metrics.video_scores(rows.assign(p_fake=baselines.score(probe, x)))
    return metrics.bootstrap(scores, n=n_bootstrap, seed=seed)


def numbers_of(key, found):
    return {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}


# %%
clean = encoded(videos[(videos.role == "report") & videos.method.isin(["real", method])], root)
probes, rows = {}, []
for kind in ["nothing", *shortcut.KINDS]:
    table, folder = (few, root) if kind == "nothing" else (planted[kind], out / f"planted-{kind}")
    learn, own = table[table.role == "fit"], table[table.role == "report"]
    known, x_known = encoded(learn, folder)
    again = (learn, folder, [1, 5, 9, 13]) if kind == "identity" else (own, folder)
    probes[kind] = baselines.fit(x_known, known.label)
    ends = numbers_of("a", tested(probes[kind], *encoded(*again)))
    rows.append({"name": kind} | ends | numbers_of("b", tested(probes[kind], *clean)))
fell = pd.DataFrame(rows)
shown = {"name": "planted", "a": "own test", "b": "clean test"}
fell.rename(columns=shown).round(3)

# %%
n_fit = few[few.role == "fit"].source_id.nunique()
plots.before_after(
    fell,
    title="What a planted shortcut promises, and what a clean test finds",
    facts=[f"{n_fit} fit people, {method} only", f"{clean[0].source_id.nunique()} clean people"],
    profile=profile,
    caption="Linear probe on the frozen encoder",
)

# %% [markdown]
# Is the fall real, or noise of few people? The two tests have different people, so we ask the clean test alone: what did the shortcut cost, against the probe that was trained without one, on the very same videos?

# %%
plain = metrics.video_scores(clean[0].assign(p_fake=baselines.score(probes["nothing"], clean[1])))
for row in fell[1:].itertuples():
    own = metrics.video_scores(clean[0].assign(p_fake=baselines.score(probes[row.name], clean[1])))
    cost = metrics.paired_difference(own, plain, n=n_bootstrap, seed=seed)
    word = "flattered" if row.a_low > row.b_high else "not clearly flattered"
    chance = "no better than chance" if row.b_low <= 0.5 else "above chance"
    print(f"{row.name:10} own test {word}; clean test {chance}; against no shortcut {cost.value:+.3f} "
          f"[{cost.low:+.3f}, {cost.high:+.3f}]")  # fmt: skip

# %% [markdown]
# A shortcut need not point away from the truth.
# Forgeries are a little soft themselves, so a probe that was taught "soft is fake" can do well on the clean test: right for a reason that one sharpening filter would take away.
# And not every shortcut is taken in full: this encoder hardly sees colour casts (its card says so), so the tint is harder for it than the codec.
# Pairs did not help against any of the first three, because the shortcut is part of the fake and not of the person.
#
# ## An audit that reads no face
#
# What pairs cannot cancel, an audit can find before anybody trains.
# `gendkit audit MANIFEST` asks three classifiers that never see a face: one reads the *file* (size, packets, coding settings), one the *background* outside every mask, one the colours of the first frame.
# Here are the two that matter for our plants.

# %%
rows = []
for kind, probe in [(k, "metadata") for k in shortcut.KINDS] + [("background", "background")]:
    found = audit.probe(planted[kind], out / f"planted-{kind}", probe, seed)
    rows.append(
        {"planted": kind, "probe": probe, "AUROC": str(found.estimate), "verdict": found.verdict}
    )
before = audit.probe(few, root, "metadata", seed)
rows.append(
    {
        "planted": "nothing",
        "probe": "metadata",
        "AUROC": str(before.estimate),
        "verdict": before.verdict,
    }
)
pd.DataFrame(rows)

# %% [markdown]
# The file gives the codec away at once. What was changed in the pixels shows in the file, too, only more faintly: softer frames need fewer bits.
# No fact of a file tells "identity": nothing was changed. For that one the table itself is enough, because a real without fakes and a fake without its real can be counted.

# %%
for kind, table in (("nothing", few), ("identity", planted["identity"])):
    findings = manifest.audit(table)
    print(f"{kind}: {len(findings)} findings")
    for row in findings.itertuples():
        print(f"  {row.severity}: {row.what}")

# %% [markdown]
# An audit that finds nothing proves nothing: it knows the facts that it was told to look at.
# One that finds something is cheap proof that a result must not be trusted yet.
#
# ## The paper's experiment
#
# The paper trains LayerNorms with a plain linear head and cross-entropy on 20 pairs of lists (setting read in the official code). What a third party quotes of it:

# %%
published = paper.table("pairs")
print(published.note.iloc[0])
published[["row", "column", "value", "unit", "tag"]]

# %% [markdown]
# Tag S means second-hand, not checked against the paper.
# The kit's own runs are the same in small: `nobody-paired-LN-seed*` and `nobody-unpaired-LN-seed*` train on the two lists from above, random sampler, scored on the report people and on `nobody-x`.
# Their scores are stored, so the table below costs nothing; `gendkit experiments run 'nobody-*paired-LN-*'` makes them.

# %%
trained = ("nobody-paired-LN", "nobody-unpaired-LN")
try:
    stored = results.table(list(trained), n_bootstrap=n_bootstrap, seed=seed)
    gains = results.difference(*trained, n_bootstrap=n_bootstrap, seed=seed)
    for row in gains.itertuples():
        ends = f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        print(f"{row.group:9} paired - unpaired {ends} points: {verdict(row.low, row.high)}")
    print(stored.round(3).to_string(index=False))
except (FileNotFoundError, ValueError) as error:
    print(f"not run: {error}")
said = published.set_index("row").value["paired - unpaired"]
print(f"published (second-hand): +{said} points, mean over benchmarks of real videos")

# %% [markdown]
# The interval counts people; the column sd counts seeds, which hardly differ because every run starts its head from the probe.
# But these are two fixed lists, while the paper has 20 of each: a difference here speaks of these lists, and not of the size of the effect elsewhere.
# The 20 lists with the probe above are the wider evidence, for a frozen encoder.
#
# ## What to remember
#
# * A linear detector's logit is forgery plus nuisance. A pair cancels the nuisance that the fake shares with its real, for every list length; an unpaired list cancels it only in the limit.
# * At equal numbers of videos, compare paired and unpaired on the same test people and print the difference with its interval; here 20 lists did that for a frozen encoder.
# * What the *collection* adds to one class survives pairs. A detector that took it shines on its own test; only a test of another making shows it.
# * File facts, background and the table itself find such shortcuts before training. Run `gendkit audit` first, and never take silence for proof.
#
# ## Limits and misuse
#
# The model is linear with independent numbers; a network may find nuisance that no mean shows, and may also ignore some.
# Our pairs are perfect: the fake was made from the very clip beside it. Real collections pair by source video at best, and compress fakes once more.
# The shortcuts are planted so that they can be taken away again; in the wild nobody hands you the clean set.
# Planting code is for measuring detectors and audits, not for making a competitor's data worse.
#
# ## Exercises
#
# 1. **Predict** (3 min). All training fakes were coded otherwise. Does a ten times longer paired list bring the clean AUROC back? Decide, then compute it in the model.
# 2. **Change** (5 min). How many unpaired videos does the model want for the AUROC that 36 pairs give?
# 3. **Build** (10 min). Make "anti-pairs": a batch with the fakes of a paired batch and as many reals of *other* people. What happens to its gap?

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
short, long = (pairing.expected_auroc(n, world, True, shift=2.0) for n in (36, 360))
honest = pairing.expected_auroc(36, world, True)
print(f"36 pairs {short:.3f}, 360 pairs {long:.3f}, 36 pairs without the shift {honest:.3f}")
assert long < honest and abs(long - short) < 0.05

# %% tags=["solution", "hide-cell"]
n = 36
while pairing.expected_auroc(n, world, False) < honest - 0.01:
    n *= 2
print(f"about {n} unpaired reals, and fakes, come within 0.01 of 36 pairs")
assert n > 36

# %% tags=["solution", "hide-cell"]
batches = list(samplers["paired"])
half = len(batches[0]) // 2
reals = np.flatnonzero(fit.label == 0)
strangers = []
for batch in batches:
    inside = set(fit.source_id.iloc[batch])
    others = [k for k in reals if fit.source_id.iloc[k] not in inside]
    strangers.append([*rng.choice(others, half, replace=False), *batch[half:]])
gap = {
    name: pairing.batch_facts(fit, made, standard).gap.mean()
    for name, made in (("pairs", batches), ("anti-pairs", strangers))
}
print(", ".join(f"{name} {value:.1f}" for name, value in gap.items()))
assert gap["anti-pairs"] > gap["pairs"]

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: paired against unpaired training, section on training data.
# * Grommelt and others, *Fake or JPEG?* (arXiv 2403.17608) [@grommelt2024fakejpeg]: a codec shortcut found in a published benchmark, and what removing it changed.
# * Dong and others, *Implicit Identity Leakage* (arXiv 2210.14457) [@dong2023identity]: detectors that learn who is shown.
# * Shiohara and Yamasaki, *Detecting Deepfakes with Self-Blended Images* (arXiv 2204.08376) [@shiohara2022sbi]: pairs by construction, without any forger.
# * Geirhos and others, *Shortcut Learning in Deep Neural Networks* (arXiv 2004.07780) [@geirhos2020shortcut]: the same story across the whole field.
#
# ## Next
#
# Chapter 10 looks at the sphere on which real and fake faces lie; chapter 11 asks what is left of a detector after JPEG, blur and noise.
