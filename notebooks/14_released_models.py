# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14. The released models: load, score, adapt, publish
#
# What was released, how to load it without its authors' code, and how to share a model of your own so that others can use it and know its limits.
#
# | time | fast 25 s (CPU, 2 cores) | level | intermediate | needs | 00, 04 |
# |---|---|---|---|---|---|
#
# **You will learn** to load a released GenD model by its name, to score a still and a clip with it, to shrink it to an adapter of less than half a megabyte and get it back bit for bit,
# to publish a model with a card, and to export it to ONNX.
#
# **Why it matters.** A detector is only as useful as its file.
# If loading needs code from a stranger, a gated download or an old library, nobody checks the paper's claim, and nobody builds on it.
# If a file travels without its preprocessing, threshold and limits, somebody will use it for what it cannot do.
# This chapter treats the file as part of the method.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
released: str = ""  # id on the hub, such as yermandy/GenD_CLIP_L_14; empty makes a small one here
n_frames: int = 4  # frames of a clip
n_crops: int = 16  # crops on which formats are compared

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.
# On Colab, clone the repository first.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces,onnx]"
    pass

import json
import math
import shutil
import warnings

import numpy as np
import pandas as pd
import torch
from peft import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline
from transformers.utils import logging

import gendkit
from gendkit import (
    adapters,
    backbones,
    checkpoints,
    hub,
    layouts,
    manifest,
    model,
    onnx_export,
    plots,
    publish,
    repro,
    score,
    tensors,
    video,
)
from gendkit.model import GenDImageProcessor

logging.disable_progress_bar()
repro.seed_all(seed)
data = repro.data_dir(data_dir)
out = repro.out_dir(out_dir) / "14"
out.mkdir(parents=True, exist_ok=True)
print(f"gendkit {gendkit.__version__}, torch {torch.__version__}, profile {profile}, seed {seed}")

# %% [markdown]
# ## What was released
#
# The paper's authors released three detectors, one on each encoder.
#
# | model on the hub | base encoder | licence | to know |
# |---|---|---|---|
# | `yermandy/GenD_CLIP_L_14` | CLIP ViT-L/14 | MIT (second-hand) | the GenD (CLIP) model of the paper's Table 2 |
# | `yermandy/GenD_PE_L` | Perception Encoder L/14, made for 336 pixels, run at 224 | not stated in our sources | needs timm to run: `pip install "gendkit[pe]"` |
# | `yermandy/GenD_DINOv3_L` | DINOv3 ViT-L/16 | not stated in our sources | its base encoder is gated: the hub asks for a token |
#
# The official code is under MIT. Weights may be bound by more: by the terms of the base encoder, and by those of the training data, FaceForensics++.
# Look at the model page before you use one for more than a try.
#
# The official loader asks for the base encoder first, so it wants the gated repository although the released file holds every weight, and it fails on transformers 5.
# This kit builds the encoder from a table of architectures and never asks for the base.
#
# How large are they, and how much of them was trained?
# Both questions are about names and shapes, so no weight is needed to answer: the list of tensors that a released file must hold is computed, and a parameter counts as trained if it belongs to a LayerNorm or to the head.

# %%
FROM_THE_CODE = {  # counted by running the official code, paper notes 3.4
    "clip-l14": (303_968_258, 104_450),
    "pe-l": (316_104_706, 106_498),
    "dinov3-l": (303_131_650, 102_402),
}
rows = []
for hub_id, name in layouts.RELEASED.items():
    places = checkpoints.wanted(backbones.config_of(name))
    sizes = {place: math.prod(shape) for place, shape in places.items()}
    norms = [n for (_, key), n in sizes.items() if "norm" in key.split(".")[-2:][0]]
    heads = [n for (part, _), n in sizes.items() if part == "head"]
    found = (sum(sizes.values()), sum(norms) + sum(heads))
    rows.append([hub_id, len(sizes), *found, f"{found[1] / found[0]:.4%}"])
    assert found == FROM_THE_CODE[name], name
pd.DataFrame(rows, columns=["model", "tensors", "parameters", "trained", "share"])

# %% [markdown]
# All six numbers are those of the official code; the cell would stop otherwise.
# For two of the encoders there is a second route that knows nothing of names: build the network on the meta device, which holds no numbers, let PEFT tune it, and count `requires_grad`.

# %%
for name in ("clip-l14", "dinov3-l"):
    with torch.device("meta"):
        tuned = adapters.tune(model.build(name, pretrained=False))
    trained, total = adapters.count_trainable(tuned)
    assert trained == FROM_THE_CODE[name][1]
    print(f"{name:9} {trained:,} trained of {total:,}")

# %% [markdown]
# The total of CLIP is smaller here by its projection to the text space, $768 \times 1024$ weights, which the official file holds and no score depends on.
#
# The size of the file can be computed, too. A safetensors file is eight bytes, a JSON table of names, shapes and offsets padded to a multiple of eight, and the numbers.


# %%
def file_size(shapes):
    """Bytes of a float32 safetensors file with these tensors."""
    at, table = 0, {"__metadata__": {"format": "pt"}}
    for key, shape in sorted(shapes.items()):
        end = at + 4 * math.prod(shape)
        table[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return 8 + math.ceil(len(json.dumps(table, separators=(",", ":"))) / 8) * 8 + at


# %%
clip = checkpoints.wanted(backbones.config_of("clip-l14"))
whole = {checkpoints.official_name("clip", *place): shape for place, shape in clip.items()}
with torch.device("meta"):
    tuned = adapters.tune(model.build("clip-l14", pretrained=False))
stored = get_peft_model_state_dict(tuned, save_embedding_layers=False)
part = {name: tuple(value.shape) for name, value in stored.items()}
sizes = {"whole detector": file_size(whole), "adapter": file_size(part)}
for what, size in sizes.items():
    print(f"CLIP ViT-L/14, {what}: {size:,} bytes")
assert sizes["whole detector"] == 1_215_928_160  # the size of the file on the hub
plots.parameter_bars(
    {
        "whole detector": sum(map(math.prod, whole.values())),
        "adapter": FROM_THE_CODE["clip-l14"][1],
    },
    total=FROM_THE_CODE["clip-l14"][0],
    title="What was learnt is a sliver",
    profile=profile,
    caption="GenD on CLIP ViT-L/14, counted from shapes",
)

# %% [markdown]
# The computed size is the size of the file on the hub to the byte, so names and shapes are right: it is what the kit would read.
#
# ## Load one
#
# With a network, one line loads a released model, in evaluation mode, float32, from safetensors only:
#
# ```python
# detector = gendkit.from_pretrained("yermandy/GenD_CLIP_L_14")
# ```
#
# This chapter runs offline, so unless the parameter `released` names a model, it makes a small one in the same layout.
# The embedded encoder plays the part of CLIP; the projection to the text space, which it does not have, is random, since no score reads it.
# The detector is the embedded one, written by `hub.to_official` with the tensor names of the released files.

# %%
base = out / "nobody-clip"
base.mkdir(exist_ok=True)
encoder = backbones.load("embedded")
names = {layouts.core_key(name): value for name, value in encoder.vision.state_dict().items()}
state = {f"vision_model.{name}": value.contiguous() for name, value in names.items()}
model_config = {"model_type": "clip_vision_model", **encoder.config["model"]}
state["visual_projection.weight"] = torch.randn(
    model_config["projection_dim"], encoder.spec.feature_dim
)
save_file(state, base / "model.safetensors")
repro.write_json(base / "config.json", model_config)

embedded = gendkit.from_pretrained(data / "weights" / "detector")
embedded.config.backbone = base.name
made = hub.to_official(embedded, out / "GenD_nobody", base=base)
print((made / "config.json").read_text())
print(*list(load_file(made / "model.safetensors"))[-4:], sep="\n")

# %% [markdown]
# From here on it does not matter where the model comes from.
# The kit says what it is; the preprocessing comes from the facts about its encoder.

# %%
source = released or str(made)
detector = gendkit.from_pretrained(source)
print(
    f"{detector.config.backbone}, head {detector.config.head}, classes {detector.config.id2label}"
)
print(f"{sum(p.numel() for p in detector.parameters()):,} parameters")
print(GenDImageProcessor.from_spec(detector.encoder.spec))

# %% [markdown]
# Is the converted model the one it was made from?
# Real crops decide, not a look at the names: faces of the *report* people, cut by their true landmarks.

# %%
crops = onnx_export.nobody_crops(n_crops)
pixels = GenDImageProcessor.from_spec(detector.encoder.spec)(crops)["pixel_values"]


def p_fake(network):
    with torch.inference_mode():
        return network(pixels).logits.softmax(-1)[:, 1].numpy()


before = p_fake(detector)
if not released:
    print(
        f"largest difference to the embedded detector: {abs(p_fake(embedded) - before).max():.1e}"
    )
print(f"P(fake) of {n_crops} reals: {before.min():.3f} to {before.max():.3f}")

# %% [markdown]
# The largest difference is rounding: the factor on the features, 10, was multiplied into the head.
#
# ## Score a still and a clip
#
# `score.load` takes the same names and folders, and `score.score_files` does what `gendkit score FILE... --model ID` does:
# it finds the faces, cuts them with the margin the model was trained on, and takes the mean over the frames of a clip.

# %%
videos = manifest.read(data / "nobody" / "manifest.csv")
clips = videos[(videos.role == "report") & videos.method.isin(["real", "FS", "SBI"])]
clips = clips[clips.source_id == clips.source_id.iloc[0]]
files = {row.method: data / "nobody" / row.path for row in clips.itertuples()}
still = out / "still.png"
Image.fromarray(video.read_frames(files["real"], [0])[0]).save(still)
files = {"still": still, **files}

# %%
user = score.load(source, device="cpu")
judged = {}
with score.interpreted():  # a few files are scored sooner without a compiler
    found = score.score_files(
        list(files.values()),
        user,
        n_frames=n_frames,
        seen=lambda result, faces: judged.update({result.path: faces}),
    )
    results = dict(zip(files, found, strict=True))
table = pd.DataFrame([result.to_dict() for result in results.values()], index=list(results))
table[["status", "n_frames", "n_faces", "p_fake", "call"]]

# %%
plots.contact_sheet(
    [judged[result.path][0] for result in results.values()],
    [f"{name}: P(fake) = {result.p_fake:.2f}" for name, result in results.items()],
    n_columns=4,
    title="What it was shown, and what it said",
    profile=profile,
)

# %% [markdown]
# There is no call, because an official file carries no threshold:

# %%
print(score.explain(user.threshold))
print(score.MEANING)

# %% [markdown]
# One person and a handful of files say nothing about how good a model is; chapter 7 measures that.
#
# ## An adapter: what was learnt, and nothing else
#
# LayerNorm tuning leaves most tensors of the encoder as they were, so the released file repeats the public encoder.
# `hub.to_adapter` takes it apart: it compares every tensor with the base encoder, refuses if anything but LayerNorms and head differs, and stores these with a hash of the rest.
# On the command line: `gendkit convert yermandy/GenD_CLIP_L_14 OUT --to adapter`.

# %%
where = None if released else base
adapter = hub.to_adapter(source, out / "adapter", base=where)
back = hub.to_official(adapter, out / "back", base=where)
parts = load_file(adapter / "adapter_model.safetensors")
print(f"adapter: {sum(v.numel() for v in parts.values()):,} numbers in {len(parts)} tensors")
assert (
    file_size({k: v.shape for k, v in parts.items()})
    == (adapter / "adapter_model.safetensors").stat().st_size
)
for folder in (adapter, back):
    for path in sorted(folder.glob("*.safetensors")):
        print(f"{folder.name:8} {path.name:28} {path.stat().st_size:>13,} bytes")

# %% [markdown]
# The size of this adapter is the one that `file_size` computes for its tensors, so the size computed for the large one can be believed, too.
# "The same" has a strict meaning here: the file that comes back has the same hash as the one that went in.

# %%
start = made if not released else tensors.fetch(released)
hashes = [repro.sha256(folder / "model.safetensors") for folder in (start, back)]
print(*hashes, sep="\n")
assert hashes[0] == hashes[1]
again = gendkit.from_pretrained(adapter, base=where)
print(f"scores from the adapter differ by {abs(p_fake(again) - before).max():.1e}")

# %% [markdown]
# For CLIP ViT-L/14 that is the ratio computed above: a file to mail instead of one to host.
# The price is a dependency: an adapter is worth something only together with exactly the encoder it was tuned on, so it is checked by hash, and a base that differs in one bit is refused.
#
# ## Publish one of your own
#
# A model for others needs four things that training does not leave in the weights: the preprocessing, the threshold with the set it comes from, the measured numbers with their intervals, and a statement of limits and licence.
# `publish.write` collects them from the records of the run; the command is `gendkit publish RUN --out FOLDER --dry-run`.
# What no record holds, the card says is missing. A licence is asked for where it cannot be known.

# %%
folder = out / "release"
facts = publish.write("embedded", folder, repo_id="somebody/nobody-detector")
for name, file in facts["files"].items():
    print(f"{name:26} {file['bytes']:>10,} bytes  sha256 {file['sha256'][:12]}")
print(f"loaded back: scores differ by {facts['difference']:.1e}")

# %%
head, _, body = (folder / "README.md").read_text().partition("\n---\n")
print(head[:420], "...", sep="\n")
print(*[line for line in body.splitlines() if line.startswith("## ")], sep="\n")

# %% [markdown]
# The first lines are for the hub: licence, task, and one entry for each measured AUROC.
# The rest is for people.
# Without `--dry-run`, and with `--repo-id` and a token in `HF_TOKEN`, the command uploads the folder.
#
# Whoever downloads it needs no training code.
# The package registers the model type, and transformers does the rest; torch, transformers, NumPy, Pillow and safetensors are enough.

# %%
classify = pipeline("image-classification", model=str(folder), device="cpu")
answers = classify([Image.fromarray(crop) for crop in crops])
piped = [next(row["score"] for row in rows if row["label"] == "fake") for rows in answers]
native = score.score_crops(score.load(folder, device="cpu"), crops)
print(
    f"pipeline against the kit, {n_crops} crops: at most {np.abs(piped - native).max():.1e} apart"
)
print(score.explain(score.load(folder, device="cpu").threshold))

# %% [markdown]
# ## Without PyTorch: ONNX
#
# To run where PyTorch does not, encoder, head and softmax become one ONNX file: pixels in, P(fake) out, any batch.
# The facts of the preprocessing travel inside the file, because a network without them gives plausible and wrong scores.
# The command is `gendkit export MODEL --out model.onnx`.

# %%
mine = score.load("embedded", device="cpu")
path = out / "detector.onnx"
stored = onnx_export.export(mine, path)
found = onnx_export.parity(path, mine, crops)
print(f"{path.stat().st_size:,} bytes, sha256 {repro.sha256(path)[:12]}")
print(json.dumps(stored["pixels"], indent=1))
print(f"{found['n']} crops: at most {found['difference']:.1e} apart")
assert found["difference"] < onnx_export.TOLERANCE

# %% [markdown]
# ## What to remember
#
# * A released GenD model is a base encoder that did not change, LayerNorms that did, and a small head; an adapter holds what changed and gives the file back bit for bit.
# * Names, shapes and counts can be checked without weights, and scores must be checked with real crops.
# * Crop, preprocessing and threshold are part of a model. A file without them invites wrong use.
# * A card states what was measured, with intervals, and what was not.
#
# ## Limits and misuse
#
# No released weight was loaded for the pages of this book: they cannot be fetched where it is built.
# What stands in for them has their layout, their names and their calls, at a hundredth of the size; three random checkpoints of the official code are compared with its numbers in the tests.
# The released models were trained on FaceForensics++ and see single faces; they are no judge of sound, of fully generated scenes, or of people unlike those in their data.
# A score of theirs is no proof. Do not publish a detector without saying what it cannot do.
#
# ## Exercises
#
# 1. **Predict** (3 min). The adapter of the CLIP model holds 104,450 numbers. How many bytes of its file are not numbers, and is an adapter in float16 half as large?
# 2. **Change** (5 min). Delete `head` from the `config.json` of the official checkpoint and load it. What happens to the scores, and why does nothing crash?
# 3. **Build** (10 min). Score the crops with the ONNX file, NumPy and Pillow alone, from the facts stored in the file.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["solution", "hide-cell"]
numbers = 4 * FROM_THE_CODE["clip-l14"][1]
answer = sizes["adapter"] - numbers
print(f"{answer:,} of {sizes['adapter']:,} bytes are the table of names")
half = (numbers / 2 + answer) / sizes["adapter"]
print(f"in float16 it would be {half:.0%} of the size, at the price of the bit-identical way back")
assert sizes["adapter"] > numbers and half > 0.5

# %% tags=["solution", "hide-cell"]
broken = out / "GenD_broken"
shutil.copytree(made, broken, dirs_exist_ok=True)
config = repro.read_json(broken / "config.json")
repro.write_json(broken / "config.json", {k: v for k, v in config.items() if k != "head"})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = gendkit.from_pretrained(broken)
print(caught[0].message)
processor = GenDImageProcessor.from_spec(wrong.encoder.spec)
with torch.inference_mode():
    logits = [network(processor(crops)["pixel_values"]).logits for network in (wrong, embedded)]
change = (logits[0].softmax(-1) - logits[1].softmax(-1))[:, 1].abs().max()
print(f"every tensor fits, and scores move by up to {change:.2f}: the features are not normalised")
assert wrong.config.head == "linear" and change > 0.01

# %% tags=["solution", "hide-cell"]
facts = onnx_export.facts_of(path)["pixels"]
side = facts["image_size"]
small = [
    np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in crops
]
scaled = (np.stack(small) / 255 - facts["image_mean"]) / facts["image_std"]
answer = onnx_export.run(path, scaled.transpose(0, 3, 1, 2))
print(f"largest difference to PyTorch: {np.abs(answer - found['p_torch']).max():.1e}")
assert np.abs(answer - found["p_torch"]).max() < 1e-4

# %% [markdown]
# ## Further reading
#
# * Yermakov, Cech, Matas, Fritz, *Deepfake Detection that Generalizes Across Benchmarks* (arXiv 2508.06248) [@yermakov2025gend]: the method and the numbers that the released models are reported with.
# * Mitchell and others, *Model Cards for Model Reporting* (arXiv 1810.03993) [@mitchell2019cards]: what a card should say, and for whom.
# * Wolf and others, *HuggingFace's Transformers* (arXiv 1910.03771) [@wolf2020transformers]: the library whose Auto classes and pipeline load what we publish.
#
# ## Next
#
# Chapter 90 puts the paper's tables beside what this kit measures. The page on citing says whom to name when you use one of these models.
