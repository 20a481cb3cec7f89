"""Small things that several tests train: crops with a plain difference, and a detector in miniature."""

import itertools

import numpy as np
import pandas as pd
import torch
from PIL import Image

from gendkit import adapters, backbones
from gendkit import model as gend
from gendkit.recipe import TrainConfig

TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14}  # fmt: skip
FAST = TrainConfig(epochs=3, batch_size=8, learning_rate=3e-2, min_learning_rate=1e-3)


def tiny_model(seed=0, tune="layernorm", dropout=0.1):
    torch.manual_seed(seed)
    spec = backbones.config_of("clip-l14")["spec"]
    network = {**TINY, "attention_dropout": dropout}
    spec.update(name="tiny", hub_id="", feature_dim=16, image_size=28)
    config = gend.GenDConfig(
        backbone="tiny", encoder={"spec": spec, "model": network}, head="linear"
    )
    model = gend.GenDForImageClassification(config).eval()
    if tune == "layernorm":
        return adapters.tune(model)
    if tune == "head":
        model.encoder.requires_grad_(False)
    return model


def make_crops(root):
    """Write crops in which fakes are a little redder than their reals; return folder and table."""
    root.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for role, n in (("fit", 6), ("select", 4), ("report", 2)):
        for source, frame in itertools.product(range(n), range(2)):
            face = rng.integers(60, 180, (30, 30, 3), dtype=np.uint8)
            for method, red in (("real", 0), ("DF", 40), ("NT", 25)):
                path = f"{role}_{method}_{source}_{frame}.png"
                Image.fromarray(face + np.array([red, 0, 0], np.uint8)).save(root / path)
                rows.append({
                    "path": path, "dataset": "toy", "method": method, "compression": "c23",
                    "video_id": f"{role}{source}", "source_id": f"{role}{source}", "role": role,
                    "label": int(method != "real"), "frame": frame,
                })  # fmt: skip
    return root, pd.DataFrame(rows)


def tuned(model):
    return {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
