"""Follow faces from frame to frame, so that most frames need no detection."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gendkit.faces import Face
from gendkit.fan import landmark_square

# A followed face is detected again when its mean heatmap peak falls below this share of what it was
# when it was detected, when its centre lies farther than JUMP sides from where it was expected, when
# its size changes by more than GROWTH, and after RUN frames at the latest, because only detection
# sees new faces. Source: own.
CONFIDENCE, JUMP, GROWTH, RUN = 0.7, 0.2, 1.25, 10
LIMITS = {"confidence": CONFIDENCE, "jump": JUMP, "growth": GROWTH, "run": RUN}


@dataclass(frozen=True)
class _Track:
    face: Face
    confidence: float  # at detection
    center: np.ndarray
    side: float
    offset: np.ndarray  # box corners from the centre, in sides, as they were at detection
    motion: np.ndarray  # of the centre, per frame, in pixels


class Tracker:
    """Works like the engine that it holds, and tries first where the faces were a frame before.

    Images must come in the order of the video; call `restart` where they do not.

    Args:
        engine: a `FaceEngine`: has `detect`, `landmarks` with scores, `settings`, `seconds`.

    Attributes:
        settings: those of the engine, and "track" with the four limits.
        n_tracked: images that needed no detection.
        n_detected: images that did.
    """

    batch_images = 4

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.settings = {**engine.settings, "track": LIMITS}
        self.n_tracked = self.n_detected = 0
        self.restart()

    @property
    def seconds(self) -> dict[str, float]:
        """Give the seconds that the engine spent, stage by stage."""
        return self.engine.seconds

    def restart(self) -> None:
        """Forget the faces: the next image is of another video, or far from the last."""
        self._tracks: list[_Track] = []
        self._run = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Find the faces of images that follow one another.

        Args:
            images: (H, W, 3) uint8 RGB each.

        Returns:
            One list of faces per image, in the order of the last detection; `Face.tracked` tells
            which were followed. Their score is that of the detection.
        """
        return [self._follow(image) or self._detect(image) for image in images]

    def _follow(self, image: np.ndarray) -> list[Face] | None:
        if not self._tracks or self._run >= RUN:
            return None
        expected = [track.center + track.motion for track in self._tracks]
        boxes = [
            (center + track.offset * track.side).reshape(4).astype(np.float32)
            for track, center in zip(self._tracks, expected, strict=True)
        ]
        points, confidences = self.engine.scored_landmarks(image, boxes)
        after = []
        for track, where, p, confidence in zip(
            self._tracks, expected, points, confidences, strict=True
        ):
            center, side = landmark_square(p)
            jump = float(np.abs(center - where).max()) / track.side
            growth = max(side / track.side, track.side / side)
            if confidence < CONFIDENCE * track.confidence or jump > JUMP or growth > GROWTH:
                return None
            box = (center + track.offset * side).reshape(4).astype(np.float32)
            face = Face(box, track.face.score, p, tracked=True)
            moved = {"center": center, "side": side, "motion": center - track.center}
            after.append(replace(track, face=face, **moved))
        self._tracks = after
        self._run += 1
        self.n_tracked += 1
        return [track.face for track in after]

    def _detect(self, image: np.ndarray) -> list[Face]:
        found = self.engine.detect(image)
        points, confidences = self.engine.scored_landmarks(image, [box for box, _ in found])
        self._tracks, self._run = [], 0
        for (box, score), p, confidence in zip(found, points, confidences, strict=True):
            center, side = landmark_square(p)
            offset = (box.reshape(2, 2) - center) / side
            face = Face(box, score, p)
            self._tracks.append(_Track(face, confidence, center, side, offset, np.zeros(2)))
        self.n_detected += 1
        return [track.face for track in self._tracks]
