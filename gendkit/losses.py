"""The losses of GenD: alignment and uniformity on the unit sphere, summed with cross-entropy.

Both metric losses are `pytorch_metric_learning` losses: call them as loss(embeddings, labels). They
**normalise what they are given** to unit length, so features may come with any length.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor, nn


def _check_finite(name: str, values: Tensor) -> None:
    bad = ~torch.isfinite(values.detach()).flatten(1).all(dim=1)
    if bad.any():
        rows = torch.nonzero(bad).flatten().tolist()
        raise ValueError(
            f"{name} hold NaN or infinity in batch rows {rows}, expected finite "
            "numbers; look at them, lower the learning rate, or train in float32"
        )


class _SphereLoss(BaseMetricLossFunction):
    """Common part: finite input in float32 or better, unit length, squared distances."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (
            isinstance(self.distance, LpDistance)
            and self.distance.normalize_embeddings
            and self.distance.p == 2
        ):
            raise ValueError(
                f"got distance={self.distance}, expected LpDistance(p=2) that "
                "normalises; leave `distance` out"
            )

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        if embeddings.ndim != 2:
            raise ValueError(
                f"got embeddings {tuple(embeddings.shape)}, expected (B, D); pool or "
                "flatten the features first"
            )
        if labels is not None and labels.shape != embeddings.shape[:1]:
            raise ValueError(
                f"got labels {tuple(labels.shape)}, expected ({len(embeddings)},), "
                "one per embedding; use labels.squeeze(1)"
            )
        if ref_emb is not None:
            raise ValueError("got ref_emb, expected None: this loss compares a batch with itself")
        _check_finite("embeddings", embeddings)
        if embeddings.dtype in (torch.float16, torch.bfloat16):
            embeddings = embeddings.float()  # squared distances lose all digits in half precision
        # autocast would compute the distances in half precision again
        with torch.autocast(embeddings.device.type, enabled=False):
            return super().forward(embeddings, labels, indices_tuple)

    def get_default_distance(self) -> LpDistance:
        return LpDistance(normalize_embeddings=True, p=2, power=1)

    def squared_distances(self, embeddings: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Squared distances of the pairs (i, j) of normalised embeddings, (P,)."""
        z = self.distance.maybe_normalize(embeddings)
        # 2 - 2 cos keeps a finite gradient where two embeddings are equal; a square root has none
        norms = (z * z).sum(dim=1)
        return (norms[i] + norms[j] - 2 * (z @ z.T)[i, j]).clamp(min=0)


class AlignmentLoss(_SphereLoss):
    """Mean squared distance between embeddings of one class: 0 where each class is one point.

    The mean runs over all pairs i < j of the batch with equal labels, or over the positive pairs of
    a miner. A batch without such a pair has loss 0 and gradient 0. Normalises the embeddings.

    Args:
        **kwargs: Options of `BaseMetricLossFunction`, such as reducer, embedding_regularizer.

    Source: GenD (arXiv 2508.06248), after Wang and Isola 2020 (arXiv 2005.10242).
    """

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor,
    ) -> dict[str, dict[str, Any]]:
        """Give the loss of every positive pair to the reducer (see `BaseMetricLossFunction`)."""
        if indices_tuple is None:
            if labels is None:
                raise ValueError("got labels=None, expected (B,) classes; alignment needs them")
            i, j = torch.triu_indices(len(labels), len(labels), 1, device=embeddings.device)
            same = labels[i] == labels[j]
            i, j = i[same], j[same]
        else:
            i, j, _, _ = lmu.convert_to_pairs(indices_tuple, labels)
        if len(i) == 0:
            zero = (embeddings * 0).sum()  # keeps the graph, for gradients and DDP
            return {"loss": {"losses": zero, "indices": None, "reduction_type": "already_reduced"}}
        losses = self.squared_distances(embeddings, i, j)
        return {"loss": {"losses": losses, "indices": (i, j), "reduction_type": "pos_pair"}}


class UniformityLoss(_SphereLoss):
    """Log of the mean Gaussian potential over all pairs: lower, the more evenly spread.

    log(max(mean over i < j of exp(-t * squared distance), 1e-6)). Labels are not used. Known values
    at t = 2: 0 for one point; near -4 for evenly spread points in many dimensions. Embeddings are
    normalised inside.

    Args:
        t: Sharpness of the potential, > 0.
        epsilon: Lower clamp of the mean, which bounds the loss and stops the gradient below it.
        **kwargs: Options of `BaseMetricLossFunction`.

    Raises:
        ValueError: For t or epsilon <= 0, or a batch of one.

    Source: GenD (arXiv 2508.06248), after Wang and Isola 2020 (arXiv 2005.10242).
    """

    def __init__(self, t: float = 2.0, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not t > 0 or not epsilon > 0:
            raise ValueError(f"got t={t}, epsilon={epsilon}, expected both > 0; try 2 and 1e-6")
        self.t = t
        self.epsilon = epsilon

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor,
    ) -> dict[str, dict[str, Any]]:
        """Give the reduced loss to the reducer (see `BaseMetricLossFunction`)."""
        n = len(embeddings)
        if n < 2:
            raise ValueError(
                "got a batch of 1, expected at least 2 samples: uniformity is a mean "
                "over pairs; use drop_last=True or a larger batch"
            )
        i, j = torch.triu_indices(n, n, 1, device=embeddings.device)
        potential = torch.exp(-self.t * self.squared_distances(embeddings, i, j)).mean()
        loss = potential.clamp(min=self.epsilon).log()
        return {"loss": {"losses": loss, "indices": None, "reduction_type": "already_reduced"}}


class GenDLoss(nn.Module):
    """The objective of GenD: cross-entropy + a * alignment + u * uniformity.

    Cross-entropy judges the logits; the other two judge the features, normalised to unit length. A
    weight of 0 switches a part off: it is then not computed.

    Args:
        alignment: Weight a >= 0; 0.1 in the paper.
        uniformity: Weight u >= 0; 0.5 in the paper.
        label_smoothing: Of the cross-entropy, in [0, 1).
        class_weight: (weight of real, weight of fake), or None for 1 and 1.

    Raises:
        ValueError: For weights or smoothing out of range.

    Source: GenD (arXiv 2508.06248), and github.com/yermandy/GenD at e03532d.
    """

    def __init__(
        self,
        alignment: float = 0.1,
        uniformity: float = 0.5,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if alignment < 0 or uniformity < 0 or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"got alignment={alignment}, uniformity={uniformity}, label_smoothing="
                f"{label_smoothing}, expected weights >= 0 and smoothing in [0, 1)"
            )
        if class_weight is not None and not (len(class_weight) == 2 and min(class_weight) > 0):
            raise ValueError(f"got class_weight={class_weight}, expected weights > 0: real, fake")
        self.weights = {"alignment": float(alignment), "uniformity": float(uniformity)}
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)
        self.label_smoothing = label_smoothing
        self.alignment = AlignmentLoss()
        self.uniformity = UniformityLoss()

    def forward(
        self, logits: Tensor, features: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the objective of one batch.

        Args:
            logits: (B, 2) float, order real, fake.
            features: (B, D) float, of any length.
            labels: (B,) int64, 0 or 1.

        Returns:
            loss (scalar) and its parts by name, detached and unweighted: cross_entropy, and
            alignment and uniformity where their weight is not 0.

        Raises:
            ValueError: For wrong shapes, or NaN or infinity (the batch rows are named).
        """
        if logits.ndim != 2 or logits.shape[1] != 2 or labels.shape != logits.shape[:1]:
            raise ValueError(
                f"got logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, "
                "expected (B, 2) and (B,); use labels.squeeze(1)"
            )
        _check_finite("logits", logits)
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        weight = None if self.class_weight is None else self.class_weight.to(logits.dtype)
        loss = nn.functional.cross_entropy(
            logits, labels, weight, label_smoothing=self.label_smoothing
        )
        parts = {"cross_entropy": loss.detach()}
        for name, share in self.weights.items():
            if share:
                part = getattr(self, name)(features, labels)
                parts[name] = part.detach()
                loss = loss + share * part
        return loss, parts
