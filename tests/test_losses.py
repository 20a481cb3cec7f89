"""losses: parity with the official numbers, closed forms, loops, gradients, errors."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import SumReducer

from gendkit.losses import AlignmentLoss, GenDLoss, UniformityLoss

TOLERANCE = 1e-9


def fixtures(data):
    with np.load(data / "losses.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("k", [0, 2, 3, 4])
def test_parity_with_the_official_code(data, k):
    file = fixtures(data)
    z, y = torch.from_numpy(file[f"z{k}"]), torch.from_numpy(file[f"y{k}"])
    assert abs(AlignmentLoss()(z, y).item() - file[f"alignment{k}"]) < TOLERANCE
    assert abs(UniformityLoss()(z).item() - file[f"uniformity{k}"]) < TOLERANCE
    # lengths must not matter: the losses normalise
    lengths = torch.linspace(0.1, 50, len(z), dtype=z.dtype)[:, None]
    assert abs(AlignmentLoss()(z * lengths, y).item() - file[f"alignment{k}"]) < TOLERANCE
    assert abs(UniformityLoss()(z * lengths, y).item() - file[f"uniformity{k}"]) < TOLERANCE


def slow(z, y, t=2.0, epsilon=1e-6):
    """Both losses by explicit loops over plain numbers."""
    z = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z.tolist()]
    same, potential = [], []
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            d = sum((a - b) ** 2 for a, b in zip(z[i], z[j], strict=True))
            potential.append(math.exp(-t * d))
            if y[i] == y[j]:
                same.append(d)
    mean = sum(potential) / len(potential)
    return sum(same) / len(same) if same else 0.0, math.log(max(mean, epsilon))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("seed", range(4))
def test_against_loops(seed, dtype, tolerance):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(3 + 4 * seed, 5, generator=generator, dtype=dtype) * 7
    y = torch.randint(0, 3, (len(z),), generator=generator)
    alignment, uniformity = slow(z, y)
    assert AlignmentLoss()(z, y).item() == pytest.approx(alignment, abs=tolerance)
    assert UniformityLoss()(z).item() == pytest.approx(uniformity, abs=tolerance)
    assert UniformityLoss(t=0.5)(z).item() == pytest.approx(slow(z, y, t=0.5)[1], abs=tolerance)


def test_closed_forms():
    north = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    n = 50
    z = torch.cat([north.expand(n, 3), -north.expand(n, 3)])
    y = torch.arange(2).repeat_interleave(n)
    # two antipodal classes: within a class distance 0, across squared distance 4
    within, across = 2 * n * (n - 1) / 2, n * n
    expected = math.log((within + across * math.exp(-8)) / (within + across))
    assert AlignmentLoss()(z, y).item() == pytest.approx(0, abs=1e-12)
    assert UniformityLoss()(z).item() == pytest.approx(expected, abs=1e-12)
    assert AlignmentLoss()(z, 1 - y * 0).item() == pytest.approx(4 * across / (within + across))
    # one point
    assert UniformityLoss()(z[:n]).item() == pytest.approx(0, abs=1e-12)
    # orthogonal directions: every squared distance is 2
    eye = torch.eye(6, dtype=torch.float64)
    assert UniformityLoss()(eye).item() == pytest.approx(-4)
    assert AlignmentLoss()(eye, torch.zeros(6).long()).item() == pytest.approx(2)
    # the clamp: two antipodal points at a sharp potential
    assert UniformityLoss(t=100)(z[[0, -1]]).item() == pytest.approx(math.log(1e-6))


@pytest.mark.parametrize("case", ["random", "one point", "antipodal", "no pair", "huge", "tiny"])
def test_gradients_are_finite(case):
    z = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1] * 4)
    if case == "one point":
        z = z[:1].repeat(8, 1)
    elif case == "antipodal":
        z = z[:1] * (2 * y - 1)[:, None]
    elif case == "no pair":
        y = torch.arange(8)
    elif case in ("huge", "tiny"):
        z = z * (1e15 if case == "huge" else 1e-8)
    z.requires_grad_()
    loss = AlignmentLoss()(z, y) + UniformityLoss()(z, y)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_gradients_are_right():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z.requires_grad_()
    y = torch.tensor([0, 0, 1, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda x: AlignmentLoss()(x, y), z)
    assert torch.autograd.gradcheck(lambda x: UniformityLoss()(x), z)


def test_no_positive_pair_gives_zero_and_keeps_the_graph():
    z = torch.randn(4, 3, requires_grad=True)
    loss = AlignmentLoss()(z, torch.arange(4))
    loss.backward()
    assert loss.item() == 0 and (z.grad == 0).all()


def test_they_are_metric_learning_losses():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    y = torch.tensor([0, 0, 0, 1, 1, 2])
    assert all(issubclass(kind, BaseMetricLossFunction) for kind in (AlignmentLoss, UniformityLoss))
    # four positive pairs: a sum is four means; a miner's pairs are the ones used
    total = AlignmentLoss(reducer=SumReducer())(z, y)
    assert total.item() == pytest.approx(4 * AlignmentLoss()(z, y).item(), rel=1e-5)
    unit = torch.nn.functional.normalize(z)
    pair = tuple(torch.tensor(v) for v in ([0], [2], [0], [5]))
    mined = AlignmentLoss()(z, y, indices_tuple=pair).item()
    assert mined == pytest.approx(((unit[0] - unit[2]) ** 2).sum().item(), rel=1e-5)
    with pytest.raises(ValueError, match="leave `distance` out"):
        AlignmentLoss(distance=CosineSimilarity())


def test_half_precision_is_computed_in_float():
    z = torch.randn(16, 32, generator=torch.Generator().manual_seed(3))
    y = torch.arange(16) % 2
    want = UniformityLoss()(z).item()
    for dtype in (torch.bfloat16, torch.float16):
        got = UniformityLoss()(z.to(dtype))
        assert got.dtype == torch.float32 and got.item() == pytest.approx(want, abs=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert UniformityLoss()(z).item() == pytest.approx(want, abs=1e-6)
        assert AlignmentLoss()(z, y).dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_names_the_rows(bad):
    z, y = torch.ones(5, 3), torch.tensor([0, 1, 0, 1, 0])
    z[1, 2] = z[4, 0] = bad
    for call in (
        lambda: AlignmentLoss()(z, y),
        lambda: UniformityLoss()(z),
        lambda: GenDLoss()(torch.zeros(5, 2), z, y),
        lambda: GenDLoss()(z[:, :2] + z[:, 1:], torch.ones(5, 3), y),
    ):
        with pytest.raises(ValueError, match=r"rows \[1, 4\].*lower the learning rate"):
            call()


def test_errors():
    z, y = torch.ones(4, 3), torch.zeros(4).long()
    for loss in (AlignmentLoss(), UniformityLoss()):
        with pytest.raises(ValueError, match=r"squeeze\(1\)"):
            loss(z, y[:, None])
        with pytest.raises(ValueError, match=r"expected \(B, D\)"):
            loss(z[None], y)
        with pytest.raises(ValueError, match="compares a batch with itself"):
            loss(z, y, ref_emb=z, ref_labels=y)
    with pytest.raises(ValueError, match="alignment needs them"):
        AlignmentLoss()(z)
    with pytest.raises(ValueError, match="drop_last"):
        UniformityLoss()(z[:1])
    for wrong in ({"t": 0}, {"epsilon": 0.0}):
        with pytest.raises(ValueError, match="2 and 1e-6"):
            UniformityLoss(**wrong)
    for wrong in ({"alignment": -1}, {"label_smoothing": 1.0}, {"class_weight": [1.0]}):
        with pytest.raises(ValueError, match="expected"):
            GenDLoss(**wrong)
    with pytest.raises(ValueError, match=r"expected \(B, 2\)"):
        GenDLoss()(torch.zeros(4, 3), z, y)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    features = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return logits, features, torch.tensor([0, 1, 1, 0, 1, 1])


def test_gend_is_the_weighted_sum():
    logits, features, labels = batch()
    alignment, uniformity = slow(features, labels)
    rows = torch.log_softmax(logits, dim=1)
    ce = -sum(rows[i, y].item() for i, y in enumerate(labels)) / 6
    loss, parts = GenDLoss()(logits, features, labels)
    assert loss.item() == pytest.approx(ce + 0.1 * alignment + 0.5 * uniformity, abs=1e-12)
    assert {k: v.item() for k, v in parts.items()} == pytest.approx(
        {"cross_entropy": ce, "alignment": alignment, "uniformity": uniformity}, abs=1e-12
    )
    assert not any(part.requires_grad for part in parts.values())
    loss, parts = GenDLoss(alignment=0, uniformity=0)(logits, features, labels)
    assert loss.item() == pytest.approx(ce) and list(parts) == ["cross_entropy"]
    loss, _ = GenDLoss(alignment=0, uniformity=0)(logits[:1], features[:1], labels[:1])
    assert torch.isfinite(loss)


def test_gend_class_weight_and_smoothing():
    logits, features, labels = batch()
    rows, weight, smooth = torch.log_softmax(logits, dim=1), (3.0, 0.5), 0.2
    top = sum(-weight[y] * rows[i, y].item() for i, y in enumerate(labels))
    total = sum(weight[y] for y in labels)
    loss, _ = GenDLoss(0, 0, class_weight=weight)(logits, features, labels)
    assert loss.item() == pytest.approx(top / total)
    plain = [-(1 - smooth) * rows[i, y] - smooth * rows[i].mean() for i, y in enumerate(labels)]
    loss, _ = GenDLoss(0, 0, label_smoothing=smooth)(logits, features, labels)
    assert loss.item() == pytest.approx(torch.stack(plain).mean().item())
    assert not GenDLoss(class_weight=weight).state_dict()


def test_training_on_the_losses_separates_two_classes():
    """On a toy sphere the objective pulls each class together and the classes apart."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20, 3, generator=generator, requires_grad=True)
    y = torch.arange(20) % 2
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (AlignmentLoss()(z, y) + UniformityLoss()(z)).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(z.detach())
    means = torch.stack([unit[y == label].mean(0) for label in (0, 1)])
    means = torch.nn.functional.normalize(means)
    assert (means[0] @ means[1]).item() < -0.9
