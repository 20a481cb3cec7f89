"""Make a clean square of a rendered head look like one from a bad photograph."""

import numpy as np

from gendkit.fan import need

_GREY = np.array([0.299, 0.587, 0.114])


def spoil(
    crop: np.ndarray,
    landmarks: np.ndarray,
    donor: np.ndarray,
    pixels: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cover, colour, light, blur and code a square at random; points stay where they are.

    Args:
        crop: (S, S, 3) uint8 RGB.
        landmarks: (68, 2) in pixels of the crop; where glasses go.
        donor: (H, W, 3) uint8 RGB; patches of it cover parts of the crop.
        pixels: side in pixels that the square has in the simulated image.
        rng: source of chance.

    Returns:
        (S, S, 3) uint8 RGB.

    Source: own.
    """
    cv2 = need("cv2")
    if rng.random() < 0.35:
        crop = _cover(crop, donor, rng)
    if rng.random() < 0.12:
        crop = _glasses(crop, landmarks, rng)
    crop = _colour(crop, rng)
    if rng.random() < 0.4:
        crop = _light(crop, rng)
    size = crop.shape[0]
    if rng.random() < 0.12:
        crop = _motion(crop, rng)
    elif rng.random() < 0.25:
        crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.4, 2.5)))
    elif rng.random() < 0.2:
        soft = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.8, 2)))
        crop = cv2.addWeighted(crop, 2.0, soft, -1.0, 0)
    if pixels < size:
        small = cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA)
    else:
        small = crop
    if rng.random() < 0.3:
        noise = np.empty(small.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, (0, 0, 0), (float(rng.uniform(2, 18)),) * 3)
        small = cv2.add(small, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.35:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 90))]
        small = cv2.imdecode(cv2.imencode(".jpg", small, quality)[1], cv2.IMREAD_COLOR)
    if small.shape[0] != size:
        small = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return small


def _cover(crop: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = need("cv2")
    size = crop.shape[0]
    mask = np.zeros(crop.shape[:2], np.uint8)
    for _ in range(int(rng.integers(1, 3))):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        a, b = (int(v) for v in rng.integers(size // 20, size // 5, 2))
        if rng.random() < 0.5:
            cv2.ellipse(mask, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, 255, -1)
        else:
            corners = cv2.boxPoints(((x, y), (2 * a, 2 * b), float(rng.uniform(0, 180))))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
    if rng.random() < 0.5:
        mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.7, 4)))
    if rng.random() < 0.6:
        x, y = (int(v) for v in rng.integers(0, np.array(donor.shape[1::-1]) * 2 // 3))
        patch = cv2.resize(donor[y : y + 85, x : x + 85], (size, size))
    else:
        patch = np.full_like(crop, rng.integers(0, 256, 3).astype(np.uint8))
    share = (mask.astype(np.float32) / 255)[..., None]
    return (crop * (1 - share) + patch * share).astype(np.uint8)


def _glasses(crop: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = need("cv2")
    eyes = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    angle = float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    axes = (
        max(2, int(distance * rng.uniform(0.3, 0.42))),
        max(2, int(distance * rng.uniform(0.2, 0.36))),
    )
    colour = tuple(int(v) for v in rng.integers(0, 120, 3))
    thick = int(rng.integers(1, 5))
    drawn = crop.copy()
    filled = rng.random() < 0.4
    for eye in eyes:
        at = (int(eye[0]), int(eye[1]))
        if filled:
            cv2.ellipse(drawn, at, axes, angle, 0, 360, colour, -1)
        cv2.ellipse(drawn, at, axes, angle, 0, 360, colour, thick, cv2.LINE_AA)
    between = (eyes[1] - eyes[0]) / max(distance, 1) * axes[0]
    ends = [tuple(int(v) for v in p) for p in (eyes[0] + between, eyes[1] - between)]
    cv2.line(drawn, *ends, colour, thick, cv2.LINE_AA)
    share = float(rng.uniform(0.5, 1.0))
    return cv2.addWeighted(drawn, share, crop, 1 - share, 0)


def _colour(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = need("cv2")
    kind = rng.random()
    if kind < 0.1:
        matrix = np.tile(_GREY, (3, 1))
    else:
        keep = rng.uniform(0.2, 1.6)
        matrix = keep * np.eye(3) + (1 - keep) * np.tile(_GREY, (3, 1))
        if kind < 0.4:
            matrix = matrix + rng.normal(0, 0.12, (3, 3))
        if kind > 0.93:
            matrix = matrix[rng.permutation(3)]
    crop = cv2.transform(crop, matrix)
    steps = np.arange(256) / 255
    gamma = np.exp(rng.normal(0, 0.35))
    gain = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.08, 3))
    shift = rng.normal(0, 0.07)
    table = np.clip(steps[:, None] ** gamma * gain + shift, 0, 1) * 255
    return cv2.LUT(crop, table.astype(np.uint8)[None])


def _light(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = need("cv2")
    cells = int(rng.integers(2, 5))
    field = np.exp(rng.normal(0, 0.4, (cells, cells))).astype(np.float32)
    field = cv2.resize(field, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(crop * field[..., None], 0, 255).astype(np.uint8)


def _motion(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cv2 = need("cv2")
    n = 2 * int(rng.integers(1, 6)) + 1
    kernel = np.zeros((n, n), np.float32)
    angle = rng.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * (n // 2)
    a, b = (np.rint(n // 2 + s * step).astype(int) for s in (-1, 1))
    cv2.line(kernel, tuple(int(v) for v in a), tuple(int(v) for v in b), 1.0, 1)
    return cv2.filter2D(crop, -1, kernel / kernel.sum())
