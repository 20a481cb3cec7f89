"""Pictures for the encoder's recipe: clean renders with the facts behind them, and batches made of them."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from gendkit.pretrain import pretext

FACTS = ("identity", "expression", "pose", "light")
TEXTURES = ("brick", "grass", "gravel", "chelsea", "coffee", "coins", "hubble_deep_field", "ihc", "moon",
            "rocket", "page", "cell", "motorcycle_left")  # fmt: skip
HELD_OUT = 40  # one identity in so many is kept for the printed check


class Renders:
    """Clean renders in memory, with the facts behind each; grows while shards appear.

    Args:
        folder: Where `shard-*.npz` are.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self.folder = folder
        self.seen: set[str] = set()
        self.images: list[np.ndarray] = []
        self.landmarks: list[np.ndarray] = []
        self.facts: list[dict[str, np.ndarray]] = []
        self.identities: list[int] = []
        self.refresh()

    def refresh(self) -> int:
        """Read new shards; a shard that is still being written is read next time. Returns how many."""
        count = 0
        for path in sorted(self.folder.glob("shard-*.npz")):
            if path.name in self.seen:
                continue
            try:
                with np.load(path, allow_pickle=False) as data:
                    shard = {name: data[name] for name in data.files}
            except (zipfile.BadZipFile, EOFError) as error:
                print(
                    f"{path.name} is not complete yet ({error}); it will be tried again", flush=True
                )
                continue
            self._add(shard)
            self.seen.add(path.name)
            count += 1
        return count

    def _add(self, shard: dict[str, np.ndarray]) -> None:
        n = len(shard["images"])
        flat = {name: shard[name].reshape(n, -1).astype(np.float32) for name in FACTS}
        for i in range(n):
            self.images.append(shard["images"][i])
            self.landmarks.append(shard["landmarks"][i].astype(np.float64))
            self.facts.append({name: values[i] for name, values in flat.items()})
            self.identities.append(int(shard["identity_id"][i]))

    def rows(self, held_out: bool) -> np.ndarray:
        """Give the rows of the held-out identities, or of all others."""
        mark = np.asarray(self.identities) % HELD_OUT == 0
        return np.flatnonzero(mark if held_out else ~mark)


def textures() -> list[np.ndarray]:
    """Load the pictures without a person that ship inside scikit-image; none where it is missing."""
    try:
        import skimage.data
        import skimage.io
    except ImportError:
        return []
    folder = Path(skimage.data.__file__).parent
    found = [
        p for name in TEXTURES for p in folder.glob(f"{name}.*") if p.suffix in (".png", ".jpg")
    ]
    pictures = []
    for path in found:
        picture = skimage.io.imread(path)
        picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
        pictures.append(np.ascontiguousarray(picture[..., :3].astype(np.uint8)))
    return [p for p in pictures if min(p.shape[:2]) >= pretext.FRAME]


class Source:
    """Draws batches of degraded crops with everything the encoder must tell.

    Args:
        renders: Clean pictures.
        seed: Of all randomness.
        share: Share of pictures without a face.
    """

    def __init__(self, renders: Renders, seed: int, share: float = 0.08) -> None:
        """Prepare the camera and the statistics of the facts."""
        self.renders = renders
        self.rng = np.random.default_rng(seed)
        self.camera = pretext.Camera(self.rng)
        self.textures = textures()
        self.share = share if self.textures else 0.0
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in FACTS:
            table = np.stack([f[name] for f in renders.facts])
            self.moments[name] = (table.mean(0), table.std(0) + 1e-3 * (table.std() + 1e-6))

    def one(self, row: int, jitter: float = 1.0) -> pretext.Sample:
        """Make the sample of one render; row -1 is a picture without a face."""
        rng = self.rng
        if row < 0:
            picture = self.textures[int(rng.integers(len(self.textures)))]
            top, left = (int(rng.integers(0, s - pretext.FRAME + 1)) for s in picture.shape[:2])
            frame, landmarks = picture[top : top + pretext.FRAME, left : left + pretext.FRAME], None
        else:
            frame, landmarks = self.renders.images[row], self.renders.landmarks[row]
        filmed, maps = self.camera(np.ascontiguousarray(frame), rng)
        return pretext.crop(filmed, maps, landmarks, rng, jitter)

    def batch(self, rows: np.ndarray, jitter: float = 1.0) -> dict[str, torch.Tensor]:
        """Make a batch: images in [0, 1], camera levels, landmarks and standardised facts (NaN: none)."""
        samples = [self.one(int(row), jitter) for row in rows]
        images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2) / 255
        out = {
            "images": images.contiguous(),
            "camera": torch.from_numpy(np.stack([s.camera for s in samples])),
            "landmarks": torch.from_numpy(np.stack([s.landmarks for s in samples])).flatten(1),
        }
        for name, (mean, std) in self.moments.items():
            empty = np.full_like(mean, np.nan)
            values = [self.renders.facts[r][name] if r >= 0 else empty for r in map(int, rows)]
            out[name] = torch.from_numpy(((np.stack(values) - mean) / std).astype(np.float32))
        return out

    def draw(self, rows: np.ndarray, size: int) -> np.ndarray:
        """Choose rows for one batch, a few of them -1 (no face)."""
        chosen = self.rng.choice(rows, size)
        chosen[self.rng.random(size) < self.share] = -1
        return chosen
