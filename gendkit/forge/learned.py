"""Forgeries by learned networks: autoencoder swap ("DF"), neural-texture mouth ("NT"), super-resolution, inpainting,
and a face drawn from a generative model ("Whole").

The networks come from `gendkit.nobody.tools`. Each function leaves every pixel outside its mask unchanged, bit for
bit, and draws its settings once per clip.
"""

import numpy as np
import torch

from gendkit import warp

from . import patches
from .common import MAX_FOLD, ForgedClip, ForgeError, check, check_points, compose, cut
from .networks import FaceSwapper, Generator, Inpainter, MouthRenderer, Upsampler, repeatable
from .placing import closed_lids, kept_lids

Box = tuple[int, int, int, int]
DRAWS = 12  # faces that the generator draws to choose from


def autoencoder_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    swapper: FaceSwapper,
    person: int,
    rng: np.random.Generator,
    strength: float = 1.0,
    over: np.ndarray | None = None,
) -> ForgedClip:
    """Swap the face by an autoencoder with a shared encoder and one decoder per person.

    The face, brought to one shape by its landmarks, is encoded, decoded by the donor's decoder, laid onto landmarks
    between the target's and the donor's, moved to the target's colours, sharpened and grained like the footage, and
    blended back with a soft mask.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2) points (x, y) in pixels, iBUG order.
        swapper: taught the donor among others.
        person: the donor's number in the swapper.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity in [0, 1]; 0 gives the target back.
        over: (T, H, W) in [0, 1]: what lies over the face and stays, such as glasses; None for nothing.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, faces too small, or a person that the swapper does not know.

    Source: deepfakes as used in FaceForensics++ (Roessler et al. 2019, section 3.1); the person's vector, the
    matching of detail and grain are our own.
    """
    target, points = check(target, target_landmarks, strength, "target")
    _check_person(person, len(swapper.decoders), "swapper")
    settings = {
        "feather": rng.uniform(0.05, 0.12),
        "shrink": rng.uniform(0.0, 0.04),
        "rise": rng.uniform(0.05, 0.09),
        "colour": rng.uniform(0.5, 0.95),
        "light": rng.uniform(0.2, 0.6),
        "detail": rng.uniform(0.4, 0.9),
        "grain": rng.uniform(0.8, 1.2),
        "shape": rng.uniform(0.5, 0.8),
        "jitter": rng.uniform(0.001, 0.003),
    }
    tracked = points + warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    moves = patches.alignments(tracked)
    aligned = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, tracked, strict=True)])
    faces = patches.look_up(target, patches.canonical_grid(tracked)) / 255
    with repeatable(), torch.no_grad():
        made = _pictures(swapper(_tensor(faces), person))
    other = _without_expression(swapper.shapes[person].numpy() - patches.alike(aligned))
    moved = _reshaped(aligned, settings["shape"] * other, moves)
    return _paste_face(target, points, tracked, made, moved, settings, strength, rng, over)


def mouth_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    driver_landmarks: np.ndarray,
    renderer: MouthRenderer,
    person: int,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Make the target's mouth follow another clip's mouth by a neural texture and its renderer.

    The mouth is cut out of each aligned frame, the person's neural texture is sampled where the wanted landmarks put
    it, and the renderer turns the sample and the surroundings into a picture.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        driver_landmarks: (S, 68, 2) landmarks whose mouth movement is copied; resampled to T frames.
        renderer: taught the target's person among others.
        person: the target's number in the renderer.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity of the new mouth in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, face too small, folded landmarks, or a person that the renderer does not know.

    Source: NeuralTextures (Thies et al. 2019), of which FaceForensics++ changes the mouth only. Lacks: the 3-D model;
    the texture lies on 40 landmarks of the lower face instead.
    """
    target, points = check(target, target_landmarks, strength, "target")
    driver = check_points(driver_landmarks, "driver")
    _check_person(person, len(renderer.textures), "renderer")
    settings = {
        "feather": rng.uniform(0.06, 0.14),
        "shrink": rng.uniform(0.0, 0.02),
        "colour": rng.uniform(0.0, 0.5),
        "light": rng.uniform(0.1, 0.5),
        "detail": rng.uniform(0.4, 0.9),
        "grain": rng.uniform(0.8, 1.2),
        "jitter": rng.uniform(0.001, 0.003),
    }
    jitter = warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    wanted = warp.copy_mouth(points, driver) + jitter
    moves = patches.alignments(points + jitter)
    aligned = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, wanted, strict=True)])
    own = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, points, strict=True)])
    _check_folds(aligned[:, patches.LOWER_FACE], patches.CANONICAL[patches.LOWER_FACE])
    holes = np.stack([_mouth_hole(a, b) for a, b in zip(own, aligned, strict=True)])
    faces = patches.align(target, moves, patches.MOUTH_SIDE, patches.MOUTH_WINDOW) / 255
    with repeatable(), torch.no_grad():
        made = renderer(
            _tensor(faces),
            torch.from_numpy(holes)[:, None],
            torch.from_numpy(patches.mouth_places(aligned)),
            torch.full((len(faces),), person),
        )
    borders = [patches.mouth_border(p) for p in points]
    boxes = [warp.box_of(b, 4, target.shape[1:]) for b in borders]
    pasted = patches.to_frame(_pictures(made), moves, boxes, patches.MOUTH_WINDOW)
    masks = [_mask(b, box, p, settings) for b, box, p in zip(borders, boxes, points, strict=True)]
    inside = _window_masks(moves, boxes, patches.MOUTH_WINDOW)
    masks = [m * w for m, w in zip(masks, inside, strict=True)]
    return _finish(target, points, pasted, masks, boxes, settings, strength, rng)


def super_resolve_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    network: Upsampler,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Replace the face by a small copy of itself that a network has enlarged again.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        network: the upsampler.
        rng: source of the clip's settings (the factor, 2 or 3, among them); equal state gives equal clips.
        strength: opacity in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes or face too small.

    Source: sub-pixel super-resolution (Shi et al. 2016); as a forgery of faces our own.
    """
    target, points = check(target, target_landmarks, strength, "target")
    factor = int(rng.integers(2, 4))
    settings = {
        "factor": float(factor),
        "feather": rng.uniform(0.03, 0.10),
        "shrink": rng.uniform(0.0, 0.06),
        "rise": rng.uniform(0.05, 0.20),
        "detail": rng.uniform(0.3, 0.9),
        "grain": rng.uniform(0.7, 1.2),
    }
    borders = [patches.face_border(p, settings["rise"]) for p in points]
    boxes = [warp.box_of(b, 4, target.shape[1:]) for b in borders]
    pasted = []
    with repeatable(), torch.no_grad():
        for image, box in zip(target, boxes, strict=True):
            part = cut(image, box)
            height, width = part.shape[:2]
            more = ((0, -height % factor), (0, -width % factor), (0, 0))
            small = _tensor(np.pad(part, more, mode="edge")[None] / 255)
            small = torch.nn.functional.avg_pool2d(small, factor)
            pasted.append(_pictures(network(small, factor))[0, :height, :width])
    masks = [_mask(b, box, p, settings) for b, box, p in zip(borders, boxes, points, strict=True)]
    return _finish(target, points, pasted, masks, boxes, settings, strength, rng)


def inpaint_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    network: Inpainter,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> ForgedClip:
    """Take a region out of the face and let a network fill it from what surrounds it.

    The region (mouth and chin, nose, one eye and its cheek, or the lower half) is drawn once per clip and follows
    the landmarks.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        network: the inpainter.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity in [0, 1]; 0 gives the target back.

    Returns:
        The forged clip; settings["region"] is the number of the region in `patches.REGIONS`.

    Raises:
        ForgeError: wrong shapes or face too small.

    Source: context encoders (Pathak et al. 2016), with a U-Net and without the adversarial loss.
    """
    target, points = check(target, target_landmarks, strength, "target")
    number = int(rng.integers(len(patches.REGIONS)))
    region = list(patches.REGIONS.values())[number]
    settings = {
        "region": float(number),
        "feather": rng.uniform(0.04, 0.09),
        "shrink": -rng.uniform(0.0, 0.03),
        "harmony": rng.uniform(0.6, 1.0),
        "light": rng.uniform(0.0, 0.3),
        "detail": rng.uniform(0.4, 0.9),
        "grain": rng.uniform(0.8, 1.2),
        "jitter": rng.uniform(0.001, 0.003),
    }
    tracked = points + warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    moves = patches.alignments(tracked)
    aligned = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, tracked, strict=True)])
    # What is taken out cannot be seen to move: its inner points stand still.
    still = region[region >= 17]
    rest = np.zeros_like(aligned)
    rest[:, still] = aligned[:, still].mean(0) - aligned[:, still]
    moved = _reshaped(aligned, rest, moves)
    hole = patches.hole(patches.CANONICAL[region], 4.0, patches.SIDE)
    faces = patches.look_up(target, patches.canonical_grid(tracked))
    with repeatable(), torch.no_grad():
        holes = torch.from_numpy(hole).expand(len(faces), 1, -1, -1)
        made = _pictures(network(_tensor(faces / 255), holes))
    # What was filled beyond the region tells how far the fill's colours are off.
    ring = hole - patches.hole(patches.CANONICAL[region], 0.0, patches.SIDE)
    ring *= patches.hole(patches.CANONICAL, 0.0, patches.SIDE)
    gaps = [warp.masked_blur(f - m, ring, 7.0) for f, m in zip(faces, made, strict=True)]
    made = made + settings["harmony"] * np.stack(gaps).astype(np.float32)
    borders = [p[region] for p in tracked]
    boxes = [warp.box_of(b, 8, target.shape[1:]) for b in borders]
    pasted = patches.lay_down(made, moved, boxes)
    masks = [_mask(b, box, p, settings) for b, box, p in zip(borders, boxes, points, strict=True)]
    return _finish(target, points, pasted, masks, boxes, settings, strength, rng)


def whole_clip(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    generator: Generator,
    rng: np.random.Generator,
    strength: float = 1.0,
    over: np.ndarray | None = None,
) -> ForgedClip:
    """Replace the inner face by one drawn from a generative model.

    A latent and a shape are drawn once per clip; per frame the decoder hears where the landmarks are, and the
    canonical face that it makes is laid onto them.

    Args:
        target: (T, H, W, 3) uint8 RGB.
        target_landmarks: (T, 68, 2).
        generator: the model.
        rng: source of the clip's settings; equal state gives equal clips.
        strength: opacity in [0, 1]; 0 gives the target back.
        over: as for `autoencoder_clip`.

    Returns:
        The forged clip.

    Raises:
        ForgeError: wrong shapes, face too small, or folded landmarks.

    Source: variational autoencoder (Kingma and Welling 2014) over faces brought to one shape, as in active
    appearance models (Cootes et al. 2001); the combination is our own.
    """
    target, points = check(target, target_landmarks, strength, "target")
    settings = {
        "feather": rng.uniform(0.05, 0.12),
        "shrink": rng.uniform(0.0, 0.04),
        "rise": rng.uniform(0.05, 0.09),
        "colour": rng.uniform(0.6, 1.0),
        "light": rng.uniform(0.4, 0.8),
        "detail": rng.uniform(0.4, 0.9),
        "grain": rng.uniform(0.8, 1.2),
        "shape": rng.uniform(0.8, 1.3),
        "variety": rng.uniform(0.55, 0.8),
        "jitter": rng.uniform(0.001, 0.002),
    }
    tracked = points + warp.tracking_noise(points.shape, settings["jitter"], points, rng)
    moves = patches.alignments(tracked)
    noise = settings["variety"] * rng.standard_normal((DRAWS, generator.centre.numel()))
    weights = settings["shape"] * rng.standard_normal(len(generator.shapes))
    other = _without_expression((weights @ generator.shapes.numpy()).reshape(68, 2))
    aligned = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, tracked, strict=True)])
    moved = _reshaped(aligned, other, moves)
    shown = np.stack([warp.apply_similarity(m, p) for m, p in zip(moves, moved, strict=True)])
    with repeatable(), torch.no_grad():
        poses = torch.from_numpy(patches.poses(shown))
        latents = generator.latent(torch.from_numpy(noise).float())
        latent = _nearest_light(generator, latents, poses, target[0], tracked[0])
        made = generator.decode(latent.expand(len(poses), -1), poses)
    return _paste_face(
        target, points, tracked, _pictures(made), moved, settings, strength, rng, over
    )


def _nearest_light(
    generator: Generator,
    latents: torch.Tensor,
    poses: torch.Tensor,
    image: np.ndarray,
    points: np.ndarray,
) -> torch.Tensor:
    """Of several latents, the one whose face is lit most like the image's: (1, 64)."""
    face = _tensor(patches.look_up(image[None], patches.canonical_grid(points[None])) / 255)
    both = torch.cat([face, generator.decode(latents, poses[:1].expand(len(latents), -1))])
    coarse = torch.nn.functional.avg_pool2d(both[:, :, 24:80, 16:80].mean(1, keepdim=True), 8)
    coarse = coarse.flatten(1).clamp(min=0.02).log()
    coarse = coarse - coarse.mean(1, keepdim=True)
    best = int((coarse[1:] - coarse[:1]).square().sum(1).argmin())
    return latents[best : best + 1]


def _without_expression(change: np.ndarray) -> np.ndarray:
    """Keep of a change of shape (68, 2) what says who it is: eyes and mouth move as wholes, the jaw stays."""
    change = change.copy()
    change[:17] = 0
    for part in (slice(36, 42), slice(42, 48), warp.MOUTH):
        change[part] = change[part].mean(0)
    return change


def _reshaped(aligned: np.ndarray, change: np.ndarray, moves: list) -> np.ndarray:
    """Landmarks (T, 68, 2) in the frames after a change of the aligned ones, halved until nothing folds."""
    triangles = warp.triangulate(patches.CANONICAL[:68])
    for share in (1.0, 0.5, 0.25, 0.0):
        wanted = aligned + share * change
        if max(warp.folded_share(p, triangles) for p in wanted) <= MAX_FOLD / 2:
            break
    _check_folds(wanted, patches.CANONICAL[:68])
    back = [(1 / a, -b / a) for a, b in moves]
    return np.stack([warp.apply_similarity(m, p) for m, p in zip(back, wanted, strict=True)])


def _paste_face(
    target: np.ndarray,
    points: np.ndarray,
    tracked: np.ndarray,
    made: np.ndarray,
    moved: np.ndarray,
    settings: dict[str, float],
    strength: float,
    rng: np.random.Generator,
    over: np.ndarray | None,
) -> ForgedClip:
    """Lay canonical faces (T, 96, 96, 3) onto landmarks `moved` and blend them within the target's face.

    Lids that close stay the target's: networks that saw few closed eyes leave a slit of white.
    """
    over = np.zeros(target.shape[:3], np.float32) if over is None else np.asarray(over)
    if over.shape != target.shape[:3]:
        raise ForgeError(
            f"what lies over the face is {over.shape}; expected {target.shape[:3]}, one picture a frame."
        )
    borders = [patches.face_border(p, settings["rise"]) for p in tracked]
    boxes = [warp.box_of(b, 4, target.shape[1:]) for b in borders]
    pasted = patches.lay_down(made, moved, boxes)
    lids = closed_lids(points)
    masks = [
        _mask(border, box, own, settings) * (1 - kept_lids(own, shut, box)) * (1 - cut(top, box))
        for border, box, own, shut, top in zip(borders, boxes, points, lids, over, strict=True)
    ]
    return _finish(target, points, pasted, masks, boxes, settings, strength, rng)


def _check_person(person: int, known: int, who: str) -> None:
    if isinstance(person, bool) or not isinstance(person, int | np.integer):
        raise ForgeError(f"person is {person!r}; expected a whole number.")
    if not 0 <= person < known:
        raise ForgeError(
            f"person is {person}; this {who} knows {known} people, so give 0 to {known - 1}."
        )


def _check_folds(points: np.ndarray, canonical: np.ndarray) -> None:
    triangles = warp.triangulate(canonical)
    for t, p in enumerate(points):
        fold = warp.folded_share(p, triangles)
        if fold > MAX_FOLD:
            raise ForgeError(
                f"landmarks fold over in frame {t} (share of area {fold:.2f}, at most {MAX_FOLD}): the movement does "
                "not fit this pose. Use a target nearer to the front, or a driver with less movement."
            )


def _mouth_hole(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What the renderer must not see: the mouth as it is and as it shall be."""
    border = np.concatenate([patches.mouth_border(own), own[48:60], wanted[48:60]])
    return patches.hole(patches.to_mouth_window(border), 1.0, patches.MOUTH_SIDE)


def _tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).permute(0, 3, 1, 2)


def _pictures(made: torch.Tensor) -> np.ndarray:
    return made.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255


def _mask(border: np.ndarray, box: Box, points: np.ndarray, settings: dict) -> np.ndarray:
    width = warp.face_width(points)
    depth = warp.hull_depth(border, box) - settings["shrink"] * width
    return warp.smoothstep(depth / (settings["feather"] * width))


def _window_masks(moves: list, boxes: list[Box], window=None) -> list[np.ndarray]:
    """Soft masks of what the aligned picture covers."""
    ramp = np.clip((np.arange(48) + 0.5) / 4 - 0.5, 0, 1)
    ramp = np.concatenate([ramp, ramp[::-1]])
    cover = np.minimum(ramp, ramp[:, None]).astype(np.float32)[None, ..., None]
    return [
        m[..., 0] for m in patches.to_frame(np.repeat(cover, len(moves), 0), moves, boxes, window)
    ]


def _finish(
    target: np.ndarray,
    points: np.ndarray,
    pasted: list[np.ndarray],
    masks: list[np.ndarray],
    boxes: list[Box],
    settings: dict[str, float],
    strength: float,
    rng: np.random.Generator,
) -> ForgedClip:
    """Match colour, light, grain and detail to what was there, and blend."""
    masks = [np.clip(m, 0, 1) for m in masks]
    original = [cut(image, box) for image, box in zip(target, boxes, strict=True)]
    if settings.get("colour", 0) > 0:
        pasted = warp.match_colour(pasted, original, masks, settings["colour"])
    if settings.get("light", 0) > 0:
        sigma = 0.12 * warp.face_width(points.mean(0))
        pasted = [
            p
            + settings["light"]
            * (warp.masked_blur(o, m > 0, sigma) - warp.masked_blur(p, m > 0, sigma))
            for p, o, m in zip(pasted, original, masks, strict=True)
        ]
    pasted = add_grain(pasted, original, masks, settings["grain"], rng)
    pasted = warp.match_detail(pasted, original, masks, settings["detail"])
    return compose(target, pasted, masks, boxes, strength, settings)


def add_grain(
    pasted: list[np.ndarray],
    original: list[np.ndarray],
    masks: list[np.ndarray],
    amount: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Add the noise that the footage has and the pasted pictures lack, octave by octave, with its colours.

    Args:
        pasted: T float32 pictures (h, w, 3). original: what was there. masks: T masks (h, w).
        amount: share of the missing noise. rng: of the noise.

    Returns:
        T pictures.

    Source: own; the covariance of fine detail in smooth places stands for the noise.
    """
    pairs = zip(_grain(original, masks), _grain(pasted, masks), strict=True)
    missing = np.stack([want - have for want, have in pairs])
    # Octaves overlap: noise made for one also shows in the others.
    missing = np.einsum("kj,jab->kab", np.linalg.inv(_overlap(len(missing))), missing)
    roots = []
    for lack in missing:
        values, axes = np.linalg.eigh(lack)
        roots.append((axes * np.sqrt(np.maximum(values, 0))).T.astype(np.float32))
    made = []
    for picture in pasted:
        grown = picture.astype(np.float32).copy()
        for k, root in enumerate(roots):
            layer = warp.bands(rng.standard_normal(picture.shape, dtype=np.float32))[k]
            grown += amount * (layer / max(float(layer.std()), 1e-6)) @ root
        made.append(grown)
    return made


def _overlap(octaves: int) -> np.ndarray:
    """Variance that noise of unit variance in octave j has in octave k: (k, j)."""
    noise = np.random.default_rng(0).standard_normal((96, 96, 1)).astype(np.float32)
    layers = [layer / layer.std() for layer in warp.bands(noise)]
    return np.array([[warp.bands(x)[k].var() for x in layers] for k in range(octaves)])


def _grain(pictures: list[np.ndarray], masks: list[np.ndarray]) -> list[np.ndarray]:
    """Covariance (3, 3) of each octave of detail where it is weakest: the smoother half of the mask."""
    split = [warp.bands(p) for p in pictures]
    found = []
    for k in range(len(split[0])):
        rows = np.concatenate([s[k][m > 0.5] for s, m in zip(split, masks, strict=True)])
        if len(rows) < 16:
            found.append(np.zeros((3, 3)))
            continue
        size = np.abs(rows @ warp.LUMA)
        smooth = rows[size <= np.quantile(size, 0.75)]
        kept = np.cov(smooth.T)
        along = kept @ warp.LUMA
        # A normal variable cut off at its upper quartile keeps 0.37 of its variance; the rest is added along it.
        lost = 0.63 / 0.37 * np.outer(along, along) / max(float(along @ warp.LUMA), 1e-9)
        found.append(kept + lost)
    return found
