"""Find faces, their 68 landmarks and the aligned crop.

Boxes come from dlib's HOG detector (no weights needed) or from a detector of face-alignment;
landmarks come from `face_alignment.FaceAlignment`, which runs either the embedded light network or
the official one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gendkit.fan import (
    N_LANDMARKS,
    embedded_face_alignment,
    fan_box,
    find_weights,
    landmark_square,
    need,
)
from gendkit.repro import device as pick_device

# iBUG 300-W order of the 68 points, counted from 0: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47,
# mouth 48-67. "Right" is the person's right, so it lies left in the image.
FIVE_POINTS = {
    "right eye": range(36, 42),
    "left eye": range(42, 48),
    "nose tip": range(30, 31),
    "right mouth corner": range(48, 49),
    "left mouth corner": range(54, 55),
}
# Where align_crop puts the five points, as a share of a crop without margin.
# Source: official GenD preprocessing.
TEMPLATE = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])
# From a detector's box to the square that the embedded network sees: shift of the centre (x, y) and
# size, in box sides. dlib's is measured on renders; the others, whose boxes hold the forehead too,
# are estimates that the second pass corrects. Source: own.
DLIB_SQUARE = (0.0, 0.08, 1.31)
OTHER_SQUARE = (0.0, 0.1, 1.3)
POLICIES = ("largest", "central", "mask", "all")
DETECTORS = ("dlib", "sfd", "blazeface", "retinaface", "scrfd", "yunet")

__all__ = [
    "FIVE_POINTS",
    "TEMPLATE",
    "Face",
    "FaceEngine",
    "align_crop",
    "choose",
    "embedded_face_alignment",
    "five_points",
]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Args:
        box: (4,) float32, x0 y0 x1 y1 in pixels, as the detector gave it; it may cross the border.
        score: the detector's own score; higher is surer, not a probability.
        landmarks: (68, 2) float32, x and y in pixels, iBUG 300-W order.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Give the five points (eyes, nose tip, mouth corners), (5, 2) float32."""
        return five_points(self.landmarks)

    @property
    def area(self) -> float:
        """Give the area of the box in square pixels."""
        return float(np.prod(np.maximum(self.box[2:] - self.box[:2], 0)))


def _check_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        got = f"{image.dtype} of shape {image.shape}" if is_array else type(image).__name__
        raise ValueError(
            f"{name}: got {got}, expected uint8 RGB of shape (H, W, 3); "
            "use numpy.asarray(PIL.Image.open(path).convert('RGB'))"
        )
    if image.size == 0:
        raise ValueError(f"{name}: got an empty image of shape {image.shape}; check the decoder")
    return np.ascontiguousarray(image)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Reduce 68 landmarks to eye centres, nose tip and mouth corners.

    Args:
        landmarks: (68, 2) x and y in pixels, iBUG 300-W order.

    Returns:
        (5, 2) float32: right eye, left eye, nose tip, right and left mouth corner (of the person).

    Raises:
        ValueError: when the shape differs.

    Source: index groups of the iBUG 300-W annotation (Sagonas et al., 2013), see `FIVE_POINTS`.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (N_LANDMARKS, 2):
        raise ValueError(f"got landmarks of shape {landmarks.shape}, expected (68, 2)")
    groups = [landmarks[list(group)].mean(axis=0) for group in FIVE_POINTS.values()]
    return np.stack(groups).astype(np.float32)


def align_crop(
    image: np.ndarray, points: np.ndarray, scale: float = 1.3, size: int | None = 256
) -> np.ndarray:
    """Turn, scale and cut a face so that its five points fall on `TEMPLATE`.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) in pixels, see `five_points`.
        scale: side of the crop over side of the template; 1.3 adds a margin of 0.15 on each side.
        size: side of the crop in pixels, or None for the native size (one pixel stays about one).

    Returns:
        (size, size, 3) uint8 RGB; pixels from outside the image are black.

    Raises:
        ValueError: when an input does not fit, or the five points fall together.

    Source: official GenD preprocessing (template, least-median similarity, bilinear); own code.
    """
    image = _check_image(image)
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"got points of shape {points.shape}, expected finite (5, 2): Face.points")
    if not scale > 0 or (size is not None and size < 2):
        raise ValueError(f"got scale={scale}, size={size}; expected scale > 0, size >= 2 or None")
    cv2 = need("cv2")
    if size is None:
        size = int(np.ceil(scale * _similarity_scale(TEMPLATE, points)))
    target = ((TEMPLATE - 0.5) / scale + 0.5) * size
    matrix, _ = cv2.estimateAffinePartial2D(points, target, method=cv2.LMEDS)
    if matrix is None or size < 2 or np.ptp(points, axis=0).max() < 1:
        raise ValueError(f"the points {points.tolist()} give no crop; expected those of a face")
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _similarity_scale(a: np.ndarray, b: np.ndarray) -> float:
    """Give the scale of the least-squares similarity from points a to points b (complex ratio)."""
    z, w = ((p - p.mean(axis=0)) @ np.array([1, 1j]) for p in (a, b))
    return float(np.abs(np.vdot(z, w)) / np.vdot(z, z).real)


def choose(
    faces: Sequence[Face],
    policy: str = "largest",
    mask: np.ndarray | None = None,
    shape: tuple[int, ...] | None = None,
) -> "Face | list[Face] | None":
    """Pick the face that a crop is made of, by a stated rule.

    Args:
        faces: faces of one image.
        policy: "largest" box; "central" (box centre nearest to the image centre; needs shape);
            "mask" (box with most manipulated pixels, the largest among equals; needs mask); "all".
        mask: (H, W) manipulated pixels, any number type, > 0 is manipulated.
        shape: (H, W, ...) of the image.

    Returns:
        A face, or None when there is none; for "all" the list of faces, largest first.

    Raises:
        ValueError: when the policy is unknown or lacks its input.

    Source: face by mask overlap as in the official GenD preprocessing.
    """
    if policy not in POLICIES:
        raise ValueError(f"got policy={policy!r}, expected one of {POLICIES}")
    if policy == "mask" and (mask is None or np.ndim(mask) != 2):
        raise ValueError(
            f"policy 'mask' got a mask of shape {np.shape(mask)}, expected (H, W); "
            "pass mask= or use policy 'largest'"
        )
    if policy == "central" and (shape is None or len(shape) < 2):
        raise ValueError(f"policy 'central' got shape={shape}, expected (H, W); pass image.shape")
    ranked = sorted(faces, key=lambda face: -face.area)
    if policy == "all":
        return ranked
    if not ranked:
        return None
    if policy == "central":
        middle = np.array([shape[1] - 1, shape[0] - 1])
        return min(ranked, key=lambda face: np.hypot(*(face.box[:2] + face.box[2:] - middle)))
    if policy == "mask":
        return max(ranked, key=lambda face: _overlap(face.box, np.asarray(mask) > 0))
    return ranked[0]


def _overlap(box: np.ndarray, mask: np.ndarray) -> int:
    x0, y0, x1, y1 = np.maximum(np.rint(box).astype(int), [0, 0, -1, -1])
    return int(mask[y0 : y1 + 1, x0 : x1 + 1].sum())


class FaceEngine:
    """Detect faces and their landmarks in RGB images.

    Args:
        detector: "dlib" (HOG, no weights) or a detector of face-alignment, whose weights that
            package fetches itself.
        landmarks: "embedded", "official" (face-alignment's 2DFAN-4), or a weights file.
        device: "auto", "cpu", "cuda" or "mps"; for the landmark network.
        threshold: lowest detector score that counts; 0 is dlib's own default.
        upsample: times dlib doubles the image first; 1 finds faces from 40 instead of 80 pixels.
        detect_size: images with a longer side are shrunk to it for detection only; None: never.
        refine: run the embedded network again on a square about its first landmarks; gains nothing
            on dlib's boxes, helps where boxes are worse.
        flip: average heatmaps with those of the mirrored crop; None: with official weights, as is
            face-alignment's own default, but not with the embedded network, where it doubles the
            time for a tenth of a point of error (see its card).
        batch_size: faces of one image that go through the network together.

    Raises:
        ValueError: when a setting is unknown.
        FileNotFoundError: when weights are missing; says which file, its address and its place.
        ImportError: when a package is missing; says how to install it.
    """

    def __init__(
        self,
        detector: str = "dlib",
        landmarks: str | Path = "embedded",
        device: str = "auto",
        threshold: float = 0.0,
        upsample: int = 0,
        detect_size: int | None = 960,
        refine: bool = False,
        flip: bool | None = None,
        batch_size: int = 16,
    ) -> None:
        if detector not in DETECTORS:
            raise ValueError(f"got detector={detector!r}, expected one of {DETECTORS}")
        weights = find_weights(landmarks)
        self.embedded = weights.suffix == ".safetensors"
        self.threshold, self.upsample, self.detect_size = threshold, upsample, detect_size
        self.refine = refine and self.embedded
        flip = not self.embedded if flip is None else flip
        named = str(landmarks) in ("embedded", "official")
        self.settings = {
            "detector": detector,
            "landmarks": str(landmarks) if named else weights.name,
            "threshold": threshold,
            "upsample": upsample,
            "detect_size": detect_size,
            "refine": self.refine,
            "flip": flip,
        }
        self._dlib = need("dlib").get_frontal_face_detector() if detector == "dlib" else None
        face_alignment = need("face_alignment")
        try:
            self.alignment = embedded_face_alignment()(
                face_alignment.LandmarksType.TWO_D,
                weights=weights,
                device=str(pick_device(device)),
                flip_input=flip,
                # "folder" is face-alignment's detector for boxes that are known already
                face_detector="folder" if self._dlib else detector,
                compile=False,
                max_batch_size=batch_size,
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise FileNotFoundError(
                f"face-alignment could not get the weights of its detector {detector!r} ({error}); "
                "connect once so that it can fetch them, or use detector='dlib'"
            ) from error

    def __call__(self, images: Sequence[np.ndarray] | np.ndarray) -> list[list[Face]]:
        """Find the faces of several images.

        Args:
            images: list of (H, W, 3) uint8 RGB images, or one array (N, H, W, 3).

        Returns:
            One list of faces per image, best score first; [] where there is no face.

        Raises:
            ValueError: when an image is not uint8 RGB, or is empty.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            raise ValueError(
                f"got one image of shape {images.shape}, expected a list of images; use [image]"
            )
        checked = [_check_image(image, f"image {i}") for i, image in enumerate(images)]
        return [self._faces(image) for image in checked]

    def detect(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Find the boxes of one image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (box (4,) x0 y0 x1 y1, score) pairs, best score first.
        """
        image = _check_image(image)
        shrink = (
            1.0 if self.detect_size is None else max(1.0, max(image.shape[:2]) / self.detect_size)
        )
        if shrink > 1:
            small = tuple(max(1, round(n / shrink)) for n in image.shape[1::-1])
            image = need("cv2").resize(image, small, interpolation=need("cv2").INTER_AREA)
        if self._dlib:
            rects, scores, _ = self._dlib.run(image, self.upsample, self.threshold)
            boxes = [[r.left(), r.top(), r.right(), r.bottom()] for r in rects]
        else:
            found = [
                np.append(f, 1.0)[:5] for f in self.alignment.face_detector.detect_from_image(image)
            ]
            boxes, scores = [f[:4] for f in found], [f[4] for f in found]
        pairs = zip(boxes, scores, strict=True)
        kept = [(np.float32(b) * shrink, float(s)) for b, s in pairs if s >= self.threshold]
        return sorted(kept, key=lambda pair: -pair[1])

    def landmarks(self, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Find the landmarks in given boxes of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (4,) each, in the convention of the detector.

        Returns:
            (68, 2) float32 per box.
        """
        if not len(boxes):
            return []
        if self.embedded:
            boxes = [fan_box(*self._square(box)) for box in boxes]
        points = self.alignment.get_landmarks_from_image(image, detected_faces=boxes)
        if self.refine:
            boxes = [fan_box(*landmark_square(p)) for p in points]
            points = self.alignment.get_landmarks_from_image(image, detected_faces=boxes)
        return [p.astype(np.float32) for p in points]

    def _square(self, box: np.ndarray) -> tuple[np.ndarray, float]:
        x, y, size = DLIB_SQUARE if self._dlib else OTHER_SQUARE
        side = float((box[2:] - box[:2]).mean())
        return (box[:2] + box[2:]) / 2 + np.array([x, y]) * side, size * side

    def _faces(self, image: np.ndarray) -> list[Face]:
        found = self.detect(image)
        points = self.landmarks(image, [box for box, _ in found])
        return [Face(box, score, p) for (box, score), p in zip(found, points, strict=True)]
