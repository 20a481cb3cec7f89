"""Linear probes: what can be read off frozen features by a straight line, and how sure that is.

A probe that reads an attribute says that the features hold it in a linear form; a probe that fails says only
that a line does not find it. Everything here is fitted on some people and judged on others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from gendkit import metrics
from gendkit.backbones import Encoder, layernorm_modules

ALPHAS = tuple(10.0**k for k in range(-1, 6))  # penalties that the attribute probe chooses from


class TokenMean(nn.Module):
    """An encoder that gives its pooled feature and the mean of its patch tokens, in one pass.

    For `evaluate.cache_features`: the first D columns are what the detector reads, the last D the mean.

    Args:
        encoder: A loaded encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode (B, 3, S, S) to {"features": (B, 2 D)}."""
        encoder = self.encoder
        if encoder.spec.family == "pe":
            pooled, tokens = encoder(pixel_values), encoder.tokens(pixel_values)
        else:
            output = encoder.vision(pixel_values=pixel_values)
            n_patches = (pixel_values.shape[-1] // int(encoder.config["model"]["patch_size"])) ** 2
            pooled, tokens = output.pooler_output, output.last_hidden_state[:, -n_patches:]
        return {"features": torch.cat([pooled, tokens.mean(dim=1)], dim=1)}


def anatomy(encoder: Encoder) -> pd.Series:
    """Count an encoder's parts; it may live on the meta device, which holds no numbers.

    Args:
        encoder: CLIP or DINOv3 encoder.

    Returns:
        image side and patch side (pixels), tokens (patches + 1), width, blocks, LayerNorms, and parameters: in
        all, and of the patch layer, positions and class token, LayerNorms, attention, MLPs. What is left (such
        as layer scales) is the rest.

    Raises:
        ValueError: For the family "pe", whose blocks have other names.
    """
    if encoder.spec.family == "pe":
        raise ValueError(
            "anatomy knows CLIP and DINOv3 encoders; count pe with adapters.count_trainable"
        )
    model, walk = encoder.config["model"], layernorm_modules(encoder)
    norms = {f"{name}.{part}" for name in walk for part in ("weight", "bias")}
    counts = dict.fromkeys(
        ["patch layer", "positions, class token", "LayerNorms", "attention", "MLPs"], 0
    )
    for name, value in encoder.named_parameters():
        kinds = {
            "LayerNorms": name in norms,
            "patch layer": "patch_embedding" in name,
            "positions, class token": ".embeddings." in name,
            "attention": "attn" in name or "attention" in name,
            "MLPs": ".mlp." in name,
        }
        kind = next((kind for kind, found in kinds.items() if found), "rest")
        counts[kind] = counts.get(kind, 0) + value.numel()
    side, patch = encoder.spec.image_size, int(model["patch_size"])
    facts = {"image side": side, "patch side": patch, "tokens": (side // patch) ** 2 + 1,
             "width": encoder.spec.feature_dim, "blocks": int(model["num_hidden_layers"]),
             "LayerNorm layers": len(walk), "parameters": sum(counts.values())}  # fmt: skip
    return pd.Series(facts | counts)


def fit_probe(features: np.ndarray, labels: np.ndarray, strength: float = 0.1) -> Any:
    """Fit the linear probe for real and fake: a logistic regression on standardised features.

    Args:
        features: (N, D).
        labels: (N,) 0 or 1; both classes count as much, whatever their numbers.
        strength: Inverse of the penalty, > 0: small is a smooth probe, large one that fits what it sees.

    Returns:
        Fitted scikit-learn pipeline; ``predict_proba(features)[:, 1]`` is P(fake).

    Raises:
        ValueError: For one class, unequal lengths, numbers that are not finite, or a strength <= 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or set(labels) != {0, 1}:
        raise ValueError(
            f"got features {features.shape} and labels {labels.shape} with classes {sorted(set(labels))}, "
            "expected (N, D) and (N,) with both 0 and 1"
        )
    if not strength > 0:
        raise ValueError(f"got strength={strength}, expected a number > 0; 0.1 is usual")
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)


def probe_scores(probe: Any, features: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """Score crops with a probe, as `evaluate.score` does with a detector.

    Args:
        probe: From `fit_probe`.
        features: (N, D).
        table: N rows of a frame manifest.

    Returns:
        The table with p_fake.
    """
    if len(features) != len(table):
        raise ValueError(f"got {len(features)} features and {len(table)} rows, expected equal")
    return table.reset_index(drop=True).assign(p_fake=probe.predict_proba(features)[:, 1])


def regularisation_path(
    features: np.ndarray,
    table: pd.DataFrame,
    strengths: Sequence[float],
    roles: Sequence[str] = ("fit", "select"),
    n_bootstrap: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit the probe on the role fit with several penalties, and judge each.

    Args:
        features: (N, D) of all rows.
        table: Frame manifest, N rows, with the role fit and those of `roles`.
        strengths: Inverse penalties.
        roles: Roles to judge on; a choice is made on select, never on report.
        n_bootstrap: Resamples of people behind the intervals.
        seed: Of the resampling.

    Returns:
        One row per strength and role: strength, role, auroc, low, high (video level), and norm, the length of
        the probe's weights in standardised features.
    """
    table = table.reset_index(drop=True)
    fit, rows = (table["role"] == "fit").to_numpy(), []
    for strength in strengths:
        probe = fit_probe(features[fit], table.loc[fit, "label"], strength)
        norm = float(np.linalg.norm(probe[-1].coef_))
        for role in roles:
            own = (table["role"] == role).to_numpy()
            videos = metrics.video_scores(probe_scores(probe, features[own], table[own]))
            found = metrics.bootstrap(videos, n=n_bootstrap, seed=seed)
            facts = {"strength": strength, "role": role, "auroc": found.value}
            rows.append(facts | {"low": found.low, "high": found.high, "norm": norm})
    return pd.DataFrame(rows)


def attribute_probes(
    features: Mapping[str, np.ndarray],
    targets: pd.DataFrame,
    groups: Sequence[Any],
    n_folds: int = 10,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask several kinds of features for known attributes of people, one row per person.

    Ridge regression; its penalty is chosen inside each training part. A number is judged by R^2 (1 is exact, 0 is
    no better than the mean of the training people), a yes/no column (bool) by the AUROC of the prediction.

    Args:
        features: Name -> (P, D), one row per person.
        targets: P rows, one column per attribute: numbers, or bool.
        groups: (P,) people of one group stay on one side.
        n_folds: Parts of the cross-fitting.
        n_bootstrap: Resamples of people behind the intervals.
        seed: Of folds and resampling.

    Returns:
        One row per attribute and kind of features: attribute, features, measure ("R2" or "AUROC"), chance (0 or
        0.5), value, low, high (95 %, the predictions held fixed), n_people, n_yes (of a bool, else 0).

    Raises:
        ValueError: If lengths differ or a bool has one value.
    """
    from sklearn.model_selection import GroupKFold

    n, rows = len(targets), []
    wrong = [name for name, values in features.items() if len(values) != n]
    if wrong or len(groups) != n:
        raise ValueError(
            f"got {n} people, {len(groups)} groups and other lengths for {wrong}; expected one row per person"
        )
    draws = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n))
    folds = GroupKFold(n_folds, shuffle=True, random_state=seed)
    for attribute in targets:
        binary = targets[attribute].dtype == bool
        truth = targets[attribute].to_numpy(float)
        if binary and len(set(truth)) < 2:
            raise ValueError(f"every person has the same {attribute!r}; there is nothing to tell")
        for name, values in features.items():
            told, without = _cross_fitted(np.asarray(values, float), truth, folds, groups)
            judge = _share_of_pairs if binary else _explained
            again = [judge(truth[d], told[d], without[d]) for d in draws if len(set(truth[d])) > 1]
            low, high = np.quantile(again, [0.025, 0.975])
            rows.append({
                "attribute": attribute, "features": name, "measure": "AUROC" if binary else "R2",
                "chance": 0.5 if binary else 0.0, "value": judge(truth, told, without), "low": low, "high": high,
                "n_people": n, "n_yes": int(truth.sum()) if binary else 0,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _cross_fitted(
    features: np.ndarray, truth: np.ndarray, folds: Any, groups: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Tell each person by a probe that saw other groups; and by the mean of those groups alone."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    told, without = np.empty(len(truth)), np.empty(len(truth))
    for train, test in folds.split(features, truth, groups):
        probe = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(features[train], truth[train])
        told[test], without[test] = probe.predict(features[test]), truth[train].mean()
    return told, without


def _explained(truth: np.ndarray, told: np.ndarray, without: np.ndarray) -> float:
    return float(1 - np.sum((truth - told) ** 2) / np.sum((truth - without) ** 2))


def _share_of_pairs(truth: np.ndarray, told: np.ndarray, without: np.ndarray) -> float:
    # The training mean falls where the left-out people are high: kept in, it would order them backwards.
    score = told - without
    return float(metrics.weighted_auroc(truth.astype(int), score, np.ones((1, len(score))))[0])


def per_person(
    features: np.ndarray, people: Sequence[str], order: Sequence[str] | None = None
) -> pd.DataFrame:
    """Average the rows of each person.

    Args:
        features: (N, D).
        people: (N,) identities.
        order: Identities of the rows wanted; None for sorted.

    Returns:
        Table (P, D), index identity.
    """
    means = pd.DataFrame(np.asarray(features, np.float64)).groupby(np.asarray(people)).mean()
    return means if order is None else means.loc[list(order)]


def variance_shares(features: np.ndarray, table: pd.DataFrame) -> pd.Series:
    """Split the variance of features into what differs between people, versions and frames.

    Args:
        features: (N, D).
        table: N rows of a frame manifest, every person with the same versions (real and its fakes).

    Returns:
        Shares that sum to 1: "person"; "real or fake" (the mean difference of the two classes); "manipulation" (the
        other mean differences between versions); "person x version" (what a version changes in one person
        and not in all); "frame" (the rest).

    Source: sums of squares of a two-way layout with replicates, Scheffe 1959, chapter 4; with unequal numbers of
    frames the shares are those of the weighted means.
    """
    frame = pd.DataFrame(np.asarray(features, np.float64))
    frame = frame - frame.mean()
    person, version = table["source_id"].to_numpy(), table["method"].to_numpy()
    label = table["label"].to_numpy()
    total = float((frame**2).to_numpy().sum())

    def explained(*keys: np.ndarray) -> float:
        return float((frame.groupby(list(keys)).transform("mean") ** 2).to_numpy().sum()) / total

    people, classes, versions = explained(person), explained(label), explained(version)
    cells = explained(person, version)
    return pd.Series({
        "person": people, "real or fake": classes, "manipulation": versions - classes,
        "person x version": cells - people - versions, "frame": 1 - cells,
    })  # fmt: skip
