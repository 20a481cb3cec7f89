# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10. Seeing the sphere
#
# Where real and fake faces live, what a map of it shows, and what it only seems to show.
#
# | time | fast 75 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 04 |
# |---|---|---|---|---|---|
#
# **You will learn** to put features on the unit sphere and measure them there, to map them with UMAP onto a sphere that you can turn,
# to say how faithful a map is, and to unmask a pattern that random labels would show as well.
#
# **Why it matters.** GenD trains on the hypersphere: features are divided by their length, so only their direction can tell real from fake.
# Alignment pulls faces of one label together, uniformity keeps all of them spread out.
# A picture of that sphere is the most persuasive figure of a talk and the easiest one to misread,
# because a map from hundreds of dimensions to two has to lie somewhere.
# So every picture here stands beside a number that was computed in the original space.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
n_frames: int = 3  # frames per video, evenly spaced
n_neighbors: int = 15  # neighbours that UMAP tries to keep together

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
from gendkit import adapters, baselines, embed, extract, metrics, model, plots, repro, train

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## From features to directions
#
# The encoder turns a face into a vector $f \in \mathbb{R}^D$.
# Its **embedding** is the direction $z = f / \lVert f \rVert$, a point on the unit hypersphere.
# We take *report* faces, which no model of this book has been trained on: the reals and the four manipulations that detectors here are trained on, of other people.
# We look at them twice:
# through the frozen encoder and through the embedded detector, whose LayerNorms were tuned.

# %%
extraction = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
crops, crops_dir = extraction.crops, extraction.folder
shown = crops.method.isin(["real", "DF", "F2F", "FS", "NT"])
faces = crops[(crops.role == "report") & shown].reset_index(drop=True)
labels = faces.label.to_numpy()

frozen = model.build("embedded")
tuned = adapters.load_adapter(data / "weights" / "detector")
features = {
    "frozen": train.cache_features(frozen, faces, crops_dir),
    "tuned": train.cache_features(tuned, faces, crops_dir),
}
embeddings = {name: f / np.linalg.norm(f, axis=1, keepdims=True) for name, f in features.items()}
print({name: z.shape for name, z in embeddings.items()})

# %% [markdown]
# ## Measure before you look
#
# Three numbers describe how two classes lie on a sphere.
#
# * **Alignment** is the mean squared distance of two embeddings of one label. Since $\lVert z_i - z_j\rVert^2 = 2 - 2\cos\theta_{ij}$, it is an angle in disguise.
# * **Uniformity** is $\log \mathbb{E}\, e^{-2\lVert z_i - z_j \rVert^2}$. It is 0 when all points coincide and falls as they spread; for points spread evenly over a sphere of many dimensions it tends to $-4$, because distances concentrate at $\sqrt 2$.
# * The **resultant length** $\bar R = \lVert \frac1n \sum_i z_i \rVert$ of a class is 1 when its points agree and near 0 when they point everywhere.

# %%
statistics = {name: embed.angle_statistics(z, labels) for name, z in embeddings.items()}
summary = pd.DataFrame(
    {
        name: {
            "R of reals": s.resultant[0],
            "R of fakes": s.resultant[1],
            "angle between class means (degrees)": s.between_means,
            "alignment": s.alignment,
            "uniformity": s.uniformity,
        }
        for name, s in statistics.items()
    }
)
summary.round(3)

# %% [markdown]
# The angles themselves say more than their means.
# If two classes were separable by direction alone, angles *between* them would be larger than angles *within* them.

# %%
plots.angle_histogram(
    statistics["frozen"], title="Frozen: angles within and between the classes", profile=profile
)

# %%
plots.angle_histogram(
    statistics["tuned"], title="Tuned: angles within and between the classes", profile=profile
)

# %% [markdown]
# ## A map that is a sphere
#
# UMAP builds a graph of nearest neighbours and looks for positions that keep it.
# Usually the positions lie on a plane; with `output_metric="haversine"` they lie on a sphere, which suits data that lives on one.
# Turn it with the mouse.

# %%
maps = {
    name: embed.sphere_map(z, seed=seed, n_neighbors=n_neighbors) for name, z in embeddings.items()
}
plots.sphere(
    maps["frozen"],
    labels,
    faces.method,
    title="Frozen encoder: the report faces on a sphere",
    profile=profile,
)

# %%
plots.sphere(
    maps["tuned"],
    labels,
    faces.method,
    title="Tuned encoder: the same faces after LayerNorm tuning",
    profile=profile,
)

# %% [markdown]
# Look for clusters, and ask what they are.
# The original space answers: whose face is the nearest neighbour of a face?

# %%
people = faces.source_id.to_numpy()
for name, z in embeddings.items():
    nearest = (z @ z.T - 2 * np.eye(len(z))).argmax(1)
    person, label = (people[nearest] == people).mean(), (labels[nearest] == labels).mean()
    print(f"{name:7} same person {person:.0%}, same label {label:.0%}")

# %% [markdown]
# If nearly every neighbour is another frame of the same person, the clusters are people, and the map says little about forgeries.
#
# How faithful is the map?
# **Trustworthiness** is near 1 when the neighbours on the map are neighbours in the original space.
# A linear map, spherical PCA, is the yardstick: it has no seed and nothing to tune.

# %%
rows = []
for name, z in embeddings.items():
    linear, share = embed.spherical_pca(z)
    rows.append(
        {
            "embeddings": name,
            "UMAP": embed.trustworthiness(z, maps[name]),
            "spherical PCA": embed.trustworthiness(z, linear),
            "variance kept by PCA": share,
        }
    )
pd.DataFrame(rows).round(3)

# %% [markdown]
# The third number that a map must not stand without says whether a line separates the classes in the original space, whatever the picture shows.
# The probe is cross-fitted: every face is scored by one that saw nobody linked with its person.

# %%
for name, f in features.items():
    p_fake = baselines.cross_scores(f, faces, seed=seed)
    videos = metrics.video_scores(faces.assign(p_fake=p_fake))
    print(f"{name:7} linear probe, video AUROC {metrics.bootstrap(videos, seed=seed)}")

# %% [markdown]
# ## Another seed, another picture
#
# UMAP starts from a random state.
# Coordinates mean nothing: a second seed gives a turned and rearranged sphere.
# What may be compared are neighbourhoods, or the angles between all pairs of points.

# %%
other = embed.sphere_map(embeddings["tuned"], seed=seed + 1, n_neighbors=n_neighbors)
upper = np.triu_indices(len(other), 1)
agreement = np.corrcoef(embed.geodesic(maps["tuned"])[upper], embed.geodesic(other)[upper])[0, 1]
print(
    f"trustworthiness of the second seed: {embed.trustworthiness(embeddings['tuned'], other):.3f}"
)
print(f"correlation of all pairwise angles of the two maps: {agreement:.2f}")

# %% [markdown]
# ## The control: would random labels look like this too?
#
# A map that never saw a label can still seem to sort by label, because frames of one video lie together and have one label.
# The control gives every *video* a random label and asks the same question of the original space:
# how often does a face's nearest neighbour **from another person** share its label?


# %%
def neighbour_agreement(z: np.ndarray, label: np.ndarray, people: np.ndarray) -> float:
    """Share of faces whose nearest neighbour among other people has the same label."""
    cosine = z @ z.T
    cosine[people[:, None] == people[None, :]] = -np.inf
    return float((label[cosine.argmax(1)] == label).mean())


video_ids, which = np.unique(faces.method + "/" + faces.video_id, return_inverse=True)
share = labels.mean()
shuffled = [(rng.random(len(video_ids)) < share).astype(int)[which] for _ in range(200)]
for name, z in embeddings.items():
    chance = [neighbour_agreement(z, label, people) for label in shuffled]
    low, high = np.quantile(chance, [0.025, 0.975])
    print(
        f"{name:7} {neighbour_agreement(z, labels, people):.3f}, random labels [{low:.3f}, {high:.3f}]"
    )

# %% [markdown]
# A value inside the random interval means that the picture shows people, not forgeries, however tidy its clusters are.
#
# ## What to remember
#
# * The embedding is a direction. Measure angles, alignment, uniformity and $\bar R$ in the space where they live.
# * A map keeps neighbours, not distances, not sizes, not gaps between clusters.
# * Show two seeds, the trustworthiness and a random-label control, or do not show the map.
#
# ## Limits and misuse
#
# Clusters on a map are no evidence that a detector works, and a missing gap is no evidence that it fails; chapter 7 has the number for that.
# A few hundred points of a small world are enough to learn to read the figure, not to conclude about real data.
# Do not place one person's face on such a map and call the neighbourhood a verdict.
#
# ## Exercises
#
# 1. **Predict** (2 min). What is the uniformity of points that sit half on the north pole and half on the south pole?
# 2. **Change** (5 min). Map with 5 and with 40 neighbours. Which of the two keeps more of the small structure?
# 3. **Build** (10 min). Remove each person's mean from the embeddings, normalise again, and repeat the control.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
# Of n points, a pair is equal with probability near 1/2 (distance 0) or opposite (distance 2, squared 4, times 2 is 8).
answer = np.log(0.5 + 0.5 * np.exp(-8.0))
poles = np.repeat(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), 200, axis=0)
measured = embed.angle_statistics(poles, np.repeat([0, 1], 200)).uniformity
assert abs(measured - answer) < 0.01
print(f"{answer:.3f} for many points, measured on 400: {measured:.3f}")

# %% tags=["solution", "hide-cell"]
few, many = (embed.sphere_map(embeddings["tuned"], seed=seed, n_neighbors=k) for k in (5, 40))
kept = [embed.trustworthiness(embeddings["tuned"], m, n_neighbors=5) for m in (few, many)]
assert all(0 <= value <= 1 for value in kept)
print(
    f"trustworthiness of the nearest five: {kept[0]:.3f} with 5 neighbours, {kept[1]:.3f} with 40"
)

# %% tags=["solution", "hide-cell"]
frame = pd.DataFrame(embeddings["tuned"])
centred = (frame - frame.groupby(people).transform("mean")).to_numpy()
centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
chance = [neighbour_agreement(centred, label, people) for label in shuffled]
print(
    f"person removed: {neighbour_agreement(centred, labels, people):.3f}, random labels up to {max(chance):.3f}"
)
assert np.allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-5)

# %% [markdown]
# ## Further reading
#
# * Wang, Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere* (arXiv 2005.10242) [@wang2020alignment]: the two losses and their optima.
# * McInnes, Healy, Melville, *UMAP* (arXiv 1802.03426) [@mcinnes2018umap]: the method behind the maps.
# * Venna, Kaski, *Neighborhood preservation in nonlinear projection methods* (ICANN 2001) [@venna2001neighborhood]: trustworthiness.
# * Wattenberg, Viégas, Johnson, *How to Use t-SNE Effectively* (Distill 2016) [@wattenberg2016tsne]: the same cautions, for the older method.
#
# ## Next
#
# Chapter 11 asks what is left of a detector after compression, blur and noise.
