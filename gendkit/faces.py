"""Find faces, their 68 landmarks and the aligned crop.

Boxes come from dlib's HOG detector (no weights needed) or from a detector of face-alignment;
landmarks come from `face_alignment.FaceAlignment`, which runs either the embedded light network or
the official one.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
# Name of a detector -> its own setting for the lowest score. Source: face_alignment 1.5.0.
_THRESHOLDS = {
    "sfd": "filter_threshold",
    "blazeface": "min_score_thresh",
    "retinaface": "confidence_threshold",
    "scrfd": "confidence_threshold",
    "yunet": "score_threshold",
}
DETECTORS = ("dlib", *_THRESHOLDS)

__all__ = [
    "FIVE_POINTS",
    "TEMPLATE",
    "Face",
    "FaceEngine",
    "align_crop",
    "choose",
    "detector_files",
    "embedded_face_alignment",
    "five_points",
    "overlap",
]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Args:
        box: (4,) float32, x0 y0 x1 y1 in pixels, as the detector gave it; it may cross the border.
        score: the detector's own score; higher is surer, not a probability.
        landmarks: (68, 2) float32, x and y in pixels, iBUG 300-W order.
        tracked: the box was followed from the frame before, not detected.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    tracked: bool = False

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
        return max(ranked, key=lambda face: overlap(face.box, np.asarray(mask) > 0))
    return ranked[0]


def overlap(box: np.ndarray, mask: np.ndarray) -> int:
    """Count the pixels of a mask inside a box.

    Args:
        box: (4,) x0 y0 x1 y1 in pixels; it may cross the border.
        mask: (H, W) bool.

    Returns:
        The number of pixels that are set.
    """
    x0, y0, x1, y1 = np.maximum(np.rint(box).astype(int), [0, 0, -1, -1])
    return int(mask[y0 : y1 + 1, x0 : x1 + 1].sum())


class FaceEngine:
    """Detect faces and their landmarks in RGB images.

    Args:
        detector: "dlib" (HOG, no weights) or a detector of face-alignment, whose weights that
            package fetches itself.
        landmarks: "embedded", "official" (face-alignment's 2DFAN-4), or a weights file.
        device: "auto", "cpu", "cuda" or "mps"; for the landmark network.
        threshold: lowest detector score that counts; 0 leaves it to the detector (dlib: 0, those of
            face-alignment: 0.5).
        upsample: times dlib doubles the image first; 1 finds faces from 40 instead of 80 pixels.
        detect_size: images with a longer side are shrunk to it for detection only; None: never.
        refine: run the embedded network again on a square about its first landmarks; gains nothing
            on dlib's boxes, helps where boxes are worse.
        flip: average heatmaps with those of the mirrored crop; None: with official weights, as is
            face-alignment's own default, but not with the embedded network, where it doubles the
            time for a tenth of a point of error (see its card).
        batch_size: faces that go through the network together.
        across: faces of several images go through the network together, with the landmarks that
            each gives alone (see `gendkit.fan.unsure`).

    Attributes:
        settings: what the results depend on, as plain data.
        seconds: time spent so far: "detect", "landmarks".
        batch_images: images that it likes to get at once.

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
        across: bool = True,
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
        where = str(pick_device(device))
        self.across = across
        self.batch_images = batch_size if across and where != "cpu" else 4
        self.seconds = {"detect": 0.0, "landmarks": 0.0}
        own = {_THRESHOLDS[detector]: threshold} if threshold and detector != "dlib" else None
        self._dlib = need("dlib").get_frontal_face_detector() if detector == "dlib" else None
        face_alignment = need("face_alignment")
        try:
            self.alignment = embedded_face_alignment()(
                face_alignment.LandmarksType.TWO_D,
                weights=weights,
                device=where,
                flip_input=flip,
                # "folder" is face-alignment's detector for boxes that are known already
                face_detector="folder" if self._dlib else detector,
                face_detector_kwargs=own,
                compile=False,
                max_batch_size=batch_size,
            )
        except ImportError as error:
            raise ImportError(
                f"the detector {detector!r} of face-alignment needs a package that does not import "
                f"here ({error}); install it, or use detector='dlib'"
            ) from error
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise FileNotFoundError(_missing(detector, error)) from error

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
        if not self.across:
            return [self._faces(image) for image in checked]
        found = [self.detect(image) for image in checked]
        points = self.landmarks_of(checked, [[box for box, _ in one] for one in found])
        return [
            [Face(box, score, p) for (box, score), p in zip(one, some, strict=True)]
            for one, some in zip(found, points, strict=True)
        ]

    def detect(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Find the boxes of one image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (box (4,) x0 y0 x1 y1, score) pairs, best score first.
        """
        with self._timed("detect"):
            return self._detect(_check_image(image))

    def _detect(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
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
        return self.scored_landmarks(image, boxes)[0]

    def scored_landmarks(
        self, image: np.ndarray, boxes: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[float]]:
        """Find the landmarks in given boxes of one image, and how sure the network is.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (4,) each, in the convention of the detector.

        Returns:
            (68, 2) float32 per box, and per box the mean peak of its heatmaps.
        """
        if not len(boxes):
            return [], []
        with self._timed("landmarks"):
            points, peaks = self._network(image, self._squares(boxes))
            if self.refine:
                points, peaks = self._network(image, [fan_box(*landmark_square(p)) for p in points])
        scale = 2 if self.alignment.flip_input else 1
        return [p.astype(np.float32) for p in points], [float(p.mean()) / scale for p in peaks]

    def _network(self, image: np.ndarray, boxes: list[np.ndarray]) -> tuple[list, list]:
        points, peaks, _ = self.alignment.get_landmarks_from_image(
            image, detected_faces=boxes, return_landmark_score=True
        )
        return points, peaks

    def landmarks_of(
        self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[np.ndarray]]
    ) -> list[list[np.ndarray]]:
        """Find the landmarks in given boxes of several images, in batches.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
            boxes: for each image its (4,) boxes, in the convention of the detector.

        Returns:
            For each image (68, 2) float32 per box, those that `landmarks` gives for a face alone.
        """
        with self._timed("landmarks"):
            squares = [self._squares(some) for some in boxes]
            points = self.alignment.get_landmarks_from_images(images, squares)
            if self.refine:
                squares = [[fan_box(*landmark_square(p)) for p in some] for some in points]
                points = self.alignment.get_landmarks_from_images(images, squares)
        return points

    def _squares(self, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [fan_box(*self._square(box)) for box in boxes] if self.embedded else list(boxes)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def _square(self, box: np.ndarray) -> tuple[np.ndarray, float]:
        x, y, size = DLIB_SQUARE if self._dlib else OTHER_SQUARE
        side = float((box[2:] - box[:2]).mean())
        return (box[:2] + box[2:]) / 2 + np.array([x, y]) * side, size * side

    def _faces(self, image: np.ndarray) -> list[Face]:
        found = self.detect(image)
        points = self.landmarks(image, [box for box, _ in found])
        return [Face(box, score, p) for (box, score), p in zip(found, points, strict=True)]


def detector_files(detector: str) -> dict[Path, str]:
    """Name the files of weights that a detector reads, there or not.

    Args:
        detector: one of `DETECTORS`.

    Returns:
        File -> the address it comes from; nothing for "dlib".

    Raises:
        ImportError: when a package is missing.

    Source: face_alignment 1.5.0, the detectors' own modules.
    """
    if detector == "dlib":
        return {}
    import torch

    need("face_alignment")
    module = need(f"face_alignment.detection.{detector}.{detector}_detector")
    urls = getattr(module, "models_urls", None) or {"": module.model_url}
    names = {"scrfd": "scrfd_2.5g_bnkps.onnx"}  # stored under another name than it has there
    place = Path(torch.hub.get_dir()) / "checkpoints"
    return {
        place / names.get(detector, url.split("/")[-1].split("?")[0]): url
        for name, url in urls.items()
        if "back" not in name  # BlazeFace's second model, which is not used
    }


def _missing(detector: str, error: Exception) -> str:
    files = {path: url for path, url in detector_files(detector).items() if not path.is_file()}
    what = " and ".join(f"{path.name} from {url}" for path, url in files.items())
    place = next(iter(detector_files(detector))).parent
    return (
        f"the weights of the detector {detector!r} are not here, and face-alignment could not get "
        f"them ({error}); fetch {what} and put them in {place} (TORCH_HOME moves that folder), "
        "or use detector='dlib', which needs none"
    )
