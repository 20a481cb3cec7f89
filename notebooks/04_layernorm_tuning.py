# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. LayerNorm-only tuning
#
# Train 0.03 % of an encoder, keep the other 99.97 % as it was, and save the difference in a file smaller than a photo.
#
# | time | fast 60 s, a minute more where no chapter has extracted the crops yet (CPU, 2 cores) | level | intermediate | needs | 02 |
# |---|---|---|---|---|---|
#
# **You will learn** to say what a LayerNorm's gain and bias can and cannot change, to count trained parameters by two routes,
# to write the training loop by hand, and to save and reload an adapter with identical scores.
#
# **Why it matters.** A detector that is tuned on one forgery tends to learn that forgery and forget the rest of the world.
# GenD's answer is to touch almost nothing: in a pre-trained vision encoder only the LayerNorm gains and biases move.
# The encoder keeps what it knows about images, and a small file holds what was learnt about forgeries.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
backbone: str = "embedded"  # a name from gendkit.backbones
n_frames: int = 3  # frames per video, evenly spaced
n_epochs: int = 2  # passes over the training pairs
learning_rate: float = 0.01  # peak rate of AdamW

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
    losses,
    metrics,
    model,
    plots,
    repro,
    results,
    train,
)

repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir)
print(f"gendkit {gendkit.__version__}, torch {torch.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## What a LayerNorm can change
#
# A LayerNorm standardises each token $x \in \mathbb{R}^D$ and then applies a gain $\gamma$ and a bias $\beta$, one number each per channel:
#
# $$ \mathrm{LN}(x) = \gamma \odot \hat{x} + \beta, \qquad \hat{x} = \frac{x - \mu(x)}{\sqrt{\sigma^2(x) + \varepsilon}} . $$
#
# In a transformer block it feeds a linear layer with weights $W$ and bias $b$. Put one into the other:
#
# $$ W\,\mathrm{LN}(x) + b = \underbrace{W\,\mathrm{diag}(\gamma)}_{\text{columns of } W \text{ scaled}} \hat{x} + \underbrace{(W\beta + b)}_{\text{another bias}} . $$
#
# So LayerNorm tuning turns the volume of every channel up or down before queries, keys, values and the MLP read it.
# It cannot invent a channel that the encoder does not have.
# That is the point: it re-weights what pre-training found, and the number of knobs is $2D$ per layer instead of $12D^2$ per block.
#
# The identity is easy to check on numbers.

# %%
generator = torch.Generator().manual_seed(seed)
x, weight = torch.randn(5, 8, generator=generator), torch.randn(3, 8, generator=generator)
gain, bias = torch.randn(8, generator=generator), torch.randn(8, generator=generator)

through_norm = torch.nn.functional.layer_norm(x, (8,), gain, bias) @ weight.T
x_hat = torch.nn.functional.layer_norm(x, (8,))
rescaled = x_hat @ (weight * gain).T + weight @ bias
print(f"largest difference: {(through_norm - rescaled).abs().max():.1e}")

# %% [markdown]
# ## Counting, by two routes
#
# How many parameters is that?
# The first route asks PEFT, which was told the LayerNorms by name: `LNTuningConfig` freezes the rest.
# The second route knows no names: it walks the encoder and adds up the parameters of every `torch.nn.LayerNorm` it meets.
# If the names missed a layer, or caught one too many, the two disagree.

# %%
scale = 10.0 if backbone == "embedded" else 1.0  # small features want a larger head
detector = model.build(backbone, head="LinearNorm", feature_scale=scale)
tuned = adapters.tune(detector)
head = sum(p.numel() for p in adapters.active_head(tuned).parameters())
by_peft, total = adapters.count_trainable(tuned)
by_walk = adapters.count_layernorm(tuned)
print(f"route 1, PEFT:  {by_peft:,} trained = {by_peft - head:,} LayerNorm + {head:,} head")
print(f"route 2, walk:  {by_walk:,} in {len(backbones.layernorm_modules(tuned))} LayerNorms")
assert by_peft == by_walk + head

# %% [markdown]
# The paper's encoders are far larger, so the share is far smaller.
# No weights are needed to count them: the networks are built on PyTorch's meta device, which knows shapes and holds no numbers.

# %%
counts = []
for name in ("embedded", "clip-b16", "clip-l14", "dinov3-l"):
    with torch.device("meta"):
        network = adapters.tune(model.build(name, pretrained=False))
    trained, everything = adapters.count_trainable(network)
    counts.append({"encoder": name, "trained": trained, "total": everything})
counts = pd.DataFrame(counts)
counts["share"] = (counts.trained / counts.total).map("{:.4%}".format)
counts

# %% [markdown]
# For CLIP ViT-L/14 the released code gives 104,450 of 303,968,258 trained parameters, 0.0344 % (counted from the official code; it also holds an unused projection of 786,432).
# The number trained is the same here.

# %%
plots.parameter_bars(
    {"all parameters": total, "LayerNorms": by_walk, "head": head},
    total=total,
    title="Even in a small encoder the LayerNorms are a sliver",
    profile=profile,
)

# %% [markdown]
# ## The loop in the open
#
# Chapter 6 trains with `train.train`, which drives `transformers.Trainer`.
# Here is the same thing by hand, because a loop that you have written once holds no secrets.
# First the data: crops of the *fit* people, in batches that put every fake beside its real.

# %%
extraction = extract.run(data / "nobody" / "manifest.csv", n_frames=n_frames, workers=2)
crops, crops_dir = extraction.crops, extraction.folder
fit = crops[crops.role == "fit"].reset_index(drop=True)
select = crops[crops.role == "select"].reset_index(drop=True)

processor = model.GenDImageProcessor.from_spec(detector.encoder.spec)
samples = datasets.CropDataset(fit, crops_dir, processor)
batches = datasets.PairedBatchSampler(fit, batch_size=32, seed=seed)
loader = torch.utils.data.DataLoader(samples, batch_sampler=batches)
print(f"{len(fit)} crops of {fit.source_id.nunique()} people, {len(batches)} batches an epoch")

# %% [markdown]
# The baseline is the frozen encoder with a linear probe, a logistic regression on its features.
# Its weights are also where the head starts.

# %%
features = train.cache_features(tuned, fit, crops_dir)
adapters.init_head(tuned, features, fit.label)
probe = metrics.video_scores(evaluate.score(tuned, select, crops_dir))
print(f"frozen encoder, linear probe: select AUROC {metrics.bootstrap(probe, seed=seed)}")

# %% [markdown]
# Now the loop.
# One step: features, logits, the three losses, the gradient, the update.

# %%
objective = losses.GenDLoss(alignment=0.1, uniformity=0.5)
weights = [p for p in tuned.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(batches))


def step(batch: dict) -> dict:
    """Take one step and return the parts of the loss."""
    output = tuned(pixel_values=batch["pixel_values"])
    loss, parts = objective(output.logits, output.features, batch["labels"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    return {name: float(value) for name, value in parts.items()}


# %%
history = []
for epoch in range(n_epochs):
    tuned.train()
    samples.set_epoch(epoch)
    batches.set_epoch(epoch)
    parts = pd.DataFrame([step(batch) for batch in loader]).mean()
    videos = metrics.video_scores(evaluate.score(tuned, select, crops_dir))
    history.append(
        {"epoch": epoch + 1, "select AUROC": metrics.auroc(videos.label, videos.p_fake), **parts}
    )
history = pd.DataFrame(history)
history.round(3)

# %% [markdown]
# ## What moved, and what it bought
#
# Nothing but LayerNorms and head may differ from the encoder we started with.
# The check compares every other tensor bit by bit.

# %%
start = dict(model.build(backbone).encoder.named_parameters())
merged = adapters.merge(tuned)
changed = {
    name for name, value in merged.encoder.named_parameters() if not torch.equal(value, start[name])
}
norms = backbones.layernorm_modules(merged.encoder)
assert changed <= {f"{name}.{part}" for name in norms for part in ("weight", "bias")}
print(f"{len(changed)} tensors changed, all of them in the {len(norms)} LayerNorms")

# %%
after = metrics.video_scores(evaluate.score(tuned, select, crops_dir))
gain = metrics.paired_difference(after, probe, seed=seed)
print(f"probe  {metrics.bootstrap(probe, seed=seed)}")
print(f"tuned  {metrics.bootstrap(after, seed=seed)}")
print(f"gain   {gain}")

# %% [markdown]
# A gain whose interval contains 0 would not be shown; one that lies above 0 says that tuning made something readable that the frozen features did not offer to a line.
# The *select* role holds few people, so the intervals are wide; chapter 7 reports on more of them, once.
#
# ## The adapter: what has to be shipped
#
# Whoever has the encoder needs only what was tuned.
# `save_adapter` writes the LayerNorms and the head as safetensors, and a hash of the encoder they belong to.

# %%
folder = adapters.save_adapter(tuned, out / "adapter-04")
size = sum(f.stat().st_size for f in folder.iterdir())
whole = sum(p.numel() * 4 for p in merged.parameters())
print(f"adapter {size / 1e3:.0f} kB, whole detector {whole / 1e6:.1f} MB")

reloaded = adapters.load_adapter(folder)
again = evaluate.score(reloaded, select, crops_dir)
same = evaluate.score(tuned, select, crops_dir)
assert (again.p_fake == same.p_fake).all()
print(
    f"{len(again)} scores after reloading, largest difference {(again.p_fake - same.p_fake).abs().max()}"
)

# %% [markdown]
# ## LayerNorms, biases, low rank, or everything
#
# LayerNorm tuning has rivals: BitFit trains every bias, LoRA adds a low-rank update to the attention's matrices, full tuning trains everything, and the probe nothing but a head.
# To compare them fairly they get the same head, loss, data, epochs and seeds; the peak rate is one that each bears (full tuning does not learn at the LayerNorms' rate).
# Such runs take too long for a chapter, so they are stored: all 72 fit people, four epochs, three seeds each, scored on the report people (`gendkit experiments run`).

# %%
ways = {
    "nobody-probe": "probe",
    "nobody-LN+L2+UnAl": "LayerNorms",
    "nobody-bitfit": "BitFit",
    "nobody-lora": "LoRA, rank 4",
    "nobody-full": "everything",
}
stored = results.table(list(ways), seed=seed)
cost = pd.concat([results.runs(name) for name in ways]).groupby("group")
seconds = cost.seconds.min()  # of three seeds, on two cores that had other work too
cost = cost[["n_trained", "adapter_bytes", "select_auroc"]].mean()
budget = pd.DataFrame({"trained": cost.n_trained.astype(int)})
budget["kB"] = (cost.adapter_bytes / 1e3).round(1)
budget["seconds"] = seconds.round()
budget["select AUROC"] = cost.select_auroc.round(3)
for group, part in stored.groupby("group", sort=False):
    cells = [f"{r.auroc:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in part.itertuples()]
    budget[group] = pd.Series(cells, index=part.run)
budget.loc[list(ways)].rename(index=ways)

# %% [markdown]
# The intervals overlap, and may: all ways were scored on the same people, so the question is whether the interval of the difference holds 0.

# %%
rows = []
for rival in ("nobody-probe", "nobody-bitfit", "nobody-lora", "nobody-full"):
    found = results.difference("nobody-LN+L2+UnAl", rival, seed=seed)
    found.insert(0, "LayerNorms minus", ways[rival])
    rows.append(found)
rivals = pd.concat(rows, ignore_index=True)
rivals["verdict"] = np.select([rivals.low > 0, rivals.high < 0], ["better", "worse"], "not shown")
rivals[["LayerNorms minus", "group", "difference", "low", "high", "verdict"]].round(3)

# %% [markdown]
# Read this as what it is: one small encoder, one head and loss (those of the full method), one rate each, 32 people.
# Under this head and loss no way to tune beats the probe clearly on people and forgeries that it has not seen, though all gain on the people who choose the epoch.
# Chapter 6 shows that plain LayerNorm tuning, with cross-entropy alone, does beat it.
# What does not depend on the small world is the size: thousands of numbers and kilobytes against millions and megabytes.
#
# ## What to remember
#
# * A LayerNorm's gain scales the columns of the layer behind it; its bias shifts that layer's bias. That is all tuning can do, and it is much.
# * PEFT has no vision defaults: name the modules, then count by a second route.
# * Start the head from the linear probe; otherwise the first steps push random directions into the LayerNorms.
# * An adapter is a file of kilobytes that belongs to one encoder. Store the hash of that encoder with it.
# * At equal budget, compare ways to tune by the interval of their difference on the same people; here most of these intervals hold 0.
#
# ## Limits and misuse
#
# LayerNorm tuning cannot add what the encoder never learnt: on a poor encoder it gives a poor detector.
# The fast profile trains for seconds on a few rendered people; its numbers are plumbing checks, not results.
# A small adapter is easy to share and easy to mistake for a finished detector: without a threshold, an interval and a scope it is none.
#
# ## Exercises
#
# 1. **Predict** (2 min). How many parameters would LayerNorm tuning train in a ViT with width 768 and 12 blocks, with one LayerNorm before and one after the blocks?
# 2. **Change** (5 min). Freeze all LayerNorms but the last one and count again. What can a last LayerNorm alone change?
# 3. **Build** (10 min). Show on one LayerNorm that a gain of zero removes a channel from the next layer.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
answer = (2 * 12 + 2) * 2 * 768
with torch.device("meta"):
    b16 = model.build("clip-b16", pretrained=False)
assert answer == adapters.count_layernorm(b16)
print(f"{answer:,}: two per block, one before, one after, gain and bias each")

# %% tags=["solution", "hide-cell"]
# The last one scales and shifts the feature itself: it re-weights the linear probe and moves no token before it.
*_, last = backbones.layernorm_modules(merged.encoder).values()
answer = sum(p.numel() for p in last.parameters())
assert answer == 2 * detector.encoder.spec.feature_dim
print(f"{answer:,} parameters")

# %% tags=["solution", "hide-cell"]
gain_without = torch.ones(8).index_fill(0, torch.tensor([3]), 0.0)
changed_input = x_hat.clone()
changed_input[:, 3] += 1.0
assert torch.equal((x_hat * gain_without) @ weight.T, (changed_input * gain_without) @ weight.T)
print("channel 3 no longer reaches the next layer")

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: LayerNorm tuning of CLIP, PE and DINOv3.
# * Ba, Kiros, Hinton, *Layer Normalization* (arXiv 1607.06450) [@ba2016layernorm]: the layer itself.
# * Zhao and others, *Tuning LayerNorm in Attention* (arXiv 2312.11420) [@zhao2023layernorm]: the same idea for language models, and the source of PEFT's `LNTuningConfig`.
# * Ben Zaken, Ravfogel, Goldberg, *BitFit* (arXiv 2106.10199) [@benzaken2022bitfit]: biases only, a close relative.
#
# ## Next
#
# Chapter 5 asks what the two losses on the sphere want; chapter 6 trains the whole method with `train.train`.
