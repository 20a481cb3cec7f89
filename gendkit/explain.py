"""Where in a crop a score comes from, by covering parts of it, and whether such a map can be trusted.

A map says which pixels this detector's score reacts to when they are covered. It does not say that
they were manipulated, and it is no proof. `deletion` tests the little that a map does claim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Scorer = Callable[[list[np.ndarray]], np.ndarray]
FILLS = ("mean", "blur", "shuffle")
WARNING = (
    "A map shows what this detector's score reacts to when it is covered. It does not show what was "
    "manipulated, and it is no proof: a covered face is an image that no detector was trained on."
)


def fill_of(crop: np.ndarray, fill: str = "mean") -> np.ndarray:
    """Make the picture that covered parts show.

    Args:
        crop: (H, W, 3) uint8 RGB.
        fill: "mean": the mean colour of the crop; "blur": the crop blurred with a standard
            deviation of a twelfth of its shorter side; "shuffle": the pixels of the crop in an
            order of chance, always the same: its colours, none of its structure.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If the crop or the fill is wrong.
    """
    crop = np.asarray(crop)
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or 0 in crop.shape:
        raise ValueError(f"got a crop {crop.shape} {crop.dtype}, expected (H, W, 3) uint8 RGB")
    if fill not in FILLS:
        raise ValueError(f"got fill {fill!r}, expected one of {', '.join(FILLS)}")
    if fill == "mean":
        colour = np.round(crop.reshape(-1, 3).mean(axis=0))
        return np.broadcast_to(colour.astype(np.uint8), crop.shape).copy()
    if fill == "shuffle":
        order = np.random.default_rng(0).permutation(crop.shape[0] * crop.shape[1])
        return crop.reshape(-1, 3)[order].reshape(crop.shape)
    from scipy.ndimage import gaussian_filter

    sigma = min(crop.shape[:2]) / 12
    smooth = gaussian_filter(crop.astype(np.float32), (sigma, sigma, 0), mode="nearest")
    return np.clip(np.round(smooth), 0, 255).astype(np.uint8)


def _starts(side: int, size: int, stride: int) -> list[int]:
    """First pixels of windows that reach both ends of a side."""
    return sorted({*range(0, side - size, stride), side - size})


def occlusion(
    score: Scorer,
    crop: np.ndarray,
    size: int = 48,
    stride: int = 24,
    fill: str = "mean",
    batch: int = 32,
) -> np.ndarray:
    """Cover a square at every place in turn and note how much the score falls.

    Args:
        score: Takes crops (H, W, 3) uint8 and gives (N,) numbers that grow with fake. Logits
            (`calibration.logit` of P(fake)) are better than P(fake), which stands still near 1.
        crop: (H, W, 3) uint8 RGB.
        size: Side of the square, pixels.
        stride: Step between its places, pixels; the last square of a row ends at the border.
        fill: What it shows, see `fill_of`.
        batch: Crops for one call of score.

    Returns:
        (H, W) float64, in units of the score: for each pixel the mean fall over the squares that
        covered it; positive where covering makes the crop look less fake.

    Raises:
        ValueError: If the crop, the fill or the sizes are wrong.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2.
    """
    cover = fill_of(crop, fill)
    height, width = crop.shape[:2]
    if not 1 <= size <= min(height, width) or not 1 <= stride <= size:
        raise ValueError(
            f"got size={size}, stride={stride} for a crop of {height}x{width}, expected "
            f"1 <= stride <= size <= {min(height, width)}"
        )
    places = [(y, x) for y in _starts(height, size, stride) for x in _starts(width, size, stride)]

    def covered(y: int, x: int) -> np.ndarray:
        image = crop.copy()
        image[y : y + size, x : x + size] = cover[y : y + size, x : x + size]
        return image

    scores = _in_batches(score, [crop], batch).tolist()
    for start in range(0, len(places), batch):
        some = [covered(*place) for place in places[start : start + batch]]
        scores += _in_batches(score, some, batch).tolist()
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for (y, x), value in zip(places, scores[1:], strict=True):
        total[y : y + size, x : x + size] += scores[0] - value
        times[y : y + size, x : x + size] += 1
    return total / times


def _in_batches(score: Scorer, crops: list[np.ndarray], batch: int) -> np.ndarray:
    parts = [score(crops[start : start + batch]) for start in range(0, len(crops), batch)]
    return np.concatenate([np.asarray(part, dtype=float) for part in parts])


@dataclass(frozen=True)
class Deletion:
    """Scores of a crop while it is covered cell by cell, in the order of a map and in chance orders.

    Attributes:
        share: (K,) share of the crop that is covered, from 0 to 1.
        by_map: (K,) scores when the cells with the highest mean of the map go first.
        by_chance: (R, K) scores in R random orders.
    """

    share: np.ndarray
    by_map: np.ndarray
    by_chance: np.ndarray

    @property
    def area(self) -> float:
        """Mean of `by_map` over the share covered; low where the map's first cells carry it."""
        return float(np.trapezoid(self.by_map, self.share))

    @property
    def areas(self) -> np.ndarray:
        """(R,) areas under the random orders."""
        return np.trapezoid(self.by_chance, self.share, axis=1)

    @property
    def rank(self) -> float:
        """Share of orders, the map's counted in, whose area is not above the map's; low is good."""
        return float((1 + np.sum(self.areas <= self.area)) / (1 + len(self.areas)))

    @property
    def valid(self) -> bool:
        """Whether covering all of the crop lowers the score; if not, covering removes nothing."""
        return bool(self.by_map[-1] < self.by_map[0])

    @property
    def faithful(self) -> bool:
        """Whether the map's order lowers the score faster than at least 95 % of the random ones."""
        return self.valid and self.rank <= 0.05

    def text(self) -> str:
        """Say in one sentence how the map did."""
        if not self.valid:
            return (
                "The map cannot be tested: the covered crop looks no less fake to this detector "
                "than the crop itself. Do not read the map."
            )
        n, beaten = len(self.areas), int(np.sum(self.areas > self.area))
        low, high = self.areas.min(), self.areas.max()
        verdict = (
            "the map points at parts that the score rests on"
            if self.faithful
            else "not enough to be evidence, so do not read it"
        )
        return (
            f"Covering what the map marks first lowers the score faster than {beaten} of {n} random "
            f"orders (mean score on the way {self.area:.2f}; random {low:.2f} to {high:.2f}): "
            f"{verdict}."
        )


def deletion(
    score: Scorer,
    crop: np.ndarray,
    heat: np.ndarray,
    grid: int = 8,
    steps: int = 8,
    n_random: int = 19,
    seed: int = 0,
    fill: str = "shuffle",
    batch: int = 32,
) -> Deletion:
    """Test a map: cover the crop cell by cell, by the map's order and by random orders.

    Use another fill than the map was made with, so that the map is not tested on the very images it
    comes from. The fill must look real to the detector: a flat or blurred face looks fake to one
    that reads texture, and its score rises again while more is covered (see `Deletion.valid`).

    Args:
        score: As for `occlusion`.
        crop: (H, W, 3) uint8 RGB.
        heat: (H, W) map, high where covering should lower the score.
        grid: Cells along each side.
        steps: Scores along each order beside the first; the last is of the whole crop covered.
        n_random: Random orders; 19 are the fewest that allow a rank of 5 %.
        seed: Seed of the orders.
        fill: What covered cells show, see `fill_of`.
        batch: Crops for one call of score.

    Returns:
        The scores along each order.

    Raises:
        ValueError: If shapes or numbers are wrong.

    Source: deletion metric of Petsiuk et al. 2018, arXiv 1806.07421; against random orders: own.
    """
    cover, heat = fill_of(crop, fill), np.asarray(heat, dtype=float)
    if heat.shape != crop.shape[:2] or not np.isfinite(heat).all():
        raise ValueError(f"got a map {heat.shape}, expected finite values {crop.shape[:2]}")
    if not 1 <= grid <= min(heat.shape) or not 1 <= steps <= grid * grid or n_random < 1:
        raise ValueError(
            f"got grid={grid}, steps={steps}, n_random={n_random}, expected 1 <= grid <= "
            f"{min(heat.shape)}, 1 <= steps <= grid * grid, n_random >= 1"
        )
    cells = _cells(heat.shape, grid)
    weight = np.array([heat[cells == k].mean() for k in range(grid * grid)])
    rng = np.random.default_rng(seed)
    orders = [np.argsort(-weight, kind="stable")]
    orders += [rng.permutation(grid * grid) for _ in range(n_random)]
    counts = np.round(np.linspace(0, grid * grid, steps + 1)).astype(int)

    def scores(order: Sequence[int]) -> np.ndarray:
        place = np.empty(grid * grid, dtype=int)
        place[order] = np.arange(grid * grid)
        when = place[cells]  # at which place of the order each pixel is covered
        images = [np.where((when < n)[..., None], cover, crop) for n in counts[1:-1]]
        return _in_batches(score, images, batch) if images else np.empty(0)

    ends = _in_batches(score, [crop, cover], batch)
    curves = np.array([[ends[0], *scores(order), ends[1]] for order in orders])
    share = np.array([np.isin(cells, np.arange(n)).mean() for n in counts])
    return Deletion(share, curves[0], curves[1:])


def _cells(shape: Sequence[int], grid: int) -> np.ndarray:
    """Number the cell of every pixel, row by row."""
    rows, columns = (np.arange(side) * grid // side for side in shape)
    return rows[:, None] * grid + columns[None, :]
