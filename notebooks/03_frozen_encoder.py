# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. The frozen encoder
#
# What a vision encoder is made of, what its features know about a face, and how much of that is about forgeries.
#
# | time | fast 40 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | beginner | needs | 02 |
# |---|---|---|---|---|---|
#
# **You will learn** to take a vision transformer apart and put it together by hand, to cache features once and question them with linear probes,
# to choose a probe's penalty without touching the report people, and to test an attention map before you believe it.
#
# **Why it matters.** GenD does not build a network for deepfakes; it borrows one that was trained on something else.
# Whatever the detector can become is already in that encoder, or it is not there at all.
# A linear probe on frozen features is the honest starting line: it costs seconds, it cannot invent anything,
# and every later gain has to be measured from it.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
backbone: str = "embedded"  # a name from gendkit.backbones, of the CLIP family
n_frames: int = 3  # frames per video, evenly spaced
n_used: int = 2  # of these, how many are encoded here
n_bootstrap: int = 300  # resamples behind every interval
n_explained: int = 8  # fakes whose attention map is tested

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
from PIL import Image

import gendkit
from gendkit import (
    attention,
    backbones,
    baselines,
    evaluate,
    explain,
    extract,
    metrics,
    plots,
    probing,
    repro,
    spectra,
)

rng = repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## From pixels to one vector
#
# A vision transformer never sees an image.
# It sees a set of **tokens**: the image is cut into square patches, each patch is flattened and multiplied by one matrix, and a vector that says where the patch was is added.
# One more token, the **class token**, starts as a learnt constant; it has no patch, so all it will ever know it must collect from the others.

# %%
extraction = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
crops_dir = extraction.folder
rank = extraction.crops.groupby([*metrics.KEY]).frame.rank(method="first")
crops = extraction.crops[rank <= n_used].reset_index(drop=True)


def picture(row: pd.Series) -> np.ndarray:
    """Read the crop of one row of the manifest."""
    return np.asarray(Image.open(crops_dir / row.path).convert("RGB"))


encoder = backbones.load(backbone)
spec, prepare = encoder.spec, backbones.preprocess(encoder.spec)
size = int(encoder.config["model"]["patch_size"])
n_side = spec.image_size // size
face = picture(crops[(crops.role == "report") & (crops.label == 0)].iloc[4])
seen_by = np.asarray(Image.fromarray(face).resize((spec.image_size,) * 2, Image.Resampling.BICUBIC))
plots.token_grid(seen_by, n_side, title="An encoder reads patches, not faces", profile=profile)

# %% [markdown]
# The rest is a loop over blocks.
# Each block does two things, and both write *onto* the token instead of replacing it:
#
# $$ x \leftarrow x + \mathrm{Attention}(\mathrm{LN}_1(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{LN}_2(x)) . $$
#
# Attention is the only place where tokens talk to each other; the MLP treats each token alone.
# A **LayerNorm** stands before each of the two, one more stands before the first block, and one after the last, on the class token: $2L + 2$ for $L$ blocks.
# Those are the places that GenD tunes.
#
# If this is all, then twelve lines must give the same feature as the library does.

# %%
vision = encoder.vision
with torch.inference_mode():
    pixels = prepare([face])
    patches = pixels.unfold(2, size, size).unfold(3, size, size)  # (1, 3, n, n, size, size)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(1, n_side**2, -1)
    tokens = patches @ vision.embeddings.patch_embedding.weight.flatten(1).T
    first = vision.embeddings.class_embedding.expand(1, 1, -1)
    tokens = torch.cat([first, tokens], dim=1) + vision.embeddings.position_embedding.weight
    tokens = vision.pre_layrnorm(tokens)
    for block in vision.encoder.layers:
        tokens = tokens + block.self_attn(block.layer_norm1(tokens), attention_mask=None)[0]
        tokens = tokens + block.mlp(block.layer_norm2(tokens))
    feature = vision.post_layernorm(tokens[:, 0])
    difference = (feature - encoder(pixels)).abs().max().item()
assert difference < 1e-3
print(f"{tuple(patches.shape)} patches -> {tuple(tokens.shape)} tokens -> {tuple(feature.shape)}")
print(f"largest difference from the library: {difference:.1e}")

# %% [markdown]
# The big encoders of the paper differ in numbers only.
# To count them no weights are needed: PyTorch's *meta* device builds a network that knows shapes and holds no numbers.

# %%
with torch.device("meta"):
    built = {
        name: probing.anatomy(backbones.load(name, pretrained=False))
        for name in dict.fromkeys([backbone, "embedded", "clip-l14", "dinov3-l"])
    }
parts = pd.DataFrame(built).fillna(0).astype(int).loc[list(built[backbone].index)]
assert parts.loc["LayerNorm layers", "clip-l14"] == 2 * parts.loc["blocks", "clip-l14"] + 2
parts.map("{:,}".format)

# %%
share = parts.loc["LayerNorms"] / parts.loc["parameters"]
print("share of LayerNorms:", {name: f"{value:.3%}" for name, value in share.items()})

# %% [markdown]
# Attention and MLPs hold nearly everything; the LayerNorms hold less than a per mille of a large encoder.
# DINOv3 has positions that are computed, not stored, and no LayerNorm before its first block: 49 instead of 50.
#
# ## Features, cached once
#
# The encoder is frozen, so a face has one feature for ever: compute it once, store it, and every experiment below costs seconds.
# `evaluate.cache_features` does this for any model.
# Two vectors are worth storing: the **pooled** feature, which is the class token after the last LayerNorm and what the detector reads,
# and the **mean of the patch tokens**, which nobody trained to be a summary.

# %%
both = evaluate.cache_features(probing.TokenMean(encoder), crops, crops_dir)
dim = both.shape[1] // 2
texture = baselines.texture_features(crops, crops_dir)
features = {"pooled token": both[:, :dim], "patch mean": both[:, dim:], "texture": texture}
np.save(out / "features-03.npy", both)
print({name: f.shape for name, f in features.items()})
print(f"stored: {(out / 'features-03.npy').stat().st_size / 1e6:.1f} MB for {len(crops)} crops")

# %% [markdown]
# `texture` is the baseline without any network: log energies of three high-pass bands on an 8 x 8 grid (chapter 1).
# It stays beside the encoder through the chapter, because a network has to beat it to be worth its parameters.
#
# What is a feature *about*? Ask for its nearest neighbours.
# Each row below begins with a fake of a report person; the next five crops are those whose pooled features point most nearly the same way.

# %%
shown = crops[(crops.role == "report")].reset_index(drop=True)
z = features["pooled token"][(crops.role == "report").to_numpy()]
z = z / np.linalg.norm(z, axis=1, keepdims=True)
cosine = z @ z.T
np.fill_diagonal(cosine, -1)
asked = [shown[(shown.method == m)].index[3 * k] for k, m in enumerate(["DF", "FS", "NT", "Whole"])]
rows = np.array([[i, *np.argsort(-cosine[i])[:5]] for i in asked]).ravel()
texts = [f"{shown.source_id[i]} {shown.method[i]}" for i in rows]
plots.contact_sheet(
    [picture(shown.loc[i]) for i in rows],
    texts,
    n_columns=6,
    title="Neighbours in feature space share the person, not the label",
    profile=profile,
    caption="first of each row: the face that was asked about",
    max_side=110,
)

# %%
people, labels = shown.source_id.to_numpy(), shown.label.to_numpy()
nearest = cosine.argmax(1)
stranger = np.where(people[:, None] == people, -1, cosine).argmax(1)
print(
    f"nearest neighbour is the same person:                {(people[nearest] == people).mean():.0%}"
)
print(
    f"nearest neighbour among strangers has the same label: {(labels[stranger] == labels).mean():.0%}"
)
print(
    f"two random strangers have the same label:             {labels.mean() ** 2 + (1 - labels.mean()) ** 2:.0%}"
)

# %% [markdown]
# The same can be said in one line of arithmetic.
# Split the variance of the features: how much differs between people, between real and fake, between manipulations, and the rest.

# %%
report_rows = (crops.role == "report").to_numpy()
shares = pd.DataFrame(
    {
        name: probing.variance_shares(f[report_rows], crops[report_rows])
        for name, f in features.items()
    }
)
plots.share_bars(
    shares,
    title="Nearly all variance is content; the label is a sliver",
    facts=[f"{report_rows.sum()} report crops", f"{crops[report_rows].source_id.nunique()} people"],
    profile=profile,
)

# %%
(100 * shares).round(2).add_suffix(" (%)")

# %% [markdown]
# Keep the row *real or fake* in mind: that is the share of the variance which a detector lives on.
# Being small does not make it useless.
# A line can find a direction of small variance, if other directions do not drown it; that is what the rest of the chapter is about.
#
# ## What the features know
#
# Nobody's people have known attributes, so the features can be examined like a witness: we ask what we know already.
# A **linear probe** is a regression from the feature to the attribute, fitted on some people and judged on others.
# Ridge regression chooses its penalty inside the training people; people of one group (like skin tone and sex) never stand on both sides.
#
# Two controls keep us honest.
# *Pixels* is the crop shrunk to 12 x 12: what does not need an encoder at all.
# *Random weights* is the same network before any training: what the architecture gives for nothing.

# %%
real = crops.label == 0
identities = pd.read_csv(data / "nobody" / "identities.csv").set_index("identity_id")
order = sorted(crops[real].source_id.unique())
truth = identities.loc[order]
small = [
    np.asarray(Image.fromarray(picture(r)).resize((12, 12), Image.Resampling.BOX)).ravel()
    for _, r in crops[real].iterrows()
]
untrained = probing.TokenMean(backbones.load(backbone, pretrained=False))
kinds = {
    "pooled token": features["pooled token"][real],
    "patch mean": features["patch mean"][real],
    "random weights": evaluate.cache_features(untrained, crops[real], crops_dir)[:, :dim],
    "pixels": np.array(small),
}
people_kinds = {
    name: probing.per_person(f, crops[real].source_id, order).to_numpy()
    for name, f in kinds.items()
}

# %%
targets = pd.DataFrame(
    {
        "yaw of the head": (truth.yaw_min_deg + truth.yaw_max_deg) / 2,
        "pitch of the head": truth.pitch_mean_deg,
        "skin tone (ITA)": truth.ita_deg,
        "light, left to right": truth.light_azimuth_deg,
        "light, height": truth.light_height_deg,
        "noise of the camera": truth.camera_shot,
        "glasses": truth.glasses != "none",
        "beard or stubble": truth.beard != "none",
    }
)
known = probing.attribute_probes(
    people_kinds, targets, truth.group, n_bootstrap=n_bootstrap, seed=seed
)

# %%
numbers, yes_no = known[known.measure == "R2"], known[known.measure == "AUROC"]
plots.interval_dots(
    numbers.assign(value=numbers.value.clip(-0.5), low=numbers.low.clip(-0.5)),
    "attribute",
    "features",
    "R² on people left out (0 = the mean of the others, 1 = exact; cut at -0.5)",
    title="Pose, skin and light are written in the features",
    facts=[f"{len(truth)} people"],
    profile=profile,
    level=0.0,
)

# %%
yes_no.set_index(["attribute", "features"])[["n_yes", "n_people", "value", "low", "high"]].round(2)

# %% [markdown]
# Read three comparisons.
# *Pooled against random weights*: what pre-training taught.
# *Pooled against pixels*: what is more than colour in coarse places; skin tone and light need little of an encoder.
# *Pooled against patch mean*: the class token was trained on pose and landmarks, the patch tokens on local colour and texture, so they need not know the same things.
# What does not reach 0, such as the noise of the camera, is not in the features in a linear form; whether it is there in another form, a linear probe cannot say.
#
# ## The probe for real and fake
#
# The same question about the label, with the roles of a benchmark: weights from *fit*, the penalty from *select*, the number from *report*, once.
# The penalty matters because the features have far more directions than the label needs.
# With $C$ small, only directions of large variance are used; with $C$ large, the probe begins to learn the fit people by heart.

# %%
strengths = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
path = probing.regularisation_path(
    features["pooled token"], crops, strengths, n_bootstrap=n_bootstrap, seed=seed
)
on_select = path[path.role == "select"].set_index("strength")
chosen = float(on_select.auroc.idxmax())
plots.band_lines(
    path,
    "strength",
    "auroc",
    "role",
    "C, the inverse of the penalty (logarithmic axis)",
    "Video AUROC",
    title="A weaker penalty learns the fit people, not forgeries",
    facts=["pooled token", f"{crops[crops.role == 'select'].source_id.nunique()} select people"],
    profile=profile,
    log_x=True,
    level=0.5,
    marks={"chosen on select": chosen},
)

# %%
tied = on_select[on_select.high >= on_select.auroc.max()]
print(
    f"chosen C = {chosen:g}; strengths whose interval reaches the best one: {len(tied)} of {len(on_select)}"
)

# %% [markdown]
# If nearly all strengths are tied, the choice was made by the luck of few people.
# That is no reason to peek at the report people; it is a reason to write down the rule first and to live with what it gives.
#
# Now each kind of features gets its own choice, and then one look at the report.

# %%
fit_rows, scores = (crops.role == "fit").to_numpy(), {}
inputs = features | {"pooled + patch mean": both}
seen = set(crops[fit_rows].method) - {"real"}
rows = []
for name, f in inputs.items():
    tried = probing.regularisation_path(f, crops, strengths, ["select"], 20, seed)
    best = float(tried.set_index("strength").auroc.idxmax())
    probe = probing.fit_probe(f[fit_rows], crops.label[fit_rows], best)
    scores[name] = probing.probe_scores(probe, f[report_rows], crops[report_rows])
    for which, keep in (("seen", seen), ("not seen", set(crops.method) - seen - {"real"})):
        part = scores[name][scores[name].method.isin(keep | {"real"})]
        table = evaluate.report(part, n_bootstrap=n_bootstrap, seed=seed)
        mean = table[table.method == evaluate.MEAN].iloc[0]
        rows.append((name, which, best, mean.auroc, mean.low, mean.high))
result = pd.DataFrame(rows, columns=["features", "manipulations", "C", "value", "low", "high"])
result.round(3)

# %%
plots.interval_dots(
    result,
    "features",
    "manipulations",
    "Mean AUROC over manipulations, report people",
    title="The starting line: linear probes on frozen features",
    facts=[f"{crops[report_rows].source_id.nunique()} people"],
    profile=profile,
    level=0.5,
)

# %%
videos = {name: metrics.video_scores(s) for name, s in scores.items()}
for other in ("patch mean", "texture", "pooled + patch mean"):
    gap = metrics.paired_difference(videos[other], videos["pooled token"], n=n_bootstrap, seed=seed)
    print(f"{other:20} minus pooled token, all report videos: {gap}")

# %% [markdown]
# A difference whose interval holds 0 is none that these people can show.
# Per manipulation, the pooled token:

# %%
table = evaluate.report(scores["pooled token"], n_bootstrap=n_bootstrap, seed=seed)
plots.forest(table, title="Pooled token: far from perfect, above chance", profile=profile)

# %% [markdown]
# One more number explains the others.
# The AUROC asks a probe to compare a fake with the reals of *strangers*.
# Let it compare a fake with its **own** real instead: then everything that belongs to the person cancels.

# %%
rows = []
for name, v in videos.items():
    own = v[v.label == 1].merge(v[v.label == 0][["source_id", "p_fake"]], on="source_id")
    rows.append((name, metrics.auroc(v.label, v.p_fake), (own.p_fake_x > own.p_fake_y).mean()))
pairs = pd.DataFrame(rows, columns=["features", "against strangers", "against its own real"])
pairs.set_index("features").round(3)

# %% [markdown]
# The gap between the two columns is the price of content.
# The trace is in the features, a line finds it, and the differences between people drown it.
# Training should therefore not look for *more* features; it should turn down what differs between people.
# That is what LayerNorm tuning (chapter 4) and pairs (chapter 9) do.
#
# ## What a forgery changes
#
# Where is the trace? Compare every fake with the same frame of its own real, and look at how much detail of each size it holds: the power at each spatial frequency, averaged over directions.

# %%
first_frame = crops[report_rows & (crops.groupby(metrics.KEY).cumcount() == 0)]
power = spectra.spectra(first_frame, crops_dir)
change = spectra.paired_change(first_frame, power, n_bootstrap, seed)
limit = 0.5 * spec.image_size / face.shape[0]
plots.band_lines(
    change[change.method.isin(["DF", "F2F", "FS", "NT", "Whole"])],
    "frequency",
    "change",
    "method",
    "Spatial frequency (cycles per pixel of the crop)",
    "Log power, fake minus its own real",
    title="Most forgeries lose detail; the mouth forgeries hide",
    facts=[f"{change.n_people.iloc[0]} people", f"crops of {face.shape[0]} pixels"],
    profile=profile,
    level=0.0,
    marks={f"finest detail at {spec.image_size} pixels": limit},
)

# %%
worst = change.loc[change.groupby("method").change.idxmin()].set_index("method")
worst["power left"] = np.exp(worst.change)
worst.sort_values("change")[["frequency", "change", "low", "high", "power left"]].round(2)

# %% [markdown]
# A swap or a warp is resampled and blended, and each of these steps is a low-pass filter; camera and codec then set the noise floor that hides the finest band again.
# The dashed line is the finest detail that survives the encoder's input size: what lies right of it the encoder never sees.
# A manipulation of the mouth alone changes so little of the crop that the mean spectrum hardly notices, which says nothing about the mouth itself.
#
# Real forgeries differ: generators with up-sampling layers leave *too much* regular energy at high frequencies, and compression removes part of both.
# So a spectrum is a clue to one family of methods and one camera, not a detector.
#
# ## Where the class token looks, and whether it matters
#
# Attention weights are tempting to draw, because they are there.
# **Rollout** multiplies them through the layers, with half of each token kept by the skip connection, and says how much of each patch reaches the class token.

# %%
fakes = shown[shown.method.isin(seen)].drop_duplicates("source_id").head(n_explained)
images = [picture(row) for _, row in fakes.iterrows()]
weights = attention.attentions(encoder, prepare(images))
maps = attention.patch_map(attention.rollout(weights), n_side)
plots.contact_sheet(
    [plots.heat(image, m) for image, m in zip(images, maps, strict=True)],
    [f"{row.source_id} {row.method}" for row in fakes.itertuples()],
    n_columns=4,
    title="Bright is where the class token reads, if rollout is right",
    profile=profile,
    caption="attention rollout, all layers and heads",
)

# %% [markdown]
# It looks like an explanation.
# Test it: if bright patches carry the score, covering them first must lower P(fake) faster than covering patches in a random order.
# `explain.deletion` does this for each face, with 19 random orders, so that a rank of 5 % is possible.

# %%
probe = probing.fit_probe(features["pooled token"][fit_rows], crops.label[fit_rows], chosen)


def p_fake(batch: list[np.ndarray]) -> np.ndarray:
    """Score crops with the probe on the pooled token."""
    with torch.inference_mode():
        return probe.predict_proba(encoder(prepare(batch)).numpy())[:, 1]


tests = [
    explain.deletion(p_fake, image, heat, grid=n_side, steps=4, seed=seed)
    for image, heat in zip(images, attention.to_pixels(maps, face.shape[0]), strict=True)
]
faithful = np.mean([test.faithful for test in tests])
advantage = np.array([test.areas.mean() - test.area for test in tests])
print(f"maps that beat 95 % of random orders: {faithful:.0%} of {len(tests)}")
print(
    f"mean advantage in area: {advantage.mean():+.3f}, standard error {advantage.std(ddof=1) / len(tests) ** 0.5:.3f}"
)

# %% [markdown]
# Random orders are a weak opponent: faces are in the middle of their crops, and any map that is bright in the middle beats them.
# So give the test a map that knows nothing of the image at all, brightest in the centre.

# %%
place = np.arange(n_side) - (n_side - 1) / 2
centre = np.exp(-(place[:, None] ** 2 + place**2) / (0.5 * (n_side / 2) ** 2))
centre = attention.to_pixels(centre[None], face.shape[0])[0]
fixed = [
    explain.deletion(p_fake, image, centre, grid=n_side, steps=4, n_random=1, seed=seed)
    for image in images
]
better = np.array([f.area - test.area for f, test in zip(fixed, tests, strict=True)])
error = better.std(ddof=1) / len(better) ** 0.5
print(f"attention minus centre, area saved: {better.mean():+.3f}, standard error {error:.3f}")
verdict = "more than" if better.mean() > 2 * error else "no more than"
print(f"on these faces the map says {verdict} 'look at the middle'")

# %%
curves = {
    "attention first": [t.by_map for t in tests],
    "centre first": [t.by_map for t in fixed],
    "random order": [t.by_chance.mean(0) for t in tests],
}
lines = pd.concat(
    pd.DataFrame({"covered": tests[0].share, "score": np.mean(c, axis=0), "order": name})
    for name, c in curves.items()
)
plots.band_lines(
    lines,
    "covered",
    "score",
    "order",
    "Share of the crop that is covered",
    "P(fake) of the probe",
    title="The test that a map must pass before it is shown",
    facts=[f"{len(tests)} fakes", "19 random orders each"],
    profile=profile,
)

# %% [markdown]
# > **Warning.** Where the class token *reads* is not where the forgery *is*, and not what *decides* the score.
# > A map that loses to random orders is decoration, and one that only ties with the centre has explained nothing about this face.
# > Even a faithful one speaks about this detector and this crop; it never proves that a person's picture was manipulated.
#
# ## What to remember
#
# * A vision transformer is patches, one class token, attention, MLPs, and $2L + 2$ LayerNorms; twelve lines reproduce it.
# * Frozen features are about content: neighbours are people, and the label is a tiny share of the variance.
# * A probe is fitted on *fit*, its penalty chosen on *select*, its number read once on *report*, beside a baseline without a network.
# * Against its own real a fake is found far more often than against strangers: the trace is there, content drowns it.
# * An attention map is a hypothesis. The deletion test, against random orders and against a map that knows nothing, says what it is worth.
#
# ## Limits and misuse
#
# The embedded encoder was trained on renders by regression on their known attributes and on generic image traces; CLIP was trained on captions.
# What the small one knows is no evidence of what CLIP knows: run the full profile for that.
# The attributes come from a shape model with sliders; that a probe can read skin tone or a beard here is a fact about features, and on real people it is a warning about what a face feature gives away.
# Never use a probe to infer attributes of real people who were not asked.
#
# ## Exercises
#
# 1. **Predict** (2 min). How many tokens does CLIP ViT-L/14 make of a 224-pixel crop, and how many of a 336-pixel one?
# 2. **Change** (5 min). Remove the share of *person* from the features of the report people by subtracting each person's mean, and look at the variance shares again. Why can no detector do this?
# 3. **Build** (10 min). Shuffle the labels of the fit *people* (real and fake swapped for half of them) and fit the probe again. Where must its report AUROC lie?

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
answer = [(side // 14) ** 2 + 1 for side in (224, 336)]
assert answer[0] == parts.loc["tokens", "clip-l14"]
print(answer)

# %% tags=["solution", "hide-cell"]
f = pd.DataFrame(features["pooled token"][report_rows])
centred = (f - f.groupby(people).transform("mean")).to_numpy()
after = probing.variance_shares(centred, crops[report_rows])
assert after["person"] < 1e-6 < after["real or fake"]
print(after.round(3).to_dict())
print(
    "the mean was taken over the person's real and fakes: a detector meets one clip and has no such mean"
)

# %% tags=["solution", "hide-cell"]
fit_people = crops[fit_rows].source_id.unique()
swapped = set(rng.choice(fit_people, len(fit_people) // 2, replace=False))
wrong = np.where(
    crops[fit_rows].source_id.isin(swapped), 1 - crops[fit_rows].label, crops[fit_rows].label
)
blind = probing.fit_probe(features["pooled token"][fit_rows], wrong, chosen)
blind = metrics.video_scores(probing.probe_scores(blind, z, crops[report_rows]))
estimate = metrics.bootstrap(blind, n=n_bootstrap, seed=seed)
print(f"{estimate}: near 0.5, as nothing about forgeries was there to be learnt")
assert 0.2 < estimate.value < 0.8

# %% [markdown]
# ## Further reading
#
# * Dosovitskiy and others, *An Image is Worth 16x16 Words* (arXiv 2010.11929) [@dosovitskiy2021vit]: the vision transformer.
# * Radford and others, *Learning Transferable Visual Models From Natural Language Supervision* (arXiv 2103.00020) [@radford2021clip]: CLIP, and linear probes as a yardstick.
# * Alain, Bengio, *Understanding intermediate layers using linear classifier probes* (arXiv 1610.01644) [@alain2016probes]: what a probe says and does not say.
# * Durall, Keuper, Keuper, *Watch your Up-Convolution* (arXiv 2003.01826) [@durall2020upconvolution]: spectra of generated images.
# * Abnar, Zuidema, *Quantifying Attention Flow in Transformers* (arXiv 2005.00928) [@abnar2020rollout]: rollout; Jain, Wallace, *Attention is not Explanation* (arXiv 1902.10186) [@jain2019attention]: why to test it.
#
# ## Next
#
# Chapter 4 lets the LayerNorms move, and nothing else.
