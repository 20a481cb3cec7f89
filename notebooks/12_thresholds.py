# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12. Thresholds, calibration, prevalence, fairness
#
# An AUROC ranks; a user decides. What happens between the two.
#
# | time | fast 40 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 07 |
# |---|---|---|---|---|---|
#
# **You will learn** to fix a threshold and measure what it does elsewhere, to read a reliability diagram and repair it with one number,
# to compute how often the word "fake" is right at a given share of fakes, to let a detector decline, and to compare groups of people honestly.
#
# **Why it matters.** Papers rank detectors by AUROC, which needs no threshold.
# Whoever uses one needs a threshold, and it has to be chosen before the videos come.
# On other people the same threshold can flag a far larger share of the real videos while the AUROC hardly moves.
# And where fakes are rare, even a good detector is mostly wrong when it says "fake".
# None of this is visible in a table of AUROCs.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
detector_dir: str = ""  # folder or id of a detector; empty means the embedded one
n_frames: int = 3  # frames per video, evenly spaced
n_bootstrap: int = 500  # resamples behind every interval
n_permutations: int = 1000  # deals of every slice test

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
from scipy.stats import false_discovery_control, norm

import gendkit
from gendkit import calibration, decisions, evaluate, extract, hub, metrics, plots, repro

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## Equal AUROC, different thresholds
#
# AUROC is the chance that a fake scores above a real *of the same set*.
# Add a constant to all logits of a set, and every fake still beats the same reals: the AUROC cannot change.
# A threshold that was fixed elsewhere does not know of the constant.
#
# Three simulated sets show it.
# Reals have normal logits, fakes the same shifted by $d$, and $A = \Phi(d / \sqrt{2})$ gives the $d$ for an AUROC of 0.98.
# The sets differ by an offset alone, as three cameras might.

# %%
labels = np.repeat([0, 1], 2000)
d = np.sqrt(2) * norm.ppf(0.98)
simulated = {}
for name, offset in {"set A": 0.0, "set B": 2.5, "set C": 5.0}.items():
    logits = rng.normal(size=len(labels)) + d * labels - d / 2 + offset
    simulated[name] = (labels, 1 / (1 + np.exp(-0.6 * logits)))
_, threshold_a = metrics.eer(*simulated["set A"])
rows = [
    {
        "set": name,
        "AUROC": metrics.auroc(*pair),
        "balanced accuracy, threshold of A": metrics.balanced_accuracy(*pair, threshold_a),
        "with its own threshold (oracle)": metrics.oracle_accuracies(*pair)[
            "oracle_balanced_accuracy"
        ],
    }
    for name, pair in simulated.items()
]
pd.DataFrame(rows).round(3)

# %%
plots.score_strips(
    simulated,
    threshold=threshold_a,
    title="One AUROC, three sets: the threshold of the first is useless on the third",
    profile=profile,
    caption="simulation",
)

# %% [markdown]
# The last column is what a paper prints when it takes the threshold from the test set.
# It hides exactly the failure that a user will meet.
#
# The same constant hurts in a second place: put the three sets into one pool, and reals of C outscore fakes of A.

# %%
pooled = tuple(np.concatenate(parts) for parts in zip(*simulated.values(), strict=True))
print(f"mean of the three AUROCs {np.mean([row['AUROC'] for row in rows]):.3f}")
print(f"AUROC of the pool        {metrics.auroc(*pooled):.3f}")

# %% [markdown]
# ## The threshold, carried over
#
# Now the real thing: the embedded detector, its threshold fixed on the *select* people, carried to people it never met.
# *Seen* are the four manipulations of its training, *unseen* seven others, and Nobody-x shows other people, lights and cameras, coded harder.

# %%
detector = hub.from_pretrained(detector_dir or str(data / "weights" / "detector"))
parts = []
for name in ("nobody", "nobody-x"):
    done = extract.run(data / name / "manifest.csv", n_frames=n_frames, workers=2)
    held = done.crops[done.crops.role != "fit"]
    parts.append(evaluate.score(detector, held, done.folder))
scores = pd.concat(parts, ignore_index=True)
evaluate.write_scores(scores, out / "scores-12.csv", profile=profile, seed=seed, n_frames=n_frames)
videos = metrics.video_scores(scores)
videos.groupby(["dataset", "role", "label"]).size().unstack()

# %%
trained_on = ["real", *videos[(videos.role == "select") & (videos.label == 1)].method.unique()]
seen = videos.method.isin(trained_on)
report, near = videos.role == "report", videos.dataset == "nobody"
sets = {
    "select": videos[videos.role == "select"],
    "report, seen": videos[report & near & seen],
    "report, unseen": videos[report & near & (~seen | (videos.label == 0))],
    "Nobody-x": videos[report & ~near],
}
chosen = evaluate.select_threshold(scores)
threshold = chosen["value"]
print(f"threshold {threshold:.3f}: {chosen['rule']}")
table = decisions.transfer(sets, threshold, n_bootstrap, seed)
shown = {"balanced_accuracy": "balanced accuracy"}
shown["oracle_balanced_accuracy"] = "with its own threshold (oracle)"
table[["set", "auroc", "fpr", "tpr", *shown]].rename(columns=shown).round(3)

# %%
plots.error_rates(
    table,
    measures=["fpr", "tpr", "auroc"],
    title="One threshold, four sets: the rates move more than the AUROC",
    profile=profile,
    caption="threshold fixed on select",
)

# %%
for measure in ("fpr", "tpr", "auroc"):
    print(f"{measure:6} from {table[measure].min():.2f} to {table[measure].max():.2f}")
lost = table.oracle_balanced_accuracy - table.balanced_accuracy
print("balanced accuracy lost against the set's own threshold:")
print(lost.set_axis(table.set).round(3).to_string())

# %% [markdown]
# The AUROC of a set says little about how many of its reals are flagged, because it does not know where the scores lie.
# The row *select* is optimistic by construction: the threshold was chosen there.
# The intervals are wide: few people stand behind each rate, and a part of the movement is the luck of who was filmed.
# Compare the lost balanced accuracy with the simulation's.
# How much a shift costs depends on its size against the spread of the scores, and a weak detector whose scores overlap anyway has little to lose.
#
# How well could the threshold be known at all?
# It rests on the reals of *select*, and each of them is one person.

# %%
k, n = chosen["false_alarms"], chosen["n_real"]
low, high = calibration.interval(k, n)
print(f"on select {k} of {n} reals are flagged: {k / n:.0%}, 95 % interval {low:.0%} to {high:.0%}")
for budget in (0.1, 0.05, 0.01):
    needed = calibration.needed(budget)
    print(
        f"to show a false-positive rate of at most {budget:.0%} takes {needed} reals without one alarm"
    )

# %% [markdown]
# So a threshold "for one per cent false positives" that was fixed on a hundred reals is a wish.
# A budget that the data cannot show is not a budget.
#
# The found share of fakes differs by manipulation far more than by set.

# %%
alone = videos[report & near]
reals = alone[alone.label == 0]
by_method = {m: pd.concat([reals, f]) for m, f in alone[alone.label == 1].groupby("method")}
per_method = decisions.transfer(by_method, threshold, n_bootstrap, seed).sort_values("tpr")
plots.error_rates(
    per_method,
    measures=["tpr", "auroc"],
    title="What is found depends on the manipulation",
    profile=profile,
    caption="nobody, report; same reals in each row",
)

# %% [markdown]
# ## Is 0.9 nine in ten?
#
# A score is **calibrated** if of all videos with a score of 0.9 nine in ten are fake.
# Cross-entropy asks for that on the training set; small training sets and few seconds of training do not deliver it elsewhere.
# Three numbers measure the gap:
# the expected calibration error (ECE: mean distance of score and share over bins), the Brier score (mean squared distance of score and label), and the log loss.
#
# **Temperature scaling** divides every logit by one number $T$, found by the log loss on *select*: $p_T = \sigma(z / T)$.
# Division keeps the order, so the AUROC and every decision stay; only the words change.
# With labels $y$ the slope of the log loss in $1/T$ is $\overline{(p_T - y)\,z}$, which grows with $1/T$: there is one best $T$.

# %%
select = sets["select"]
temperature = calibration.fit_temperature(select.label, select.p_fake)
boot = metrics.bootstrap(select, calibration.fit_temperature, n=n_bootstrap, seed=seed)
print(f"temperature {temperature:.2f}, 95 % interval {boot.low:.2f} to {boot.high:.2f}")
versions, rows = {}, []
for name in ("select", "report, seen", "Nobody-x"):
    y, p = sets[name].label, sets[name].p_fake
    for what, q in {"raw": p, "scaled": calibration.rescale(p, temperature)}.items():
        versions[f"{name}, {what}"] = (y, q)
        rows.append(
            {"set": name, "scores": what, "share of fakes": y.mean(), "mean score": q.mean()}
            | {"ECE": metrics.ece(y, q), "Brier": metrics.brier(y, q)}
            | {"log loss": calibration.log_loss(y, q), "AUROC": metrics.auroc(y, q)}
        )
measured = pd.DataFrame(rows)
measured.round(3)

# %%
plots.reliability(
    {name: versions[name] for name in ("report, seen, raw", "report, seen, scaled")},
    n_bins=8,
    title="A temperature stretches or shrinks around 0.5; it shifts nothing",
    profile=profile,
    caption="nobody, report, seen manipulations",
)

# %%
for name in ("report, seen", "Nobody-x"):
    one = measured[measured.set == name].set_index("scores")
    for measure in ("log loss", "Brier", "ECE"):
        before, after = one.loc["raw", measure], one.loc["scaled", measure]
        verdict = "better" if after < before else "not better"
        print(f"{name:13} {measure:8} {before:.3f} raw, {after:.3f} scaled: {verdict}")

# %% [markdown]
# The measures need not agree.
# The log loss punishes the confident mistakes that a temperature above 1 softens.
# The ECE sees the middle as well: a temperature has no offset, so where the mean score misses the share of fakes (two columns of the table), scaling leaves that error or adds to it.
# Exercise 3 gives it an offset.
# The ECE also depends on the bins and is biased upwards on small sets; compare it between equal sets and bins only.
#
# ## Prevalence: how often is "fake" right?
#
# A detector was tested on a set where most videos are fake.
# In the world most videos are real.
# With the share of fakes $\pi$ (prevalence), Bayes' rule gives the share of right calls among all calls "fake":
#
# $$ \mathrm{PPV} = \frac{\mathrm{TPR}\,\pi}{\mathrm{TPR}\,\pi + \mathrm{FPR}\,(1 - \pi)} . $$
#
# The error rates stay, the meaning of the word changes.

# %%
shares = [0.5, 0.1, 0.01, 0.001]
rows = {
    f"this detector, {r.set}": decisions.ppv(r.tpr, r.fpr, shares)
    for r in table.itertuples()
    if r.set != "select"
}
rows["TPR 95 %, FPR 5 %"] = decisions.ppv(0.95, 0.05, shares)
rows["TPR 95 %, FPR 0.1 %"] = decisions.ppv(0.95, 0.001, shares)
right = pd.DataFrame(rows, index=[f"1 fake in {1 / s:.0f}" for s in shares]).T
right.map("{:.1%}".format)

# %% [markdown]
# At one fake in a hundred even a detector with five per cent false alarms is wrong most of the times that it says "fake".
# Nothing about the detector is broken; reals are simply many.
# Only a very low false-positive rate helps, and the section above says how many reals it takes to show one.
#
# Try it: the slider moves the threshold, the buttons change the share of fakes.

# %%
plots.threshold_explorer(
    {
        name: (sets[name].label, sets[name].p_fake)
        for name in ("report, seen", "report, unseen", "Nobody-x")
    },
    threshold,
    title="A strict threshold buys trust and pays with missed fakes",
    profile=profile,
    caption="starts at the threshold of select",
)

# %% [markdown]
# A calibrated score carries the prevalence of the set it was calibrated on.
# Used elsewhere, its logit moves by the difference of the logits of both shares; `decisions.restate` does that.
#
# A threshold then follows from **costs**, not from a test set.
# Calling a real fake costs $a$, missing a fake costs $m$.
# Saying "fake" is cheaper where $(1 - p)\,a < p\,m$, that is where $p > a / (a + m)$.

# %%
share = select.label.mean()
honest = decisions.restate(calibration.rescale(sets["Nobody-x"].p_fake, temperature), share, 0.01)
y = sets["Nobody-x"].label.to_numpy()
for alarm, miss in ((1, 1), (1, 10), (1, 100)):
    at = alarm / (alarm + miss)
    fpr, tpr = np.mean(honest[y == 0] >= at), np.mean(honest[y == 1] >= at)
    paid = decisions.cost(tpr, fpr, 0.01, alarm, miss)
    blind = min(decisions.cost(q, q, 0.01, alarm, miss) for q in (0, 1))
    print(
        f"a miss costs {miss:>3} alarms: threshold {at:.2f}, flags {fpr:.0%} of reals, {tpr:.0%} of fakes; "
        f"cost {paid:.3f}, without any detector {blind:.3f}"
    )

# %% [markdown]
# "Without any detector" is the cheaper of two blind rules: flag nothing, or flag all.
# At one fake in a hundred and equal costs, a weak detector can hardly beat silence.
# It earns its keep only where a miss is much dearer than an alarm, and that is worth knowing before it is put to use.
#
# ## The right to decline
#
# A detector need not answer every time.
# Let it decline the videos whose scores lie nearest to the threshold, and plot the share of wrong answers against the share of answered videos.
# If distance to the threshold meant nothing, the curve would be flat.

# %%
curves = {
    name: decisions.risk_coverage(sets[name].label, sets[name].p_fake, threshold)
    for name in ("report, seen", "report, unseen", "Nobody-x")
}
for name, curve in curves.items():
    half = curve[curve.coverage >= 0.5].iloc[-1]
    print(f"{name:15} wrong: {curve.risk.iloc[0]:.1%} of all, {half.risk:.1%} of the surer half")
plots.risk_coverage(
    curves,
    title="Declining helps as far as the detector knows what it does not know",
    profile=profile,
    facts=["reals and fakes weighted equally", f"{len(videos[report])} report videos"],
    caption="threshold of select",
)

# %% [markdown]
# The left end of each curve rests on a handful of videos.
# A curve that rises to the left would say that the surest answers are the worst: a detector that is confidently wrong on that set.
#
# ## Slices: who is flagged?
#
# One threshold for all can still flag one group of people more than another.
# A real benchmark guesses age and skin tone from pictures; here they are known, because they were set.
# Report people of both sets are put together, each attribute is cut into groups of at least eight people, and all use the threshold of *select*.

# %%
people = pd.concat(pd.read_csv(data / name / "identities.csv") for name in ("nobody", "nobody-x"))
people = people[people.role == "report"].set_index("identity_id")
attributes = pd.DataFrame(
    {
        "sex": people.gender,
        "age": np.where(people.age_band < "40", "under 40", "40 and over"),
        "skin tone": pd.cut(
            people.ita_deg, [-91, 10, 41, 91], labels=["dark", "medium", "light"]
        ).astype(str),
        "beard": np.where(people.beard == "none", "none", "stubble or beard"),
        "view": np.where(people.yaw_max_deg.abs() < 8, "frontal", "turned"),
        "footage": people.dataset,
    }
)
attributes.apply(lambda column: column.value_counts().to_dict()).to_frame("people")

# %%
both = videos[report]
sliced = pd.concat(
    decisions.slices(both, attributes[name].to_dict(), threshold, n_bootstrap, seed).assign(
        attribute=name
    )
    for name in attributes
)
sliced["slice"] = sliced.attribute + ": " + sliced.slice
plots.error_rates(
    sliced,
    by="slice",
    measures=["fpr", "tpr", "auroc"],
    title="Slices differ, and their intervals are wide",
    profile=profile,
    caption="report people of both sets; threshold of select",
)

# %% [markdown]
# With three measures and several attributes, some pair of bars will stand apart by chance alone.
# The honest question is: if the groups were dealt out at random, how often would they differ as much?
# People are dealt, so that a person's videos stay together, and all $p$-values are adjusted together (Benjamini and Hochberg).

# %%
tests = []
for name in attributes:
    groups = attributes[name].to_dict()
    for measure in decisions.MEASURES:
        spread, p = decisions.slice_test(both, groups, threshold, measure, n_permutations, seed)
        tests.append({"attribute": name, "measure": measure, "spread": spread, "p": p})
tests = pd.DataFrame(tests)
tests["adjusted p"] = false_discovery_control(tests.p)
print(f"{len(tests)} tests; {0.05 * len(tests):.1f} with p < 0.05 are expected by chance alone")
print(
    f"{(tests.p < 0.05).sum()} have p < 0.05, {(tests['adjusted p'] < 0.05).sum()} after the adjustment"
)
tests.sort_values("p").round(3)

# %% [markdown]
# What can a rendered population say?
# It can show that a detector leans on something that goes with an attribute, because everything else about these people is known.
# It cannot say how a detector treats groups of real people: skin here is a shader, age a slider, and the detector was tuned on such heads.
# A difference found here is a reason to look in real data; no difference found here is no clearance.
# Summaries of the paper name more errors on darker skin and on glasses (second-hand; no figures are public here).
# This chapter can neither confirm nor exclude that, and the last cell says why: count the people it would take.

# %%
gap = sliced[sliced.attribute == "skin tone"]
print("false-positive rates by skin tone, with intervals:")
for row in gap.itertuples():
    print(
        f"  {row.slice:20} {row.fpr:.2f} [{row.fpr_low:.2f}, {row.fpr_high:.2f}] of {row.n_real} people"
    )
base = decisions.transfer({"all": both}, threshold, n_bootstrap, seed).fpr.iloc[0]
for step in (0.2, 0.1, 0.05):
    spread = base * (1 - base) + min(base + step, 1) * (1 - min(base + step, 1))
    needed = (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * spread / step**2
    print(
        f"a gap of {step:.0%} shows in 4 of 5 studies with {needed:.0f} real people in each group"
    )

# %% [markdown]
# ## What to remember
#
# * AUROC ignores where the scores lie. Three sets of equal AUROC can need three thresholds, so report what one fixed threshold does on each.
# * A threshold from the test set is an oracle's. Fix it on *select*, and say how many reals stand behind its false-positive rate.
# * A temperature softens confident mistakes and changes no decision. It has no offset: what is shifted stays shifted.
# * "Fake" means what the prevalence lets it mean: at one fake in a hundred and five per cent false alarms most alarms are false.
# * Slices need intervals, a count of the tests, and enough people. A null result on a few dozen people clears nobody.
#
# ## Limits and misuse
#
# The detector is small, its threshold rests on sixteen real people, and all of them are renders: the numbers show mechanisms, not the quality of any detector.
# A calibrated score is a statement about a population, never the probability that *this* video is fake.
# Do not act against a person because of a score; at low prevalence that is wrong most of the time.
# Do not use slice numbers of this chapter as evidence about groups of people.
#
# ## Exercises
#
# 1. **Predict** (3 min). TPR is 0.9 and FPR 0.02. Below which share of fakes is a call "fake" wrong more often than right?
# 2. **Change** (5 min). Fix the threshold for at most 10 % false positives on *select*. What is the false-positive rate on Nobody-x, with its interval?
# 3. **Build** (15 min). Give the temperature an offset too (Platt scaling: logistic regression on the logit). Does it calibrate Nobody-x better than the temperature alone?

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# PPV = 1/2 where TPR * share = FPR * (1 - share)
answer = 0.02 / (0.9 + 0.02)
assert abs(decisions.ppv(0.9, 0.02, answer) - 0.5) < 1e-12
print(f"below {answer:.1%}, about one in {1 / answer:.0f}")

# %% tags=["solution", "hide-cell"]
strict = evaluate.select_threshold(scores, fpr=0.1)
row = decisions.transfer({"Nobody-x": sets["Nobody-x"]}, strict["value"], n_bootstrap, seed).iloc[0]
print(
    f"select {strict['fpr']:.1%} (by rule), Nobody-x {row.fpr:.1%} [{row.fpr_low:.1%}, {row.fpr_high:.1%}]"
)
assert strict["fpr"] <= 0.1 and strict["value"] >= threshold

# %% tags=["solution", "hide-cell"]
from sklearn.linear_model import LogisticRegression

platt = LogisticRegression(C=1e6).fit(calibration.logit(select[["p_fake"]]), select.label)
far = sets["Nobody-x"]
by_platt = platt.predict_proba(calibration.logit(far[["p_fake"]]))[:, 1]
by_temperature = calibration.rescale(far.p_fake, temperature)
print(
    f"log loss: Platt {calibration.log_loss(far.label, by_platt):.3f}, temperature {calibration.log_loss(far.label, by_temperature):.3f}"
)
own = platt.predict_proba(calibration.logit(select[["p_fake"]]))[:, 1]
assert (
    calibration.log_loss(select.label, own)
    <= calibration.log_loss(select.label, select.p_fake, temperature) + 1e-6
)
print("on select two numbers always fit at least as well as one; elsewhere they need not")

# %% [markdown]
# ## Further reading
#
# * Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks* (arXiv 1706.04599) [@guo2017calibration]: over-confidence of deep networks, and temperature scaling.
# * Saerens, Latinne, Decaestecker, *Adjusting the Outputs of a Classifier to New a Priori Probabilities* (Neural Computation 14, 2002) [@saerens2002adjusting]: how a score moves with the prevalence.
# * Elkan, *The Foundations of Cost-Sensitive Learning* (IJCAI 2001) [@elkan2001costs]: the threshold that follows from costs.
# * El-Yaniv, Wiener, *On the Foundations of Noise-free Selective Classification* (JMLR 11, 2010) [@elyaniv2010selective]: risk against coverage.
# * Benjamini, Hochberg, *Controlling the False Discovery Rate* (Journal of the Royal Statistical Society B 57, 1995) [@benjamini1995fdr]: what to do with many tests.
#
# ## Next
#
# Chapter 13 brings your own data through the same steps.
