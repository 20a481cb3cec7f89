"""What the forging networks are taught on, and how: cuts of rendered faces, batches, losses. Source: own."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gendkit import warp
from gendkit.forge import patches
from gendkit.forge.networks import (
    FaceSwapper,
    Generator,
    Inpainter,
    MouthRenderer,
    Upsampler,
    fit,
    picture_loss,
)

PATCH = 120  # pixels of the plain cuts that the upsampler learns from
Say = Callable[[int, float], None]


@dataclass(frozen=True)
class Footage:
    """Cut faces of many pictures.

    Attributes:
        canonical: (N, 96, 96, 3) uint8. aligned: (N, 68, 2) float32 landmarks on the template.
        mouths: (N, 64, 64, 3) uint8. patches: (N, 120, 120, 3) uint8, as
        filmed. people: (N,) int64 person of each.
    """

    canonical: np.ndarray
    aligned: np.ndarray
    mouths: np.ndarray
    patches: np.ndarray
    people: np.ndarray


def shoot_person(seed: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Film a person in different poses, expressions and lights by one camera.

    Args:
        seed: of the person. frames: how many.

    Returns:
        (frames, 256, 256, 3) uint8 RGB and landmarks (frames, 68, 2) float32.
    """
    from . import camera as cameras
    from . import heads, scene
    from .actor import Actor

    actor, names = Actor(heads.make_identity(seed)), heads.action_names()
    rng = np.random.default_rng([seed, 83])
    rows = []
    for _ in range(frames):
        angles = np.clip(rng.normal(0, [0.22, 0.1, 0.06]), -0.5, 0.5)
        rows.append(
            actor.frame(
                scene.expression(rng, names), tuple(rng.normal(0, [0.15, 0.07])), angles,
                scene.light(rng), scene.view(rng, 256, (115, 165)), scene.background(rng),
            )
        )  # fmt: skip
    clean = np.stack([image for image, _ in rows])
    return cameras.film(clean, cameras.draw(rng), rng), np.stack([points for _, points in rows])


def cut_faces(images: np.ndarray, points: np.ndarray, person: int) -> Footage:
    """Cut all that the lessons need out of a person's pictures.

    Args:
        images: (N, H, W, 3) uint8 RGB. points: (N, 68, 2) pixels. person: number to note.

    Returns:
        The cuts.
    """
    points = np.asarray(points, np.float64)
    moves = patches.alignments(points)
    aligned = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, points, strict=True)])
    half = PATCH // 2
    padded = np.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode="edge")
    corners = points.mean(1).round().astype(int)
    corners = np.clip(corners, 0, np.array(images.shape[2:0:-1]) - 1)
    plain = [
        image[y : y + PATCH, x : x + PATCH] for image, (x, y) in zip(padded, corners, strict=True)
    ]
    return Footage(
        _bytes(patches.look_up(images, patches.canonical_grid(points))),
        aligned.astype(np.float32),
        _bytes(patches.align(images, moves, patches.MOUTH_SIDE, patches.MOUTH_WINDOW)),
        np.stack(plain),
        np.full(len(images), person, np.int64),
    )


def join(parts: list[Footage]) -> Footage:
    """Put cuts together."""
    return Footage(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Footage)))


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pictures), 0, 255).astype(np.uint8)


def pictures(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [0, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def jitter_colour(images: Tensor, amount: float = 0.12) -> Tensor:
    """Give each picture its own gain per channel and contrast."""
    n, channels = images.shape[:2]
    tint = 0.5 * torch.randn(n, 3, 1, 1).repeat(1, channels // 3, 1, 1)
    gain = 1 + amount * (torch.randn(n, 1, 1, 1) + tint)
    power = torch.exp(amount * torch.randn(n, 1, 1, 1))
    return (images.clamp(1e-3, 1) ** power * gain).clamp(0, 1)


def _draw(number: int, size: int) -> np.ndarray:
    return torch.randint(number, (size,)).numpy()


def _flip(images: Tensor) -> Tensor:
    flipped = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(flipped, images.flip(3), images)


def _grid(n: int, side: int, turn: float, size: float, shift: float) -> Tensor:
    """Sampling grids (n, side, side, 2) of small random similarities."""
    angle, scale = turn * torch.randn(n), 1 + size * torch.randn(n)
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    x, y = shift * torch.randn(2, n)
    rows = torch.stack([torch.stack([cosine, -sine, x], 1), torch.stack([sine, cosine, y], 1)], 1)
    return functional.affine_grid(rows, [n, 3, side, side], align_corners=False)


def spoilt_pair(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Colour and mirror faces (B, 3 or 6, 96, 96); give a warped copy (input) and the plain one (target).

    Source: random warps of the deepfakes tools (a coarse grid of random shifts); amounts our own.
    """
    n, _, side, _ = faces.shape
    faces = jitter_colour(_flip(faces))
    bend = functional.interpolate(0.03 * torch.randn(n, 2, 5, 5), side, mode="bicubic")
    place = _grid(n, side, 0.03, 0.02, 0.02) + bend.permute(0, 2, 3, 1)
    warped = functional.grid_sample(faces, place, "bilinear", "border", align_corners=False)
    return warped, faces


def face_weight() -> Tensor:
    """Weight (1, 1, 96, 96) of a canonical face's pixels: eyes and mouth count most, what lies outside little."""
    weight = 0.1 + 0.9 * patches.hole(patches.CANONICAL, 1, patches.SIDE)
    for points, grow in ((slice(36, 42), 3), (slice(42, 48), 3), (warp.MOUTH, 2)):
        weight = weight + 2 * patches.hole(patches.CANONICAL[points], grow, patches.SIDE)
    return torch.from_numpy(weight)[None, None]


def mean_faces(footage: Footage) -> Tensor:
    """Mean canonical face (P, 3, 96, 96) of each person."""
    return torch.stack([
        pictures(footage.canonical[footage.people == k]).mean(0) for k in np.unique(footage.people)
    ])  # fmt: skip


def teach_many(
    swapper: FaceSwapper, footage: Footage, steps: int, say: Say | None, size: int = 24
) -> list[float]:
    """Teach the encoder and one decoder what faces do: people differ in their mean faces only."""
    weight, people = face_weight(), torch.from_numpy(footage.people)
    means, (decoder,) = mean_faces(footage), swapper.decoders

    def loss(_: int) -> Tensor:
        rows = _draw(len(people), size)
        both = torch.cat([pictures(footage.canonical[rows]), means[people[rows]]], 1)
        warped, wanted = spoilt_pair(both)
        made = wanted[:, 3:] + decoder.change(swapper.encode(warped[:, :3], 0.1))
        return picture_loss(made, wanted[:, :3], weight)

    return fit([{"params": swapper.parameters(), "lr": 2e-3}], loss, steps, say)


def teach_group(
    swapper: FaceSwapper, footage: Footage, steps: int, say: Say | None, size: int = 4
) -> list[float]:
    """Teach one decoder per person, `size` pictures of each a step, and the shared encoder."""
    weight, people = face_weight(), len(swapper.decoders)
    own = [np.nonzero(footage.people == k)[0] for k in range(people)]
    with torch.no_grad():
        for k, mean in enumerate(mean_faces(footage)):
            swapper.decoders[k].face.copy_(mean)
            shape = patches.alike(footage.aligned[own[k]].astype(np.float64))
            swapper.shapes[k] = torch.from_numpy(shape)

    def loss(_: int) -> Tensor:
        rows = np.concatenate([rows[_draw(len(rows), size)] for rows in own])
        warped, wanted = spoilt_pair(pictures(footage.canonical[rows]))
        codes = swapper.encode(warped, 0.1).split(size)
        made = [swapper.decoders[k](part) for k, part in enumerate(codes)]
        return picture_loss(torch.cat(made), wanted, weight)

    return fit(
        [{"params": swapper.encoder.parameters(), "lr": 5e-4},
         {"params": swapper.decoders.parameters(), "lr": 2e-3}],
        loss, steps, say,
    )  # fmt: skip


def teach_renderer(
    renderer: MouthRenderer, footage: Footage, steps: int, say: Say | None, size: int = 24
) -> list[float]:
    """Teach the textures and the network that renders them; one texture for all when there is only one."""
    places = patches.mouth_places(footage.aligned).astype(np.float16)
    people = footage.people if len(renderer.textures) > 1 else np.zeros_like(footage.people)
    holes = np.stack([_mouth_holes(p) for p in footage.aligned]).astype(bool)

    def loss(_: int) -> Tensor:
        rows = _draw(len(people), size)
        faces = jitter_colour(pictures(footage.mouths[rows]), 0.06)
        grow = int(torch.randint(holes.shape[1], (1,)))
        hole = torch.from_numpy(holes[rows, grow]).float()[:, None]
        where = torch.from_numpy(places[rows]).float()
        made = renderer(faces, hole, where, torch.from_numpy(people[rows]))
        return picture_loss(made, faces, 0.05 + hole)

    return fit(
        [{"params": renderer.network.parameters(), "lr": 2e-3}, {"params": [renderer.textures], "lr": 2e-2}],
        loss, steps, say,
    )  # fmt: skip


def _mouth_holes(aligned: np.ndarray) -> np.ndarray:
    """Three holes (3, 64, 64) around the mouth, from tight to wide."""
    border = patches.to_mouth_window(
        np.concatenate([patches.mouth_border(aligned), aligned[48:60]])
    )
    return np.stack([patches.hole(border, g, patches.MOUTH_SIDE) for g in (0.0, 1.5, 4.0)])


def teach_inpainter(
    network: Inpainter, footage: Footage, steps: int, say: Say | None, size: int = 16
) -> list[float]:
    """Teach filling the named regions of canonical faces, grown a little."""
    regions = [patches.CANONICAL[points] for points in patches.REGIONS.values()]
    holes = torch.from_numpy(np.stack([
        [patches.hole(r, grow, patches.SIDE) for grow in (1.0, 2.5, 4.0, 6.0)] for r in regions
    ]))  # fmt: skip
    with torch.no_grad():
        network.face.copy_(pictures(footage.canonical).mean(0))

    def loss(_: int) -> Tensor:
        rows = _draw(len(footage.people), size)
        hole = holes[_draw(len(regions), size), _draw(4, size)][:, None]
        both = _flip(torch.cat([pictures(footage.canonical[rows]), hole], 1))
        faces, hole = jitter_colour(both[:, :3], 0.08), both[:, 3:]
        return picture_loss(network(faces, hole), faces, 0.02 + hole)

    return fit(
        [{"params": network.network.parameters(), "lr": 2e-3},
         {"params": [network.maps, network.face], "lr": 1e-2}],
        loss, steps, say,
    )  # fmt: skip


def teach_upsampler(
    network: Upsampler, footage: Footage, steps: int, say: Say | None, size: int = 12
) -> list[float]:
    """Teach enlarging by two and by three, in turn, from averaged pictures."""

    def loss(step: int) -> Tensor:
        factor, side = 2 + step % 2, 72
        x, y = (int(v) for v in torch.randint(PATCH - side + 1, (2,)))
        rows = _draw(len(footage.people), size)
        whole = _flip(pictures(footage.patches[rows][:, y : y + side, x : x + side]))
        made = network(functional.avg_pool2d(whole, factor), factor)
        return functional.l1_loss(made, whole)

    return fit([{"params": network.parameters(), "lr": 3e-3}], loss, steps, say)


def teach_generator(
    network: Generator, footage: Footage, steps: int, say: Say | None, size: int = 24
) -> list[float]:
    """Teach the generative model, then note the spread of its codes and of people's shapes."""
    weight = face_weight()
    aligned = footage.aligned.astype(np.float64)
    poses = torch.from_numpy(np.stack([patches.poses(aligned), patches.poses(_mirrored(aligned))]))
    every = pictures(footage.canonical)
    network.start(torch.cat([every, every.flip(3)])[:: max(1, len(every) // 400)])

    def loss(step: int) -> Tensor:
        rows = _draw(len(every), size)
        faces = jitter_colour(every[rows], 0.05)
        side = int(torch.randint(2, (1,)))
        faces = faces.flip(3) if side else faces
        made, divergence = network(faces, poses[side, rows])
        return picture_loss(made, faces, weight) + 2e-4 * divergence

    plain = [*network.read.parameters(), *network.write.parameters()]
    numbers = {id(p) for p in plain}
    rest = [p for p in network.parameters() if id(p) not in numbers]
    found = fit([{"params": rest, "lr": 2e-3}, {"params": plain, "lr": 1e-4}], loss, steps, say)
    with torch.no_grad():
        codes = torch.cat([network.encode(part)[0] for part in every.split(64)])
        network.centre.copy_(codes.mean(0))
        spread = torch.cov(codes.T) + 1e-4 * torch.eye(codes.shape[1])
        network.spread.copy_(torch.linalg.cholesky(spread))
        shapes = _shapes(aligned, footage.people, len(network.shapes))
        network.shapes.copy_(torch.from_numpy(shapes))
    return found


def _mirrored(aligned: np.ndarray) -> np.ndarray:
    return aligned[:, patches.MIRROR] * [-1, 1] + [2 * patches.TEMPLATE[27, 0], 0]


def _shapes(aligned: np.ndarray, people: np.ndarray, number: int) -> np.ndarray:
    """Directions (number, 136) in which people's brows, eyes, noses and mouths differ, scaled to one deviation."""
    means = np.stack([patches.alike(aligned[people == k]) for k in np.unique(people)])
    means = means - means.mean(0)
    means[:, :17] = 0
    _, scale, axes = np.linalg.svd(means.reshape(len(means), -1), full_matrices=False)
    made = np.zeros((number, axes.shape[1]))
    made[: len(axes)] = (axes * scale[:, None] / np.sqrt(max(len(means) - 1, 1)))[:number]
    return made
