# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. The hypersphere
#
# Alignment and uniformity: what they are, what their best possible values are, and what they do to real features.
#
# | time | fast 30 s (CPU, 2 cores) | level | advanced | needs | 04 |
# |---|---|---|---|---|---|
#
# **You will learn** to derive what normalising does to a gradient, to compute alignment and uniformity by hand, to know their exact optima,
# to predict when two classes collapse, and to explain how a quarter of a per cent of the parameters can turn every feature.
#
# **Why it matters.** GenD divides each feature by its length, so that only its direction can say real or fake, and adds two losses that shape the directions.
# Such losses are easy to add and hard to read: is a uniformity of -3.2 good?
# A number means something once its best and worst values are known.
# On a sphere they are: this chapter derives them, watches points find them, and then holds real features against them.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
detector: str = "detector"  # folder of a tuned adapter, inside data/weights
backbone: str = "embedded"  # the encoder which that adapter belongs to
n_frames: int = 3  # frames per video, evenly spaced
n_used: int = 1  # of these, how many are encoded here
n_points: int = 60  # free points of the toy
n_moved: int = 32  # crops on which single LayerNorms are tried

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
import torch

import gendkit
from gendkit import (
    adapters,
    backbones,
    datasets,
    evaluate,
    extract,
    flow,
    losses,
    metrics,
    model,
    movement,
    plots,
    repro,
    spheres,
)

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## Dividing by the length
#
# The embedding is $z = f / \lVert f \rVert$. How does a loss on $z$ pull at $f$?
# Differentiate: with $r = \lVert f \rVert$ and $\partial r / \partial f = z$,
#
# $$ \frac{\partial z}{\partial f} = \frac{1}{r}\left(I - z z^{\top}\right)
# \qquad\Rightarrow\qquad
# \frac{\partial L}{\partial f} = \frac{1}{r}\left(I - z z^{\top}\right)\frac{\partial L}{\partial z} . $$
#
# Three consequences follow.
#
# 1. The gradient is **tangential**: $f \cdot \partial L/\partial f = 0$. Making a feature longer neither helps nor hurts.
# 2. It shrinks with the length: a feature ten times as long gets a tenth of the gradient, and turns by a hundredth of the angle in a plain gradient step.
# 3. By Pythagoras a plain step can only make $f$ **longer**: $\lVert f - \eta g\rVert^2 = r^2 + \eta^2 \lVert g \rVert^2$. Training without any brake slowly freezes itself.
#
# Numbers agree.

# %%
generator = torch.Generator().manual_seed(seed)
f = torch.randn(6, 16, generator=generator, dtype=torch.float64)
target = torch.randn(6, 16, generator=generator, dtype=torch.float64)


def slope(features: torch.Tensor) -> torch.Tensor:
    """Gradient of a loss that sees directions only."""
    features = features.clone().requires_grad_(True)
    z = torch.nn.functional.normalize(features, dim=1)
    return torch.autograd.grad((z * target).sin().sum(), features)[0]


g, g_long = slope(f), slope(10 * f)
print(f"largest f . gradient:                 {(f * g).sum(1).abs().max():.1e}")
print(f"gradient at f over gradient at 10 f:  {(g.norm(dim=1) / g_long.norm(dim=1)).mean():.4f}")
longer = (f - 0.5 * g).norm(dim=1) ** 2 - f.norm(dim=1) ** 2 - 0.25 * g.norm(dim=1) ** 2
print(f"Pythagoras holds to                   {longer.abs().max():.1e}")
assert (f * g).sum(1).abs().max() < 1e-12

# %% [markdown]
# AdamW divides a gradient by its own running size, which undoes the second consequence, and the LayerNorm at the end of an encoder is a brake for the third:
# with equal gains its output has length $\sqrt{D}$ times the gain, whatever came in.
#
# ## Two losses and their exact values
#
# Over the pairs of a batch, **alignment** is the mean squared distance of two embeddings of one class, and **uniformity** the log of the mean Gaussian potential of all pairs:
#
# $$ A = \operatorname*{mean}_{y_i = y_j} \lVert z_i - z_j \rVert^2, \qquad
# U = \log \operatorname*{mean}_{i<j} e^{-t \lVert z_i - z_j \rVert^2}, \qquad t = 2 . $$
#
# Both are lower when better. By hand, in the slowest way, and by the library:

# %%
points, labels = flow.random_points(12, 5, seed), np.arange(12) % 2
pairs = [(i, j) for i in range(12) for j in range(i)]
squared = {(i, j): float(((points[i] - points[j]) ** 2).sum()) for i, j in pairs}
by_hand = {
    "alignment": np.mean([squared[p] for p in pairs if labels[p[0]] == labels[p[1]]]),
    "uniformity": np.log(np.mean([np.exp(-2 * squared[p]) for p in pairs])),
}
z, y = torch.tensor(points), torch.tensor(labels)
library = {"alignment": losses.AlignmentLoss()(z, y), "uniformity": losses.UniformityLoss()(z, y)}
for name, value in by_hand.items():
    print(f"{name:11} {value:.6f} by hand, {float(library[name]):.6f} by the library")
    assert abs(value - float(library[name])) < 1e-5

# %% [markdown]
# What is the best that $U$ can be? Four cases, from one place to a whole sphere.
#
# **One place.** All distances are 0, so $U = 0$: the worst value.
#
# **Two classes, each one point, opposite to each other.** A pair is at distance 0 with probability $p$, else at squared distance 4, so $U = \log\left(p + (1-p)e^{-4t}\right)$.
# For a batch of 32 + 32, $p = 31/63$ and $U = -0.709$; for very many points $U \to \log \tfrac12 = -0.693$.
# Two collapsed classes look spread to a human eye and hardly at all to $U$.
#
# **Few points in many dimensions.** The squared distances of all pairs sum to $n^2 - \lVert \sum_i z_i \rVert^2 \le n^2$, so their mean is at most $2n/(n-1)$.
# The exponential is convex, so the mean of $e^{-t d^2}$ is at least $e^{-t \cdot \text{mean } d^2}$. Together,
#
# $$ U \ge -\frac{2 t n}{n - 1}, $$
#
# with equality if and only if all distances are equal and the points sum to zero: a regular **simplex**, which fits if $n \le D + 1$.
#
# **Infinitely many points, evenly spread.** Since $\lVert x - y \rVert^2 = 2 - 2\cos\theta$, we need the mean of $e^{\kappa\cos\theta}$ over the sphere at $\kappa = 2t$.
# Expand the exponential and use $\mathbb{E}\cos^{2k}\theta = \frac{(1/2)_k}{(D/2)_k}$: the sum is a hypergeometric function,
#
# $$ U_\infty = -2t + \log {}_0F_1\!\left(; \tfrac D2; t^2\right) \approx -2t + \frac{2t^2}{D} . $$
#
# In many dimensions two random directions are nearly at right angles, all squared distances are close to 2, and $U$ tends to $-2t = -4$.

# %%
dims = np.unique(np.geomspace(2, 1024, 24).astype(int))
limits = pd.concat(
    pd.DataFrame({"D": dims, "U": [spheres.uniform_uniformity(int(d), t) for d in dims]}).assign(
        t=f"t = {t:g}"
    )
    for t in (0.5, 1.0, 2.0)
)
plots.band_lines(
    limits,
    "D",
    "U",
    "t",
    "Dimensions of the sphere's space (logarithmic axis)",
    "Uniformity",
    title="Perfectly even: the value depends on D, and tends to -2t",
    facts=["closed form"],
    profile=profile,
    log_x=True,
)

# %% [markdown]
# On the circle the best places for $n$ points are the corners of the regular polygon.
# Half of the proof is short.
# The potential has a Fourier series $\sum_m a_m \cos m\theta$ with all $a_m > 0$ (they are $e^{-2t}$ times Bessel functions), so over all ordered pairs, a point with itself included,
#
# $$ \sum_{i,j} e^{-t\lVert z_i - z_j\rVert^2} = \sum_m a_m \Big| \sum_j e^{\mathrm{i} m\theta_j} \Big|^2 \ge n^2 a_0 , $$
#
# and the polygon makes every inner sum vanish except at multiples of $n$, where $a_m$ is tiny.
# So it misses the bound by almost nothing. That nothing else fits between is a theorem of Cohn and Kumar, which covers the simplex, the octahedron and the icosahedron as well.
# Free points that slide down $U$ find these optima.

# %%
rows = []
for n, dim in [(3, 2), (5, 2), (9, 2), (4, 3), (6, 3), (12, 3)]:
    start, alone = flow.random_points(n, dim, seed=1), np.zeros(n, int)
    found = flow.flow(start, alone, uniformity=1.0, steps=2000, rate=0.02).history.uniformity
    known = spheres.polygon_uniformity if dim == 2 else spheres.platonic_uniformity
    exact = spheres.simplex_uniformity(n) if n <= dim + 1 else known(n)
    rows.append((n, dim, found.iloc[-1], exact, spheres.uniformity_bound(n, dim)))
optima = pd.DataFrame(rows, columns=["points", "D", "found", "exact", "lower bound"])
assert np.all(np.abs(optima.found - optima.exact) < 1e-4)
assert np.all(optima.found >= optima["lower bound"] - 1e-9)
optima.round(4)

# %% [markdown]
# A batch of 32 in the embedded encoder's space fits a simplex, so there even values below -4 are possible:

# %%
dim = backbones.config_of(backbone)["spec"]["feature_dim"]
print(f"D = {dim}: evenly spread, very many points {spheres.uniform_uniformity(dim):.3f}")
print(f"a batch of 32, simplex {spheres.simplex_uniformity(32):.3f}")
print(f"two opposite classes of 16, each one point {spheres.two_point_uniformity(16, 16):.3f}")

# %% [markdown]
# ## Points that may move
#
# Now two classes. The points are free: there is no network between the loss and the embedding, so what they do is what the objective *wants*.
# On the sphere a pair pulls $z_i$ along $z_j$ and nothing else, because $\lVert z_i - z_j\rVert^2 = 2 - 2 z_i \cdot z_j$; each step keeps the tangential part and divides by the length.
# First GenD's objective: cross-entropy with a linear head, 0.1 alignment, 0.5 uniformity.
# Press *Play*, then turn the sphere.

# %%
labels = np.repeat([0, 1], n_points // 2)
start = flow.random_points(n_points, 3, seed)
runs = {
    "GenD": flow.flow(start, labels, 1.0, 0.1, 0.5, seed=seed),
    "cross-entropy alone": flow.flow(start, labels, 1.0, seed=seed),
    "alignment alone": flow.flow(start, labels, 0.0, 1.0, seed=seed),
    "alignment + uniformity 1 : 0.25": flow.flow(start, labels, 0.0, 1.0, 0.25, seed=seed),
}


def film(name: str, title: str):
    """Animate one run with its readings."""
    run, shown = runs[name], {"alignment": "A", "uniformity": "U", "resultant_0": "R̄ real"}
    readings = {short: run.history[column] for column, short in shown.items()}
    return plots.sphere_motion(
        run.frames, labels, run.steps, readings, title=title, profile=profile, caption=name
    )


film("GenD", "Two classes share the sphere: apart, and each spread out")

# %%
film("alignment alone", "Alignment alone: each class becomes a point, anywhere")

# %%
film("alignment + uniformity 1 : 0.25", "Alignment strong, uniformity weak: two points, opposite")

# %%
ends = pd.DataFrame({name: run.history.iloc[-1] for name, run in runs.items()}).drop("step")
ends.round(3)

# %% [markdown]
# Alignment alone is satisfied by two points in any two places, even the same one: it has no reason to keep classes apart.
# A little uniformity drives the two points to opposite poles and still leaves them points.
# Cross-entropy alone ends with two points as well: once the classes are apart, it goes on pulling each of them together ("neural collapse").
# GenD's weights do not collapse the classes at all.
#
# Why? Start from two opposite points and spread one class of $m$ points by a small tangential variance $v$.
# Its pairs gain $m^2 v$ in squared distance; distances to the other class shrink by $v$ each. So alignment grows, and uniformity falls to first order:
#
# $$ \Delta A = \frac{m^2 v}{\text{same pairs}}, \qquad
# \Delta U = -\,t\,\frac{m^2 v - e^{-4t}\,m(n-m)\,v}{\text{all pairs}\cdot\left(p + (1-p)e^{-4t}\right)} . $$
#
# Collapse is stable while $a\,\Delta A + u\,\Delta U > 0$. With $e^{-4t}$ small, everything cancels but
#
# $$ \frac{a}{u} > t . $$
#
# A prediction without a free parameter; test it, for several $t$, with the full formula as the unit of the axis.

# %%
poles = np.repeat([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], n_points // 2, axis=0)
half, rows = n_points // 2, []
for t in (0.5, 1.0, 2.0):
    critical = spheres.critical_ratio(half, half, t)
    for relative in (0.2, 0.4, 0.6, 0.8, 0.95, 1.05, 1.2, 1.5):
        weights = {"alignment": relative * critical, "uniformity": 1.0, "t": t}
        last = flow.flow(poles, labels, **weights, steps=500, rate=0.3 / t).history.iloc[-1]
        rows.append((f"t = {t:g}", relative, last.alignment))
phase = pd.DataFrame(rows, columns=["t", "relative", "alignment"])

# %%
plots.band_lines(
    phase,
    "relative",
    "alignment",
    "t",
    "Weight of alignment over that of uniformity, in units of the critical ratio",
    "Alignment at the end",
    title="Collapse is a phase transition, and theory says where",
    facts=[f"{n_points} free points", "500 steps", "alignment 0: each class is one point"],
    profile=profile,
    marks={"theory": 1.0},
)

# %%
assert phase[phase.relative > 1].alignment.max() < 1e-3 < phase[phase.relative < 1].alignment.min()
critical = spheres.critical_ratio(half, half)
print(
    f"critical ratio at t = 2: {critical:.4f}; the paper's 0.1 / 0.5 = {0.1 / 0.5:.2f}, far below it"
)

# %% [markdown]
# So in GenD uniformity wins inside the classes, and cross-entropy has to hold them apart.
# That is meant: a class that is one point has forgotten everything else about a face, and what is forgotten cannot help on a new manipulation.
# It also means that alignment is not expected to be small after such training.
#
# **The role of $t$.** For small $t$, $U \approx -t \cdot \text{mean } d^2$, and the mean is largest whenever the points sum to zero: two opposite points are as good as a full sphere.
# For large $t$ only the nearest neighbours count, and $U$ becomes a packing problem.

# %%
even = flow.flow(start, labels, uniformity=1.0, seed=seed).frames[-1]
gram = even @ even.T
rows = []
for t in (0.05, 0.5, 1.0, 2.0, 5.0):
    spread = movement.sphere_numbers(gram, labels, np.ones((1, n_points)), t)[0, 4]
    rows.append((t, spheres.two_point_uniformity(half, half, t=t), spread))
roles = pd.DataFrame(rows, columns=["t", "two opposite points", "spread evenly"])
roles["gained per t"] = (roles["two opposite points"] - roles["spread evenly"]) / roles.t
roles.round(3)

# %% [markdown]
# ## The bell of the sphere: von Mises-Fisher
#
# What is the simplest distribution around a direction? Ask for the flattest one (largest entropy) with a given mean vector, and the answer is
#
# $$ p(z) = C_D(\kappa)\, e^{\kappa\, \mu \cdot z}, \qquad C_D(\kappa) = \frac{\kappa^{D/2 - 1}}{(2\pi)^{D/2} I_{D/2-1}(\kappa)} . $$
#
# $\kappa = 0$ is the uniform distribution, large $\kappa$ a small cap.
# The length of its mean is the derivative of the log of the normaliser, $A_D(\kappa) = I_{D/2}(\kappa) / I_{D/2-1}(\kappa)$,
# so the maximum-likelihood fit is: $\mu$ is the direction of the sample's mean, and $\kappa$ solves $A_D(\kappa) = \bar R$.
# A good first guess is $\bar R (D - \bar R^2) / (1 - \bar R^2)$ (Banerjee and others, 2005).

# %%
from scipy.stats import vonmises_fisher

rows = []
for dim, kappa in [(3, 5.0), (192, 50.0), (192, 1000.0), (1024, 500.0)]:
    sample = vonmises_fisher(np.eye(dim)[0], kappa, seed=seed).rvs(400)
    fit = spheres.fit_von_mises_fisher(sample)
    r = fit.resultant
    rows.append((dim, kappa, fit.kappa, r * (dim - r * r) / (1 - r * r), r))
pd.DataFrame(rows, columns=["D", "true kappa", "fitted", "first guess", "R-bar"]).round(3)

# %% [markdown]
# Mind the dimension: at $D = 192$ a concentration of 50 is nearly nothing, because $\bar R \approx \kappa / D$.
# Compare $\bar R$, never $\kappa$, between encoders of different width.
#
# **Why the head is linear.** Let reals and fakes be two such bells with one $\kappa$ and means $\mu_0, \mu_1$. By Bayes,
#
# $$ \log \frac{P(\text{fake} \mid z)}{P(\text{real} \mid z)} = \kappa\,(\mu_1 - \mu_0) \cdot z + \text{const} , $$
#
# which is a linear head on a normalised feature: what GenD calls `LinearNorm`.
# $\kappa$ is its temperature, which is why the small detector multiplies its embeddings by 10 before the head: on the unit sphere logits cannot differ by more than the weights are long.
#
# ## Real features, before and after tuning
#
# Now the embedded encoder, and the same encoder with the LayerNorms of the embedded detector (chapter 4).
# Statistics on *report* people; whatever is fitted is fitted on *fit* people.

# %%
extraction = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
crops, crops_dir = extraction.crops, extraction.folder
rank = crops.groupby([*metrics.KEY]).frame.rank(method="first")
known = crops.method.isin(["real", "DF", "F2F", "FS", "NT"])
crops = crops[(rank <= n_used) & known & (crops.role != "select")].reset_index(drop=True)
report, fit_rows = (crops.role == "report").to_numpy(), (crops.role == "fit").to_numpy()

frozen = model.build(backbone)
tuned = adapters.load_adapter(data / "weights" / detector)
features = {
    "frozen": evaluate.cache_features(frozen, crops, crops_dir),
    "tuned": evaluate.cache_features(tuned, crops, crops_dir),
}
lengths = {name: np.linalg.norm(f, axis=1) for name, f in features.items()}
embeddings = {name: f / lengths[name][:, None] for name, f in features.items()}
for name, length in lengths.items():
    print(f"{name:6} length {length.mean():.2f}, spread {length.std() / length.mean():.1%}")

# %% [markdown]
# The frozen features have almost one length already, as the last LayerNorm promised; normalising them throws away nearly nothing.

# %%
table = movement.compare_spheres(
    {name: z[report] for name, z in embeddings.items()},
    crops.label[report],
    crops.source_id[report],
)
wide = table.assign(
    text=[f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in table[["value", "low", "high"]].to_numpy()]
)
wide.pivot(index="measure", columns="embeddings", values="text").loc[movement.MEASURES]

# %% [markdown]
# The intervals leave out one person at a time (a jackknife).
# A bootstrap would draw a person twice; the two copies lie at distance 0, and every mean over pairs would be pulled to one side.
#
# Before tuning, all faces sit in one narrow cone: $\bar R$ near 1, $U$ far from the best value.
# After tuning they fill the sphere, the class means stand apart, and alignment has *grown*: the theory above said that it would, with these weights.
# How much of the way to perfectly even was walked?

# %%
best = spheres.uniform_uniformity(embeddings["frozen"].shape[1])
values = table[table.measure == "uniformity"].set_index("embeddings").value
print(f"frozen {values.frozen:.3f}, tuned {values.tuned:.3f}, evenly spread {best:.3f}")
print(f"walked: {(values.frozen - values.tuned) / (values.frozen - best):.0%} of the way")

# %% [markdown]
# Fit a von Mises-Fisher bell to each class of the *fit* people, classify the *report* people by the ratio of densities, and check the model:
# if it were true, the cosine to the mean would have the spread $\sqrt{1 - \bar R^2 - (D-1)\bar R/\kappa}$.

# %%
rows = []
for name, z in embeddings.items():
    bells = [
        spheres.fit_von_mises_fisher(z[fit_rows & (crops.label == c).to_numpy()]) for c in (0, 1)
    ]
    ratio = bells[1].log_density(z[report]) - bells[0].log_density(z[report])
    videos = metrics.video_scores(
        crops[report].assign(p_fake=1 / (1 + np.exp(-np.clip(ratio, -500, 500))))
    )
    estimate = metrics.bootstrap(videos, n=300, seed=seed)
    real = bells[0]
    told = np.sqrt(max(1 - real.resultant**2 - (z.shape[1] - 1) * real.resultant / real.kappa, 0))
    cosine = z[fit_rows & (crops.label == 0).to_numpy()] @ real.mean
    rows.append((name, real.resultant, real.kappa, told, cosine.std(), str(estimate)))
pd.DataFrame(
    rows,
    columns=["features", "R-bar", "kappa", "spread by the model", "spread measured", "AUROC"],
).round(3)

# %% [markdown]
# The bell is too simple: measured cosines spread far more than the model says, because real features do not use all directions alike.
# As a classifier it uses the difference of two means and knows nothing of the directions in which *people* differ; the trained head does.
#
# Can the sphere be seen? A linear map to three dimensions, trained with GenD's objective on the features of the *fit* people, shows *report* people whom it never met.

# %%
first = report & (crops.groupby(metrics.KEY).cumcount() == 0).to_numpy()
watched = flow.project(
    features["tuned"][fit_rows], crops.label[fit_rows], features["tuned"][first], seed=seed
)
plots.sphere_motion(
    watched.frames,
    crops.label[first].to_numpy(),
    watched.steps,
    {"A": watched.history.alignment, "U": watched.history.uniformity},
    title="Report people on a learnt sphere: a tendency, not two clusters",
    profile=profile,
    what="crop",
    caption="A and U of the fit people",
)

# %% [markdown]
# ## Why so few parameters move so much
#
# First, what happened in numbers.

# %%
before, after = frozen.encoder, adapters.merge(tuned).encoder
size = movement.change_size(before, after)
moved = movement.angles_moved(features["frozen"][report], features["tuned"][report])
print(
    f"changed: {size['n_changed']:,} of {size['n']:,} parameters ({size['n_changed'] / size['n']:.2%})"
)
print(f"length of the change over the length of all parameters: {size['relative']:.1%}")
print(
    f"angle between a feature before and after: mean {moved.mean():.0f} degrees, least {moved.min():.0f}"
)

# %% [markdown]
# One gain is one number, but it multiplies a channel of *every* token in front of *every* output of the next layer: it is a whole column of a weight matrix, tied together (chapter 4).
# To scale $D$ columns by hand one would have to change $D^2$ numbers.
#
# On the sphere this becomes exact. Let a feature $f$ pass a gain $g$ per channel; what angle does it turn?
# With the shares of energy $e_i = f_i^2 / \lVert f \rVert^2$,
#
# $$ \cos\theta = \frac{f \cdot (g \odot f)}{\lVert f \rVert \, \lVert g \odot f \rVert}
# = \frac{\mathbb{E}_e\, g}{\sqrt{\mathbb{E}_e\, g^2}}
# \qquad\Rightarrow\qquad
# \tan\theta = \frac{\sqrt{\operatorname{Var}_e\, g}}{\mathbb{E}_e\, g} . $$
#
# The angle is the arctangent of the gains' coefficient of variation. Equal gains turn nothing; gains that differ by 20 % turn every feature by 11 degrees, whether $D$ is 192 or 1024.

# %%
gain = 1 + 0.2 * rng.normal(size=features["frozen"].shape[1])
formula = spheres.rotation_by_gain(features["frozen"], gain)
measured = movement.angles_moved(features["frozen"], features["frozen"] * gain)
print(f"formula {formula.mean():.3f} degrees, measured {measured.mean():.3f}")
assert np.allclose(formula, measured, atol=1e-3)

# %% [markdown]
# And there is one such turn before every attention and every MLP. How much did each LayerNorm change, and how far does each alone turn the final feature?

# %%
processor = backbones.preprocess(before.spec)
some = crops[first].head(n_moved)
pixels = torch.stack([s["pixel_values"] for s in datasets.CropDataset(some, crops_dir, processor)])


def features_of(encoder: torch.nn.Module) -> np.ndarray:
    """Encode the few crops on which single changes are tried."""
    with torch.inference_mode():
        return encoder(pixels).numpy()


origin, goal = features_of(before), features_of(after)
names = list(backbones.layernorm_modules(before))
changes = movement.layernorm_changes(before, after)
changes["alone"] = [
    movement.angles_moved(origin, features_of(movement.transplant(before, after, [name]))).mean()
    for name in names
]

# %%
plots.layer_bars(
    changes.assign(name=changes.name.str.replace("encoder.layers.", "block ")),
    {"gain": "gains", "bias": "biases (over the gains' length)"},
    title="Every LayerNorm moved a little, none of them much",
    y_title="Relative change",
    profile=profile,
)

# %%
changes.round(3)

# %% [markdown]
# Now the control that the argument needs: is it *which* numbers change, or *how*?
# Changes of the same length, but random: in the LayerNorms only, or in all other weights.

# %%
rows = [("learnt, LayerNorms", movement.angles_moved(origin, goal).mean())]
rows.append(("largest single LayerNorm of these", changes.alone.max()))
for where, name in (("layernorms", "random, LayerNorms"), ("weights", "random, all other weights")):
    turned = [
        movement.angles_moved(
            origin, features_of(movement.scatter(before, size["length"], where, seed + k))
        ).mean()
        for k in range(2)
    ]
    rows.append((name, np.mean(turned)))
controls = pd.DataFrame(rows, columns=["change of the same length", "mean angle (degrees)"])
print(f"{len(pixels)} crops, length {size['length']:.1f}")
controls.round(1)

# %% [markdown]
# Two effects multiply.
# *Where*: the same length spent at random in a few thousand LayerNorm numbers turns features further than in millions of weights.
# *How*: training makes the turns of all layers agree, and they add up to far more than random ones, and to more than any single layer gives.
#
# ## What to remember
#
# * On the sphere a gradient is tangential and shrinks with the feature's length.
# * Uniformity has known values: 0 for one place, -0.709 for 32 + 32 opposite points, $-2tn/(n-1)$ for a simplex, about $-2t$ for many points in many dimensions.
# * Two classes collapse to points when the weight of alignment exceeds $t$ times that of uniformity. GenD's weights are far on the other side.
# * LayerNorm tuning took features from a narrow cone to most of the sphere with a quarter of a per cent of the parameters.
# * A gain per channel turns a feature by the arctangent of the gains' coefficient of variation; depth multiplies turns that agree.
#
# ## Limits and misuse
#
# A spread-out sphere is no proof of a good detector: the AUROC is (chapter 7), and uniformity can be had by spreading noise.
# The paper reports a gain from alignment and uniformity on large encoders; whether our small one shows it is measured in chapter 6, not here.
# The toy has no network: it shows what the objective wants, not what an encoder can reach.
# Angles and $\bar R$ of one encoder must not be compared with those of another without the dimension beside them.
#
# ## Exercises
#
# 1. **Predict** (3 min). What is the best uniformity of four points on the ordinary sphere at $t = 2$? And of two points?
# 2. **Change** (5 min). Set $t = 1$ and the weights of GenD. Do the classes collapse, and what does theory say about the ratio 0.2?
# 3. **Build** (10 min). Eight points: are the corners of a cube the best? Let free points answer.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
answer = [spheres.simplex_uniformity(n) for n in (4, 2)]
assert np.isclose(answer[0], optima.found[(optima.points == 4) & (optima.D == 3)].item(), atol=1e-4)
print(f"{answer[0]:.3f} (tetrahedron) and {answer[1]:.3f} (two poles, the lowest value there is)")

# %% tags=["solution", "hide-cell"]
run = flow.flow(start, labels, 1.0, 0.1, 0.5, t=1.0, seed=seed).history.iloc[-1]
assert run.alignment > 0.05 and 0.1 / 0.5 < spheres.critical_ratio(half, half, 1.0)
print(f"alignment {run.alignment:.2f}: no collapse, the ratio would have to exceed about 1")

# %% tags=["solution", "hide-cell"]
cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / np.sqrt(3)
at_cube = movement.sphere_numbers(cube @ cube.T, np.arange(8) % 2, np.ones((1, 8)))[0, 4]
free = flow.flow(
    flow.random_points(8, 3, 1), np.zeros(8, int), uniformity=1.0, steps=2000, rate=0.02
)
assert free.history.uniformity.iloc[-1] < at_cube - 1e-3
print(
    f"cube {at_cube:.4f}, free points {free.history.uniformity.iloc[-1]:.4f}: one face is turned by 45 degrees"
)

# %% [markdown]
# ## Further reading
#
# * Wang, Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere* (arXiv 2005.10242) [@wang2020alignment]: the two losses and their limit.
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: weights 0.1 and 0.5, and LayerNorm tuning.
# * Cohn, Kumar, *Universally optimal distribution of points on spheres* (arXiv math/0607446) [@cohn2007universally]: why polygon, simplex, octahedron and icosahedron win.
# * Banerjee, Dhillon, Ghosh, Sra, *Clustering on the Unit Hypersphere using von Mises-Fisher Distributions* (JMLR 6, 2005) [@banerjee2005vmf]: the estimate of the concentration.
# * Ba, Kiros, Hinton, *Layer Normalization* (arXiv 1607.06450) [@ba2016layernorm]: the layer whose gains turn the features.
#
# ## Next
#
# Chapter 6 trains the detector with these losses and asks, rung by rung, what each of them buys.
