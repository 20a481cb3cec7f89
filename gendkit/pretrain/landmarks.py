"""Train the embedded landmark network on rendered heads whose landmarks are known.

    gendkit weights landmarks --renders _build/renders --out data/weights \
        --minutes 65 --resume

Each sample is a square of a render as face-alignment would cut it, from a box that is off as a
detector's box is off, then turned, lit, blurred, covered and coded at random. Training starts at
half size (a quarter of the cost) and ends at full size. The learning rate follows the clock.
"""

import argparse
import json
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from gendkit.fan import SIGMA, LightFAN, landmark_square, need, save_light_fan
from gendkit.pretrain.spoil import spoil
from gendkit.repro import atomic_path, device, seed_all, write_json

# Position of every landmark in a mirrored face, iBUG 300-W order.
MIRROR = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47:45:-1, 39:35:-1, 41:39:-1,
               54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1]  # fmt: skip
SIZE, GRID = 256, 64
HELD_OUT = 20  # one identity in 20 is kept for validation
_EXAMPLES = """examples:
  gendkit nobody training --out _build/renders     renders whose landmarks are known, once
  gendkit weights landmarks --minutes 65 --resume  the log tells speed, time spent and time left
  gendkit weights landmarks --steps 2700           independent of the clock
"""


class Renders:
    """Rendered heads in memory, split by identity; takes in new shards as they appear.

    Args:
        folder: holds shard-*.npz with images (n, 256, 256, 3) uint8, landmarks (n, 68, 2) float32
            in pixels and identity_id (n,).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.seen: set[str] = set()
        self.fit: list[tuple[np.ndarray, np.ndarray]] = []
        self.held: list[tuple[np.ndarray, np.ndarray]] = []

    def refresh(self) -> int:
        """Read the shards that are new.

        Returns:
            How many were read.

        Raises:
            FileNotFoundError: when there is still no shard at all.
        """
        new = [p for p in sorted(self.folder.glob("shard-*.npz")) if p.name not in self.seen]
        for path in new:
            with np.load(path, allow_pickle=False) as shard:
                images, landmarks = shard["images"], shard["landmarks"].astype(np.float32)
                ids = shard["identity_id"]
            for image, points, name in zip(images, landmarks, ids, strict=True):
                held = zlib.crc32(str(name).encode()) % HELD_OUT == 0
                (self.held if held else self.fit).append((image, points))
            self.seen.add(path.name)
        if not self.seen:
            raise FileNotFoundError(
                f"no shard-*.npz in {self.folder}; render heads first: "
                f"gendkit nobody training --out {self.folder}"
            )
        return len(new)


def sample(
    image: np.ndarray,
    landmarks: np.ndarray,
    rng: np.random.Generator,
    others: list[tuple[np.ndarray, np.ndarray]],
    augment: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut one training square and spoil it.

    Args:
        image: (256, 256, 3) uint8 RGB render.
        landmarks: (68, 2) in pixels.
        rng: source of chance.
        others: renders that occluding patches are taken from.
        augment: also turn, mirror and spoil.

    Returns:
        crop (256, 256, 3) uint8 and targets (68, 2) float32 in heatmap cells, cell centres at
        integers.

    Source: crop and decoding arithmetic of face_alignment 1.5.0; the rest own.
    """
    cv2 = need("cv2")
    width = image.shape[1]
    place = np.eye(3)  # source pixel -> virtual image in which the box stands upright
    if augment and rng.random() < 0.5:
        place = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
        landmarks = landmarks[MIRROR] * [-1, 1] + [width - 1, 0]
    center, side = landmark_square(landmarks)
    if augment:
        angle = np.clip(rng.normal(0, 14), -50, 50)
        turn = np.vstack(
            [cv2.getRotationMatrix2D((float(center[0]), float(center[1])), angle, 1), [0, 0, 1]]
        )
        landmarks = landmarks @ turn[:2, :2].T + turn[:2, 2]
        place = turn @ place
        center, side = landmark_square(landmarks)
    # Half of the boxes are as good as those of the second pass, some worse than dlib's.
    wide = rng.choice([0.3, 1.0, 1.6], p=[0.5, 0.4, 0.1]) if augment else 1.0
    center = center + np.clip(rng.normal(0, np.array([0.065, 0.04]) * wide), -0.2, 0.2) * side
    side = side * np.exp(np.clip(rng.normal(0, 0.085 * wide), -0.3, 0.3))
    # face-alignment cuts whole pixels of the image that it is given, whatever its resolution.
    pixels = np.exp(rng.uniform(np.log(90), np.log(700)))
    low = center + 0.5 - side / 2 + side / 256 - rng.random(2) * side / pixels
    high = center + 0.5 + side / 2 - rng.random(2) * side / pixels
    scale = SIZE / (high - low)
    cut = np.array([[scale[0], 0, (0.5 - low[0]) * scale[0] - 0.5],
                    [0, scale[1], (0.5 - low[1]) * scale[1] - 0.5]])  # fmt: skip
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
    crop = cv2.warpAffine(
        image, cut @ place, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border
    )
    if augment:
        seen = landmarks * scale + cut[:, 2]
        donor = others[int(rng.integers(len(others)))][0]
        crop = spoil(crop, seen, donor, int(min(pixels, 400)), rng)
    targets = ((landmarks + 0.5 - center - 0.5) / side + 0.5) * GRID - 0.5
    return crop, targets.astype(np.float32)


def spatial_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compare heatmap logits with blobs about the targets.

    Cross-entropy over the cells, plus the distance of the mean of the heatmap to the target.

    Args:
        logits: (B, 68, S, S).
        targets: (B, 68, 2) in cells of a 64-cell grid; those outside it do not count.

    Returns:
        Scalar loss.

    Source: spatial cross-entropy and DSNT (Nibali et al., 2018); own code.
    """
    n = logits.shape[-1]
    ratio = n / GRID
    inside = ((targets > -0.5) & (targets < GRID - 0.5)).all(dim=-1).float()
    cells = torch.arange(n, device=logits.device, dtype=torch.float32)
    points = (targets + 0.5) * ratio - 0.5
    blob = torch.softmax(-((cells - points[..., None]) ** 2) / (2 * SIGMA**2), dim=-1)
    flat = logits.float().flatten(2)
    log_sum = torch.logsumexp(flat, dim=-1)
    probability = torch.exp(flat - log_sum[..., None]).view_as(logits)
    hit = torch.einsum("bkyx,bkx,bky->bk", logits.float(), blob[..., 0, :], blob[..., 1, :])
    mean = torch.stack([probability.sum(2) @ cells, probability.sum(3) @ cells], dim=-1)
    distance = F.smooth_l1_loss(mean, points, reduction="none").sum(-1) / ratio
    return ((log_sum - hit + 0.2 * distance) * inside).sum() / inside.sum().clamp(min=1)


def decode(heatmaps: np.ndarray) -> np.ndarray:
    """Read points off heatmaps by face-alignment's rule: highest cell, a quarter cell uphill.

    Args:
        heatmaps: (N, 68, 64, 64).

    Returns:
        (N, 68, 2) in cells, centres at integers.

    Source: face_alignment 1.5.0, `get_preds_fromhm`, in its own words.
    """
    n, k, height, width = heatmaps.shape
    best = heatmaps.reshape(n, k, -1).argmax(-1)
    y, x = np.divmod(best, width)
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    i, j = np.ogrid[:n, :k]
    dx = np.sign(padded[i, j, y + 1, x + 2] - padded[i, j, y + 1, x])
    dy = np.sign(padded[i, j, y + 2, x + 1] - padded[i, j, y, x + 1])
    return np.stack([x + dx / 4, y + dy / 4], axis=-1)


def errors(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Give the mean error of each face over the distance of its outer eye corners.

    Args:
        points: (N, 68, 2).
        truth: (N, 68, 2), same unit.

    Returns:
        (N,) normalised mean errors.

    Source: inter-ocular NME of the 300-W challenge (Sagonas et al., 2013).
    """
    ocular = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    return np.linalg.norm(points - truth, axis=-1).mean(axis=-1) / ocular


def _batches(
    renders: Renders, size: int, seed: int, start: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    def make(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([seed, step])
        n = len(renders.fit)
        rows = [sample(*renders.fit[int(rng.integers(n))], rng, renders.fit) for _ in range(size)]
        return torch.from_numpy(np.stack([r[0] for r in rows])), torch.from_numpy(
            np.stack([r[1] for r in rows])
        )

    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(make, start + i) for i in range(workers + 2)]
        step = start + len(waiting)
        while True:
            batch = waiting.pop(0).result()
            waiting.append(pool.submit(make, step))
            step += 1
            yield batch


def _to_input(crops: Tensor, where: torch.device, half: bool) -> Tensor:
    images = crops.to(where).permute(0, 3, 1, 2).float() / 255
    images = F.avg_pool2d(images, 2) if half else images
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def validate(
    model: LightFAN, renders: Renders, where: torch.device, n: int = 256
) -> dict[str, float]:
    """Measure the error on identities that training does not see.

    Args:
        model: the network.
        renders: holds them.
        where: device of the network.
        n: at most this many faces, always the same for the same shards.

    Returns:
        nme (share of the inter-ocular distance), failures (share of faces above 0.10), n_faces.
    """
    model.eval()
    faces = renders.held[:: max(1, len(renders.held) // n)][:n]
    rng = np.random.default_rng(0)
    rows = [sample(*face, rng, renders.held, augment=False) for face in faces]
    points = []
    for i in range(0, len(rows), 16):
        crops = torch.from_numpy(np.stack([r[0] for r in rows[i : i + 16]]))
        points.append(decode(model(_to_input(crops, where, False))[-1].float().cpu().numpy()))
    nme = errors(np.concatenate(points), np.stack([r[1] for r in rows]))
    return {"nme": float(nme.mean()), "failures": float((nme > 0.1).mean()), "n_faces": len(nme)}


def train(
    renders: str | Path,
    out: str | Path,
    work: str | Path,
    minutes: float = 65,
    steps: int = 0,
    batch_size: int = 32,
    lr: float = 2e-3,
    seed: int = 0,
    resume: bool = False,
    where: str = "auto",
    half_share: float = 0.25,
    workers: int = 1,
) -> dict[str, float]:
    """Train, keep checkpoints, export the averaged network.

    Args:
        renders: folder of shards.
        out: folder for landmarks.safetensors.
        work: folder for checkpoints and the log.
        minutes: budget of training time, over all runs that are resumed.
        steps: when > 0, the budget in steps instead (repeatable on one machine).
        batch_size: faces a step.
        lr: highest learning rate; cosine to zero.
        seed: seed.
        resume: go on from the checkpoint in work, if there is one.
        where: device.
        half_share: share of the budget at half size.
        workers: threads that make crops.

    Returns:
        The last validation: nme, failures, n_faces, step, seconds.

    Raises:
        FileNotFoundError: when there is no shard.
        ValueError: when the loss is not finite.
    """
    seed_all(seed)
    need("cv2").setNumThreads(1)
    target, work = device(where), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    data = Renders(renders)
    data.refresh()
    model = LightFAN().to(target, memory_format=torch.channels_last)
    average = LightFAN().to(target)
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-3)
    step, spent, log = 0, 0.0, []
    state = work / "landmarks-state.pt"
    if resume and state.is_file():
        saved = torch.load(state, map_location=target, weights_only=True)
        step, spent, log = saved["step"], saved["seconds"], json.loads(saved["log"])
        optimizer.load_state_dict(saved["optimizer"])
        model.load_state_dict(load_file(work / "landmarks-model.safetensors"))
        average.load_state_dict(load_file(work / "landmarks-average.safetensors"))
        print(f"resumed at step {step}, {spent / 60:.1f} min", flush=True)
    export = Path(out) / "landmarks.safetensors"
    marks = {"save": time.monotonic(), "shards": time.monotonic()}
    begun, before, losses = time.monotonic(), spent, []

    def keep() -> dict[str, float]:
        found = validate(average, data, target) | {"step": step, "seconds": round(spent, 1)}
        log.append(found)
        for name, network in (("model", model), ("average", average)):
            with atomic_path(work / f"landmarks-{name}.safetensors") as path:
                save_file({k: v.contiguous() for k, v in network.state_dict().items()}, str(path))
        facts = {
            "step": step,
            "seconds": spent,
            "log": json.dumps(log),
            "optimizer": optimizer.state_dict(),
        }
        with atomic_path(state) as path:
            torch.save(facts, path)
        save_light_fan(average, export, recipe="gendkit.pretrain.landmarks", step=str(step))
        export.chmod(0o644)  # safetensors makes it private
        write_json(work / "landmarks-log.json", log)
        print(
            f"step {step}: NME {found['nme']:.4f}, failures {found['failures']:.3f} on {found['n_faces']} "
            f"held-out faces; {len(data.fit)} faces to fit; saved",
            flush=True,
        )
        return found

    for crops, targets in _batches(data, batch_size, seed, step, workers):
        done = step / steps if steps else spent / (60 * minutes)
        if done >= 1:
            break
        rate = float(lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        half = done < half_share
        model.train()
        with torch.autocast(target.type, dtype=torch.bfloat16):
            logits = model.logits(_to_input(crops, target, half))
        loss = spatial_loss(logits, targets.to(target))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {step}; lower --lr and --resume")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step += 1
        decay = min(0.998, (step + 1) / (step + 20))
        with torch.no_grad():
            for a, b in zip(
                average.state_dict().values(), model.state_dict().values(), strict=True
            ):
                if a.is_floating_point():
                    a.lerp_(b, 1 - decay)
        losses.append(loss.item())
        now = time.monotonic()
        spent = before + now - begun
        if step % 50 == 0:
            share = max(step / steps if steps else spent / (60 * minutes), 1e-9)
            print(
                f"step {step} {'half' if half else 'full'} loss {np.mean(losses[-50:]):.3f} lr {rate:.1e} "
                f"{batch_size * step / max(spent, 1e-9):.1f} faces/s, {spent / 60:.1f} min, "
                f"ETA {spent / 60 * (1 / share - 1):.1f} min",
                flush=True,
            )
        if now - marks["shards"] > 60:
            data.refresh()
            marks["shards"] = now
        if now - marks["save"] > 420:
            keep()
            marks["save"] = now
    return keep()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights landmarks",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--renders", default="_build/renders", help="folder of shard-*.npz")
    parser.add_argument("--out", default="data/weights", help="folder for landmarks.safetensors")
    parser.add_argument("--work", default="_build/landmarks", help="folder for checkpoints")
    parser.add_argument(
        "--minutes", type=float, default=65, help="training time, all runs together (default 65)"
    )
    parser.add_argument("--steps", type=int, default=0, help="budget in steps instead of minutes")
    parser.add_argument(
        "--half-share", type=float, default=0.25, help="share of the budget at half size"
    )
    parser.add_argument("--batch", type=int, default=32, help="faces a step (default 32)")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="threads that make crops")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    a = parser.parse_args(argv)
    found = train(
        a.renders,
        a.out,
        a.work,
        a.minutes,
        a.steps,
        batch_size=a.batch,
        lr=a.lr,
        seed=a.seed,
        resume=a.resume,
        where=a.device,
        half_share=a.half_share,
        workers=a.workers,
    )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
