"""A light heatmap network for 68 face landmarks, run by face-alignment in place of its own.

face-alignment's networks cost 16.5 (FAN-1) and about 60 (FAN-4) GFLOP a face. `LightFAN` costs
about 1.2, so that a notebook can run landmarks on two CPU cores. It is trained by
`gendkit.pretrain.landmarks`.
"""

import importlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gendkit.repro import atomic_path, data_dir

N_LANDMARKS = 68
SIGMA = 1.2  # standard deviation of a target blob, in heatmap cells
# The network sees a square about the landmarks, this many times their mean extent. Source: own.
SQUARE_SCALE = 1.45
# Values of a heatmap that lie this close may change order with the size of the batch: five times the
# largest change seen on frames of Nobody's Faces, whose heatmaps peak at about 1. Source: own.
WOBBLE = 2e-5
OFFICIAL_FILE = "2DFAN4-11f355bf06.pth.tar"

__all__ = [
    "N_LANDMARKS",
    "SIGMA",
    "LightFAN",
    "embedded_face_alignment",
    "fan_box",
    "find_weights",
    "landmark_square",
    "load_light_fan",
    "need",
    "save_light_fan",
    "unsure",
]


def need(name: str) -> ModuleType:
    """Import an optional package of the faces extra, or say how to install it.

    Args:
        name: name of the module.

    Returns:
        The module.

    Raises:
        ImportError: when it does not import; the message holds the install line.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"face detection and alignment need {name}, which does not import here ({error}); "
            'install it with: pip install "gendkit[faces]"'
        ) from error


def _unit(n_in: int, n_out: int, size: int = 3, stride: int = 1, relu: bool = True) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(n_out),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class _Residual(nn.Module):
    """Two plain 3x3 convolutions with a shortcut; plain, because they train fast on a CPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _unit(width, width)
        self.second = _unit(width, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def _stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    return nn.Sequential(_unit(n_in, n_out, stride=2), *[_Residual(n_out) for _ in range(n_blocks)])


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


class LightFAN(nn.Module):
    """Predict 68 landmark heatmaps with one small hourglass.

    A stride-4 stem is followed by one encoder and one decoder over 64, 32, 16 and 8 cells a side.
    Each heatmap is a probability over the cells, scaled so that a perfect prediction peaks at 1,
    as FAN's heatmaps do.

    Args:
        widths: channels at 64, 32, 16 and 8 cells a side.
        blocks: residual blocks at each of these sizes on the way down.
        head: channels at 64 cells a side on the way up.

    Raises:
        ValueError: when widths or blocks do not have four fitting entries.

    Source: heatmap interface and hourglass shape after Bulat and Tzimiropoulos, "How far are we
    from solving the 2D & 3D face alignment problem?", ICCV 2017; the design is own.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 112, 192),
        blocks: Sequence[int] = (1, 1, 2, 2),
        head: int = 40,
    ) -> None:
        super().__init__()
        if len(widths) != 4 or len(blocks) != 4 or min(*widths, head) < 1 or min(blocks) < 0:
            raise ValueError(
                f"got widths={tuple(widths)}, blocks={tuple(blocks)}, head={head}; expected four "
                "positive widths and four block counts; use LightFAN() for the embedded design"
            )
        self.config = {"widths": list(widths), "blocks": list(blocks), "head": head}
        a, b, c, d = widths
        self.stem = nn.Sequential(_unit(3, 16, stride=2), _unit(16, a, stride=2))
        self.down64 = nn.Sequential(*[_Residual(a) for _ in range(blocks[0])])
        self.down32 = _stage(a, b, blocks[1])
        self.down16 = _stage(b, c, blocks[2])
        self.down8 = _stage(c, d, blocks[3])
        self.lift16 = _unit(d, c, size=1, relu=False)
        self.up16 = _Residual(c)
        self.lift32 = _unit(c, b, size=1, relu=False)
        self.up32 = _Residual(b)
        self.lift64 = _unit(b, head, size=1, relu=False)
        self.skip64 = _unit(a, head, size=1, relu=False)
        self.up64 = _Residual(head)
        self.out = nn.Conv2d(head, N_LANDMARKS, 1)

    def logits(self, images: Tensor) -> Tensor:
        """Give the unnormalised log heatmaps, which training uses.

        Args:
            images: (B, 3, S, S) float in [0, 1], RGB; S is 256 (128 early in training).

        Returns:
            (B, 68, S / 4, S / 4) logits; a softmax over the cells makes them probabilities.

        Raises:
            ValueError: when the shape does not fit.
        """
        if images.ndim != 4 or images.shape[1] != 3 or any(s % 32 for s in images.shape[2:]):
            raise ValueError(
                f"got images of shape {tuple(images.shape)}, expected (B, 3, 256, 256) in [0, 1]; "
                "let gendkit.faces.FaceEngine make the crops"
            )
        x64 = self.down64(self.stem(images * 2 - 1))
        x32 = self.down32(x64)
        x16 = self.down16(x32)
        x8 = self.down8(x16)
        y = self.up16(F.relu(x16 + _double(self.lift16(x8))))
        y = self.up32(F.relu(x32 + _double(self.lift32(y))))
        y = self.up64(F.relu(self.skip64(x64) + _double(self.lift64(y))))
        return self.out(y)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predict heatmaps, in the form in which face-alignment reads them.

        Args:
            images: (B, 3, 256, 256) float in [0, 1], RGB.

        Returns:
            A list with one item, (B, 68, 64, 64) heatmaps >= 0, about 1 at a certain landmark.
        """
        logits = self.logits(images)
        probability = logits.flatten(2).softmax(dim=-1).view_as(logits)
        return [probability * (2 * torch.pi * SIGMA**2)]


def save_light_fan(model: LightFAN, path: str | Path, **facts: str) -> Path:
    """Write the network as float16 safetensors, with its design in the header.

    Batch-norm statistics stay float32: they are small, and their range is wide.

    Args:
        model: the network.
        path: file to write (atomic).
        facts: further strings for the header, say `recipe="..."`.

    Returns:
        The path.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        half = value.is_floating_point() and "running" not in name
        tensors[name] = value.detach().cpu().to(torch.float16 if half else value.dtype).contiguous()
    header = {"format": "pt", "model": "LightFAN", "config": json.dumps(model.config), **facts}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=header)
    return Path(path)


def load_light_fan(path: str | Path) -> LightFAN:
    """Read a network that `save_light_fan` wrote.

    Args:
        path: a .safetensors file.

    Returns:
        The network in float32, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: when the file is missing.
        ValueError: when the file is not a LightFAN.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"landmark weights {path.name} not found in {path.parent}; they are part of the "
            "repository (data/weights/landmarks.safetensors): set GENDKIT_DATA to the data folder "
            "of a checkout, or train them: gendkit weights landmarks"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}); fetch it again"
        ) from error
    if header.get("model") != "LightFAN":
        raise ValueError(
            f"{path} holds model={header.get('model')!r}, expected 'LightFAN'; "
            "use a file written by gendkit.fan.save_light_fan"
        )
    model = LightFAN(**json.loads(header["config"]))
    try:
        model.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        )
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its header ({error}); write it again") from error
    return model.eval()


def find_weights(landmarks: str | Path = "embedded") -> Path:
    """Find the file of landmark weights that a setting names; nothing is downloaded.

    Args:
        landmarks: "embedded", "official" (face-alignment's 2DFAN-4), or a path to a file.

    Returns:
        The file.

    Raises:
        FileNotFoundError: when it is missing; says where to get it and where to put it.
    """
    if str(landmarks) == "embedded":
        return data_dir() / "weights" / "landmarks.safetensors"
    if str(landmarks) == "official":
        url = need("face_alignment").api.models_urls["2DFAN-4"]
        path = Path(torch.hub.get_dir()) / "checkpoints" / OFFICIAL_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"the official landmark weights {OFFICIAL_FILE} are not here; fetch them from {url} "
                f"and put them in {path.parent} (TORCH_HOME moves that folder), "
                "or use landmarks='embedded'"
            )
        return path
    path = Path(landmarks)
    if not path.is_file():
        raise FileNotFoundError(
            f"got landmarks={str(landmarks)!r}, expected 'embedded', 'official' or an existing file"
        )
    return path


@cache
def embedded_face_alignment() -> type:
    """Give `EmbeddedFaceAlignment`: FaceAlignment with one change, where its network comes from.

    The class is made at the first call, so that face-alignment stays optional. It takes the
    arguments of `face_alignment.FaceAlignment` and `weights`, a .safetensors file of this module
    or an official .pth.tar file. Cutting, flipping and decoding stay face-alignment's own.

    Returns:
        The class.

    Raises:
        ImportError: when face-alignment is not installed.
    """
    face_alignment = need("face_alignment")
    for name in ("transform_np", "_get_preds_fromhm"):
        compiled = getattr(face_alignment.utils, name, None)
        if hasattr(compiled, "enable_caching"):
            # numba compiles the decoding for about ten seconds in each process; kept, it takes none
            with suppress(RuntimeError):  # no folder to keep it in: same results, only later
                compiled.enable_caching()

    class EmbeddedFaceAlignment(face_alignment.FaceAlignment):
        """face-alignment with a landmark network from a local file."""

        def __init__(self, *args: Any, weights: str | Path, **kwargs: Any) -> None:
            self.weights = Path(weights)
            super().__init__(*args, **kwargs)

        def _load_native(
            self, network_name: str, network_size: int, device: str, dtype: torch.dtype
        ) -> nn.Module:
            if self.weights.suffix == ".safetensors":
                network = load_light_fan(self.weights)
            else:
                network = face_alignment.api.FAN(network_size)
                network.load_state_dict(
                    torch.load(self.weights, map_location="cpu", weights_only=True)
                )
            return network.to(device, dtype=dtype).eval()

        @torch.no_grad()
        def get_landmarks_from_images(
            self, images: Sequence[np.ndarray], boxes: Sequence[Sequence[np.ndarray]]
        ) -> list[list[np.ndarray]]:
            """Find the landmarks of all faces of several images in batches of `max_batch_size`.

            Args:
                images: (H, W, 3) uint8 RGB each, of any sizes.
                boxes: for each image its (4,) boxes.

            Returns:
                For each image (68, 2) float32 per box, those that each face gives alone: the size of
                a batch changes the last bits of the heatmaps, so a face whose landmarks hang on
                them (`unsure`) goes through the network once more by itself.
            """
            utils, out = face_alignment.utils, [[] for _ in images]
            unit = self.face_detector.reference_scale
            faces = [(k, *_cut_of(box, unit)) for k, some in enumerate(boxes) for box in some]
            for start in range(0, len(faces), self.max_batch_size):
                part = faces[start : start + self.max_batch_size]
                cut = [utils.crop(images[k], center, scale) for k, center, scale in part]
                cut = np.stack(cut).transpose(0, 3, 1, 2).astype(np.float32, order="C") / 255
                pixels = torch.from_numpy(cut).to(self.device, dtype=self.dtype)
                heat = self._heat(pixels)
                for row in np.flatnonzero(unsure(heat)) if len(part) > 1 else ():
                    heat[row] = self._heat(pixels[row : row + 1])[0]
                for row, (k, center, scale) in enumerate(part):
                    _, points, _ = utils.get_preds_fromhm(heat[row : row + 1], center, scale)
                    out[k].append(points.reshape(N_LANDMARKS, 2).astype(np.float32))
            return out

        def _heat(self, pixels: Tensor) -> np.ndarray:
            heat = self.face_alignment_net(pixels)[-1]
            if self.flip_input:
                mirrored = self.face_alignment_net(face_alignment.utils.flip(pixels))[-1]
                heat = heat + face_alignment.utils.flip(mirrored, is_label=True)
            return heat.float().cpu().numpy()

    return EmbeddedFaceAlignment


def _cut_of(box: np.ndarray, unit: float) -> tuple[np.ndarray, float]:
    """Centre and scale by which face-alignment cuts a box. Source: see `fan_box`."""
    (x0, y0, x1, y1), up = box, 0.12
    center = np.array([x1 - (x1 - x0) / 2, y1 - (y1 - y0) / 2 - up * (y1 - y0)])
    return center, (x1 - x0 + y1 - y0) / unit


def unsure(heat: np.ndarray, within: float = WOBBLE) -> np.ndarray:
    """Tell which faces have a landmark that a small change of its heatmap would move.

    face-alignment takes the highest cell and moves a quarter of a cell towards the higher of its
    two neighbours, in x and in y. What lies closer together than `within` may turn round.

    Args:
        heat: (B, 68, H, W) heatmaps.
        within: change of a heatmap's values that must move nothing.

    Returns:
        (B,) bool.
    """
    n, k, height, width = heat.shape
    flat = heat.reshape(n * k, height * width)
    best = flat.argmax(axis=1)
    row = np.arange(len(flat))
    top = flat[row, best]
    shaky = (flat >= top[:, None] - within).sum(axis=1) > 1
    y, x = np.divmod(best, width)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    for step in (1, width):
        before, after = (flat[row[inside], best[inside] + s] for s in (-step, step))
        shaky[inside] |= np.abs(after - before) <= within
    return shaky.reshape(n, k).any(axis=1)


def landmark_square(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Give the square that the embedded network should see, from the landmarks themselves.

    Args:
        landmarks: (68, 2) in pixels.

    Returns:
        Centre (2,) and side, in pixels; the side is at least 16.

    Source: own.
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    return (low + high) / 2, max(SQUARE_SCALE * float((high - low).mean()), 16.0)


def fan_box(center: np.ndarray, side: float) -> np.ndarray:
    """Give the box for which face-alignment cuts the square of a given centre and side.

    face-alignment moves the centre of a box up by 0.12 of its height and cuts a square of
    200 (w + h) / 195 about it.

    Args:
        center: (2,) in pixels.
        side: side of the square in pixels.

    Returns:
        (4,) float64 x0 y0 x1 y1.

    Source: face_alignment 1.5.0, `FaceAlignment.get_landmarks_from_image`.
    """
    half = side * 195 / 800
    x, y = center[0], center[1] + 0.12 * 2 * half
    return np.array([x - half, y - half, x + half, y + half], dtype=np.float64)
